package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"example.com/publish/publish/site/bucket/storetest"
)

// pages are the README and the guides.
func pages(t *testing.T) []string {
	guides, err := filepath.Glob("guide/*.md")
	if err != nil || len(guides) < 5 {
		t.Fatalf("guides: %q, %v", guides, err)
	}
	return append([]string{readme}, guides...)
}

const readme = "../../README.md"

var consoleBlock = regexp.MustCompile("(?s)```console\n(.*?)```")

// TestPages runs the commands in the console blocks of the README and of each
// guide, in one shell, and compares their output with what the page shows. The
// commands of a guide begin where those of the README end. With UPDATE_PAGES=1
// it writes the output into the pages instead.
//
// A block of another language (sh, yaml, ini) shows what cannot run here.
func TestPages(t *testing.T) {
	for _, tool := range []string{"bash", "tar", "xz", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	self, err := os.Executable()
	must(t, err)
	bin := t.TempDir()
	must(t, os.Symlink(self, filepath.Join(bin, "publish"))) // it is the program by this name: see TestMain
	tour, err := os.ReadFile(readme)
	must(t, err)
	for _, page := range pages(t) {
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(page)
			must(t, err)
			text := string(data)
			if !consoleBlock.MatchString(text) {
				return
			}
			before := ""
			if page != readme {
				before = string(tour)
			}
			fresh := rerun(t, bin, before, text)
			if os.Getenv("UPDATE_PAGES") != "" {
				must(t, os.WriteFile(page, []byte(fresh), 0o644))
				return
			}
			if diff := cmp.Diff(strings.Split(varying(text), "\n"), strings.Split(varying(fresh), "\n")); diff != "" {
				t.Errorf("%s shows other output than its commands print (-page +printed); UPDATE_PAGES=1 "+
					"go test -run TestPages ./cmd/publish writes it anew\n%s", page, diff)
			}
		})
	}
}

// rerun runs the commands of before and then those of text, and returns text
// with what its commands print now.
func rerun(t *testing.T, bin, before, text string) string {
	t.Helper()
	home := filepath.Join(t.TempDir(), "me")
	must(t, os.Mkdir(home, 0o755))
	// A mark before each command separates the outputs.
	const mark = "\x01"
	var script strings.Builder
	earlier := 0
	for i, page := range []string{before, text} {
		for _, block := range consoleBlock.FindAllStringSubmatch(page, -1) {
			for _, cmd := range commandsOf(block[1]) {
				script.WriteString("printf '" + mark + "\\n'\n" + shellText(cmd))
				earlier += 1 - i
			}
		}
	}
	cmd := exec.Command("bash")
	cmd.Dir = home
	cmd.Stdin = strings.NewReader(script.String())
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TZ=UTC", "GORACE=atexit_sleep_ms=0")
	if strings.Contains(text, "s3://") {
		store := storetest.Fake(t)
		for name, value := range store.Env() {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL="+store.Endpoint)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	outputs := strings.Split(strings.ReplaceAll(string(out), home, "/home/me"), mark+"\n")[1+earlier:]
	return consoleBlock.ReplaceAllStringFunc(text, func(block string) string {
		var b strings.Builder
		b.WriteString("```console\n")
		for _, cmd := range commandsOf(block) {
			b.WriteString(cmd + outputs[0])
			outputs = outputs[1:]
		}
		return b.String() + "```"
	})
}

// commandsOf returns the commands of a block as they stand there. A command
// begins with "$ ". One that ends in "{" goes on to the line "  }".
func commandsOf(block string) []string {
	var out []string
	open := false
	for line := range strings.Lines(block) {
		switch {
		case open:
			out[len(out)-1] += line
			open = line != "  }\n"
		case strings.HasPrefix(line, "$ "):
			out = append(out, line)
			open = strings.HasSuffix(line, "{\n")
		}
	}
	return out
}

func shellText(cmd string) string { return strings.TrimPrefix(cmd, "$ ") }

// Each block of a page has a language: console blocks are run, and the others
// are no commands that a test forgets.
func TestPageBlocks(t *testing.T) {
	for _, page := range pages(t) {
		data, err := os.ReadFile(page)
		must(t, err)
		fenced := false
		for i, line := range strings.Split(string(data), "\n") {
			language, fence := strings.CutPrefix(line, "```")
			switch {
			case fence && !fenced && !regexp.MustCompile(`^(console|sh|yaml|ini|nginx|caddyfile|text)$`).MatchString(language):
				t.Errorf("%s:%d: a block of language %q", page, i+1, language)
			case !fence && !fenced && regexp.MustCompile(`^(    |\t)`).MatchString(line):
				t.Errorf("%s:%d: an indented block", page, i+1)
			case len(line) > 120 && !strings.HasPrefix(line, "|") && (!fenced || strings.HasPrefix(line, "$ ")):
				t.Errorf("%s:%d: %d columns", page, i+1, len(line))
			case strings.ContainsFunc(line, func(r rune) bool { return r > unicode.MaxASCII }):
				t.Errorf("%s:%d: not ASCII: roff would not show it everywhere", page, i+1)
			}
			fenced = fenced != fence
		}
		if fenced {
			t.Errorf("%s: a block does not end", page)
		}
	}
}

// Each guide is a topic, and the README and the guides link only what is there.
func TestTopics(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	for _, page := range pages(t) {
		data, err := os.ReadFile(page)
		must(t, err)
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil &&
				!strings.Contains(m[1], "://") {
				t.Errorf("%s: link: %v", page, err)
			}
		}
		topic := strings.TrimSuffix(filepath.Base(page), ".md")
		if page != readme && !slices.Contains(topics, topic) {
			t.Errorf("%s is not among the topics", page)
		}
		if page == readme {
			for _, topic := range topics {
				if !strings.Contains(string(data), "(cmd/publish/guide/"+topic+".md)") {
					t.Errorf("the README does not link the guide %s", topic)
				}
			}
		}
	}
}

// TestTables compares the table of commands and the table of exit statuses with
// those of the program. With UPDATE_PAGES=1 it writes them into the pages
// instead.
func TestTables(t *testing.T) {
	var commands strings.Builder
	var walk func(path string, list []*command)
	walk = func(path string, list []*command) {
		for _, c := range list {
			name := path + " " + c.Name
			if walk(name, c.subs); c.Hidden || len(c.subs) > 0 {
				continue
			}
			call := strings.ReplaceAll(strings.TrimSpace(name+" "+c.ArgsUsage), "|", `\|`)
			does := c.Usage
			if c.more != "" {
				does += "; " + c.more
			}
			fmt.Fprintf(&commands, "| `%s` | %s |\n", call, does)
		}
	}
	walk("publish", (&program{}).commands())
	var exits strings.Builder
	for _, s := range exitStatus {
		fmt.Fprintf(&exits, "| %d | %s |\n", int(s.code), s.meaning)
	}
	for _, table := range []struct{ page, head, rows string }{
		{"guide/commands.md", "| command | what it does |\n| --- | --- |\n", commands.String()},
		{"guide/json.md", "| code | meaning |\n| --- | --- |\n", exits.String()},
	} {
		data, err := os.ReadFile(table.page)
		must(t, err)
		before, rest, ok := strings.Cut(string(data), table.head)
		end := strings.Index(rest, "\n\n") + 1 // of the table's rows
		if !ok || end == 0 {
			t.Fatalf("%s has no such table", table.page)
		}
		fresh := before + table.head + table.rows + rest[end:]
		if os.Getenv("UPDATE_PAGES") != "" {
			must(t, os.WriteFile(table.page, []byte(fresh), 0o644))
		} else if diff := cmp.Diff(strings.Split(string(data), "\n"), strings.Split(fresh, "\n")); diff != "" {
			t.Errorf("%s is not what the program has (-page +program); UPDATE_PAGES=1 go test -run TestTables "+
				"./cmd/publish writes it anew\n%s", table.page, diff)
		}
	}
}

// What the pages quote are commands that there are, with their flags.
func TestQuotedCommands(t *testing.T) {
	quoted := regexp.MustCompile("`(publish [^`]+)`|(?m)^(publish [^#\n]+)")
	app := (&program{}).app()
	n := 0
	for _, page := range append(pages(t), "../../CONTRIBUTING.md") {
		data, err := os.ReadFile(page)
		must(t, err)
		text := consoleBlock.ReplaceAllString(string(data), "") // TestPages runs these
		for _, block := range regexp.MustCompile("(?s)```(.*?)```").FindAllString(text, -1) {
			if !strings.HasPrefix(block, "```sh\n") {
				text = strings.ReplaceAll(text, block, "")
			}
		}
		prose := regexp.MustCompile("(?s)```sh\n.*?```").ReplaceAllString(text, "")
		prose = strings.Join(strings.Fields(prose), " ") // a quotation may be broken over two lines
		for _, m := range quoted.FindAllStringSubmatch(prose, -1) {
			n++
			checkQuoted(t, app, page, m[1])
		}
		for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(text, -1) {
			for _, m := range quoted.FindAllStringSubmatch(block[1], -1) {
				checkQuoted(t, app, page, m[2])
			}
		}
	}
	if n < 50 {
		t.Errorf("%d commands are quoted", n)
	}
}

func checkQuoted(t *testing.T, app *cli.App, page, command string) {
	t.Helper()
	words := strings.Fields(command)[1:]
	if i := slices.IndexFunc(words, func(w string) bool {
		return strings.ContainsAny(w, "|>;&") && !strings.Contains(w, `\|`)
	}); i >= 0 {
		words = words[:i]
	}
	if len(words) > 1 && words[0] == "stage" && strings.HasSuffix(words[1], "...") {
		return
	}
	if _, err := arrange(app, words); err != nil && !errors.As(err, new(*wantsHelp)) {
		t.Errorf("%s: `%s`: %v", page, command, err)
	}
}

// The README fits on a few screens.
func TestReadmeIsShort(t *testing.T) {
	if info, err := os.Stat(readme); err != nil || info.Size() > 10<<10 {
		t.Errorf("%v, %v", info.Size(), err)
	}
}

// varying replaces what differs from run to run.
func varying(s string) string {
	for _, r := range [][2]string{
		{`[0-9a-f]{64}`, "HASH"},
		{`[0-9a-f]{32}\b`, "HASH"},
		{`[0-9a-f]{12}\b`, "HASH"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`, "TIME"},
		{`HASH\.(incus|root)\.tar\.xz`, "HASH.FILE"}, // sorted by hashes, which vary
		{`(?m)^### \d\d:\d\d`, "### CLOCK"},
		{`(?m)^By \w+`, "By WHO"},
		{`[\d.]+ (B|KiB|MiB)`, "SIZE"},
		{`\b([\d.]+(h|m|ms|s))+\b`, "TOOK"},
		{`by \S+ since`, "by WHO since"},
		{`(?m)(^|TIME +)[bcdfghjkmnpqrstvwxyz0-9]{10}\b`, "${1}JOB"}, // some have only letters
		{`(?m)^(TIME +[a-z]+ +\S+ +\S+ +)\S+`, "${1}WHO"},
		{`_(ms|us)":\d+`, `_$1":0`},
		{`(?m)^(TIME +JOB +\w+ +)\w+`, "${1}WHO"},
		{`"[bcdfghjkmnpqrstvwxyz0-9]{10}"`, `"JOB"`},
		{`"from \w+`, `"from WHO`},
		{`http-[a-z0-9]{26}`, "http-ID"},
		{`127\.0\.0\.1:\d+`, "127.0.0.1:PORT"},
		{`says \d+ for`, "says N for"}, // of an archive, with times in it
		{` +`, " "},
	} {
		s = regexp.MustCompile(r[0]).ReplaceAllString(s, r[1])
	}
	return s
}
