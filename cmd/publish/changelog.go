package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/journal"
)

func (p *program) changelogCommand() *command {
	return verb(&cli.Command{
		Name: "changelog", Category: "look",
		Usage: "write the history as Markdown that a team can publish",
		Description: "By day (UTC), newest first: what each switch added, removed and changed, reverts with their " +
			"reason, and holds. Names and messages are escaped for Markdown.",
		Flags: spanFlags(),
	}, 0, 0, p.changelog).
		example("write what changed since the new year", "publish changelog --since 2026-01-01 > changelog.md")
}

// changelogDay is what happened on one day.
type changelogDay struct {
	Day    string         `json:"day"` // such as 2026-01-31, UTC
	Events []publish.Told `json:"events"`
}

func (p *program) changelog(c *cli.Context) error {
	var f publish.HistoryFilter
	if err := p.span(c, &f); err != nil {
		return err
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	events, err := r.History(f)
	if err != nil {
		return err
	}
	days := byDay(events)
	return p.answer(struct {
		Days []changelogDay `json:"days"`
	}{days}, func() { writeChangelog(p.out, days) })
}

// byDay groups events, newest first. Upkeep is left out:
// a changelog's reader does not need a gc.
func byDay(events []journal.Event) []changelogDay {
	days := []changelogDay{}
	for _, e := range events {
		switch e.Kind {
		case journal.KindGC, journal.KindHealth, journal.KindPin, journal.KindUnpin, journal.KindRedact,
			journal.KindClock:
			continue
		}
		day := e.Time.UTC().Format(time.DateOnly)
		if len(days) == 0 || days[len(days)-1].Day != day {
			days = append(days, changelogDay{Day: day})
		}
		last := &days[len(days)-1]
		last.Events = append(last.Events, publish.Tell(e))
	}
	return days
}

func writeChangelog(w io.Writer, days []changelogDay) {
	fmt.Fprintln(w, "# Changelog")
	if len(days) == 0 {
		fmt.Fprintf(w, "\nNothing changed.\n")
	}
	for _, d := range days {
		fmt.Fprintf(w, "\n## %s\n", d.Day)
		for _, t := range d.Events {
			e := t.Record
			fmt.Fprintf(w, "\n### %s %s\n\n", e.Time.UTC().Format("15:04"), changelogTitle(e))
			fmt.Fprintf(w, "By %s%s.\n", mdText(e.Who), changelogReason(e))
			writeEntries(w, "Added", e.Added)
			writeEntries(w, "Removed", e.Removed)
			writeEntries(w, "Changed", e.Changed)
			writeReasons(w, "Pruned from staging", e.Pruned)
			writeEntries(w, "Brought back into staging", restoredNames(e))
			if n := len(e.Orphans); n > 0 {
				fmt.Fprintf(w, "\nDeleted from staging: %s that no index named.\n", count(n, "file"))
			}
			writeEntries(w, "Revoked", revokedNames(e))
		}
	}
}

// restoredNames are the tags that the undo of a prune brought back.
func restoredNames(e journal.Record) (out []string) {
	for _, t := range e.Restored {
		out = append(out, t.Called())
	}
	return out
}

// revokedNames are the versions, or paths, that a revoke took away, each once.
func revokedNames(e journal.Record) []string {
	var out []string
	for _, v := range e.Revoked {
		if !slices.Contains(out, v.Name()) {
			out = append(out, v.Name())
		}
	}
	for _, v := range e.Unnamed {
		if !slices.Contains(out, v.String()) {
			out = append(out, v.String())
		}
	}
	return out
}

// changelogTitle says what happened.
func changelogTitle(e journal.Record) string {
	content := ""
	if e.Origin != e.Generation && e.Origin != 0 {
		content = fmt.Sprintf(" to the content of generation %d", e.Origin)
	}
	switch e.Kind {
	case journal.KindAdopt:
		return fmt.Sprintf("Adopted as generation %d", e.Generation)
	case journal.KindPromote:
		failed := ""
		if e.Health == journal.HealthFailed {
			failed = ", which failed its health check"
		}
		return fmt.Sprintf("Promoted generation %d%s", e.Generation, failed)
	case journal.KindRevert:
		return fmt.Sprintf("Reverted%s (generation %d)", content, e.Generation)
	case journal.KindAutoRevert:
		return fmt.Sprintf("Reverted by the health check%s (generation %d)", content, e.Generation)
	case journal.KindRelink:
		return fmt.Sprintf("Switched by another program to generation %d", e.Generation)
	case journal.KindPrune:
		if e.Undo != "" {
			return "Undid a prune of staging"
		}
		return "Pruned staging"
	case journal.KindRevoke:
		return fmt.Sprintf("Revoked (generation %d)", e.Generation)
	case journal.KindSign:
		return fmt.Sprintf("Signed anew (generation %d)", e.Generation)
	case journal.KindGap:
		return fmt.Sprintf("Gap in the record, before generation %d", e.Generation)
	case journal.KindHold:
		return "Promotes held"
	case journal.KindUnhold:
		return "Hold ended"
	}
	title := strings.ToUpper(string(e.Kind[:min(1, len(e.Kind))])) + string(e.Kind[min(1, len(e.Kind)):])
	if e.Kind.Switch() {
		title += fmt.Sprintf(" (generation %d%s)", e.Generation, content)
	}
	return mdText(title)
}

// changelogReason is why; a promote's message is a remark, not a reason.
func changelogReason(e journal.Record) string {
	switch {
	case e.Message != "":
		return ": " + strings.TrimRight(mdText(e.Message), ".")
	case e.Kind == journal.KindRevert:
		return "; no reason was given"
	}
	return ""
}

// manyEntries is the largest number of lines that is printed of one switch.
const manyEntries = 200

func writeEntries(w io.Writer, what string, names []string) {
	lines := make([]string, len(names))
	for i, name := range names {
		lines[i] = mdCode(name)
	}
	writeList(w, what, lines)
}

// writeReasons lists the versions that a prune dropped, each with its reasons.
func writeReasons(w io.Writer, what string, pruned []journal.Pruned) {
	var lines []string
	for _, d := range pruned {
		lines = append(lines, mdCode(d.Called())+": "+mdText(strings.Join(d.Reasons, ", ")))
	}
	writeList(w, what, lines)
}

// writeList writes lines of Markdown as a list under a heading.
func writeList(w io.Writer, what string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n\n", what)
	for i, line := range lines {
		if i == manyEntries {
			fmt.Fprintf(w, "- and %d more\n", len(lines)-i)
			return
		}
		fmt.Fprintf(w, "- %s\n", line)
	}
}

// mdCode is a name as a code span, in which Markdown takes all but backquotes
// literally; the fence is longer than any run of them inside (CommonMark 6.1).
func mdCode(name string) string {
	name = oneLine(name)
	longest, run := 0, 0
	for _, r := range name {
		if run++; r != '`' {
			run = 0
		}
		longest = max(longest, run)
	}
	pad := ""
	// One space on either side is taken off again.
	if longest > 0 || strings.HasPrefix(name, " ") && strings.HasSuffix(name, " ") && strings.Trim(name, " ") != "" {
		pad = " "
	}
	if name == "" {
		return "(no name)"
	}
	fence := strings.Repeat("`", longest+1)
	return fence + pad + name + pad + fence
}

// mdText is text that stands within a line: backslashes take their meaning
// from the characters that begin emphasis, code, links, HTML, entities, math
// and tables, a bare address does not become a link, and an @ notifies nobody.
func mdText(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	var b strings.Builder
	for _, r := range printable(text) {
		if strings.ContainsRune("\\`*_[]<>&~|$:", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
		if r == '@' {
			b.WriteString("&#8203;") // a space of no width ends the name before it begins
		}
	}
	return strings.ReplaceAll(b.String(), "www.", "www\\.")
}
