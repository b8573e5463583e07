package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/mattn/go-runewidth"

	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
)

// answer writes v as JSON, or what people writes for people.
func (p *program) answer(v any, people func()) error {
	p.progress.end()
	if p.json {
		return p.object(v)
	}
	people()
	return nil // the flush reports whether it could be written
}

// object writes one line of JSON.
func (p *program) object(v any) error {
	return writeJSON(p.out, v)
}

// writeJSON writes one line of JSON. What a terminal obeys, or what turns the text on it
// around, is escaped, which is the same JSON.
func writeJSON(w io.Writer, v any) error {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(harmless(line.Bytes()))
	return err
}

// harmless escapes such runes in a line of JSON, where only strings can have them. The
// encoder has escaped those below U+0020.
func harmless(line []byte) []byte {
	harm := func(r rune) bool { return r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
	if !bytes.ContainsFunc(line, harm) {
		return line
	}
	out := make([]byte, 0, len(line)+len(line)/8)
	for _, r := range string(line) {
		if harm(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// say writes a line of the answer.
func (p *program) say(format string, args ...any) {
	fmt.Fprintln(p.out, printable(fmt.Sprintf(format, args...)))
}

// idle writes the answer of a command that found nothing to do: no line of it
// is worth a mail from cron, which --quiet is for.
func (p *program) idle(format string, args ...any) {
	if !p.quiet {
		p.say(format, args...)
	}
}

// table writes rows in columns, two spaces apart, as wide as what they hold on
// a terminal. The last column has no limit.
func (p *program) table(rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i := range row {
			row[i] = oneLine(row[i])
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(row[i]))
		}
	}
	var line []byte
	for _, row := range rows {
		line = line[:0]
		gap := 0 // before the next cell that is not empty
		for i, cell := range row {
			if cell != "" {
				for ; gap > 0; gap-- {
					line = append(line, ' ')
				}
				line = append(line, cell...)
			}
			gap += widths[i] - width(cell) + 2
		}
		_, _ = p.out.Write(append(line, '\n')) // the flush reports whether it could be written
	}
}

// terminal measures text in columns: a wide character takes two, a combining
// one none. What a terminal shows in one or in two takes one, whatever the
// locale: a script that reads columns gets the same everywhere.
var terminal = &runewidth.Condition{StrictEmojiNeutral: true}

// width is how many columns a text takes.
func width(s string) int {
	if simple(s) {
		return len(s)
	}
	return terminal.StringWidth(s)
}

// simple reports whether a text is printable ASCII, as nearly all are.
func simple(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// printable makes names from outside harmless to a terminal: what does not
// print is written as Go writes it in a string. Lines stay lines.
func printable(s string) string {
	if !strings.ContainsFunc(s, unprintable) && strings.ToValidUTF8(s, "") == s {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar && !strings.HasPrefix(s[i:], string(unicode.ReplacementChar)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unprintable(r):
			q := fmt.Sprintf("%+q", r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }

// oneLine is printable for a name that has to stay on its line.
func oneLine(s string) string {
	if simple(s) {
		return s
	}
	return strings.ReplaceAll(printable(s), "\n", `\n`)
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// short is the beginning of a fingerprint or of a digest, which is enough to name
// it: see catalog.What.
func short(fingerprint string) string {
	_, digits, ok := strings.Cut(fingerprint, ":")
	if !ok {
		digits = fingerprint
	}
	return digits[:min(12, len(digits))]
}

// count is a number with its noun: 1 file, 2 files.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// changes sums up what a switch or a diff changes.
func changes(added, removed, changed int) string {
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{added, "added"}, {removed, "removed"}, {changed, "changed"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if len(parts) == 0 {
		return "no version changed"
	}
	return strings.Join(parts, ", ")
}

// findingLine is a finding as people read it.
func findingLine(f catalog.Finding) string {
	at := ""
	if f.Path != "" {
		at = oneLine(f.Path) + ": "
	}
	return fmt.Sprintf("%s: %s%s [%s]", f.Severity, at, oneLine(f.Message), f.Code)
}

// printRedacted notes revoked paths, which are no findings.
func (p *program) printRedacted(r *stage.Report) {
	if n := len(r.Redacted); n > 0 {
		p.note("note: redacted, without %s; publish history --kind revoke says why", count(n, "file"))
	}
}

// verdict counts what was found.
func verdict(r *stage.Report) string {
	errs := len(r.Errors())
	return fmt.Sprintf("%s, %s in %s (%s, %s read)", count(errs, "error"), count(len(r.Findings)-errs, "warning"),
		count(r.Files, "file"), size(r.Bytes), size(r.HashedBytes))
}
