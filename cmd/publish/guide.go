package main

import (
	"embed"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

//go:embed guide/*.md
var guides embed.FS

// topics are the guides in the order in which they are listed. A new guide is a
// file in the folder guide and its name here.
var topics = []string{
	"install", "operating", "serve", "oci", "bucket", "targets", "mirror", "trouble", "revoke", "signing", "config",
	"json", "findings", "access", "how-it-works", "commands", "testing", "benchmarks",
}

// guide returns the Markdown of a topic, and whether there is one of that name.
func guide(topic string) (string, bool) {
	text, err := guides.ReadFile("guide/" + topic + ".md")
	return string(text), err == nil
}

// titleOf is the heading of a guide.
func titleOf(topic string) string {
	title, _ := titled(topic)
	return title
}

// titled is a guide's heading, and what comes below.
func titled(topic string) (title, body string) {
	text, _ := guide(topic)
	title, body, _ = strings.Cut(text, "\n")
	return strings.TrimPrefix(title, "# "), body
}

func topicCandidates() []string {
	var out []string
	for _, topic := range topics {
		out = append(out, topic+"\t"+titleOf(topic))
	}
	return out
}

// Widths of a guide: lines that are longer tire the eye, shorter ones break tables.
const (
	plainColumns = 80
	mostColumns  = 100
	leastColumns = 40
)

// showGuide prints a guide. On a terminal it has its width and bold headings.
func (p *program) showGuide(topic string) {
	text, _ := guide(topic)
	page := page{columns: plainColumns, indent: "  "}
	if f, ok := p.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		page.styled = os.Getenv("TERM") != "dumb" && os.Getenv("NO_COLOR") == ""
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			page.columns = max(leastColumns, min(columns, mostColumns))
		}
	} else if topic == "config" {
		writeConfig(p.out, text)
		return
	}
	page.write(p.out, text)
	if topic == "config" {
		fmt.Fprintf(p.out, "\n%s", annotatedConfig)
	}
}

// writeConfig prints the guide to publish.yaml as comments above the file, so
// that the whole is a publish.yaml.
func writeConfig(w io.Writer, text string) {
	var b strings.Builder
	(&page{columns: plainColumns - len("# ")}).write(&b, text)
	for line := range strings.Lines(b.String()) {
		fmt.Fprintln(w, strings.TrimRight("# "+line, " \n"))
	}
	fmt.Fprintf(w, "\n%s", annotatedConfig)
}
