//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
)

// markdown is all that was measured.
func (b *bench) markdown(facts []fact) string {
	var t strings.Builder
	t.WriteString(b.summary(facts))
	t.WriteString("\nEvery contender: the median time (the least to the most), processor time, and peak memory. The " +
		"size is in files; of prune and add-many in versions, of add in MiB.\n\n")
	t.WriteString("| experiment | size | contender | runs | time | processor | peak | switch |\n| --- | --: | --- | " +
		"--: | --: | --: | --: | --: |\n")
	type who struct {
		experiment string
		size       int
		contender  string
	}
	seen := map[who]bool{}
	for _, s := range b.samples {
		w := who{s.Experiment, s.Size, s.Contender}
		if seen[w] {
			continue
		}
		seen[w] = true
		of := func(n number) spread {
			out, _ := b.find(pick{s.Experiment, s.Size, s.Contender, n})
			return out
		}
		fmt.Fprintf(&t, "| %s | %s | %s | %d | %s | %s | %s | %s |\n", s.Experiment, thousands(s.Items), s.Contender,
			of(wall).n,
			show(of(wall), "s"), scalar(of(processor).median, "s"), scalar(of(peak).median, "MiB"),
			blankZero(show(of(switching), "s"), of(switching)))
	}
	for _, s := range b.skipped {
		fmt.Fprintf(&t, "| %s | %s | %s | 0 | %s | | | |\n", s.Experiment, thousands(b.n(s.Size)), s.Contender,
			cell(s.Why))
	}
	return t.String()
}

// summary lists what was to be reached, and what was reached.
func (b *bench) summary(facts []fact) string {
	var t strings.Builder
	for i, f := range facts {
		if i > 0 {
			t.WriteString("; ")
		}
		t.WriteString(f.Name + " " + f.Value)
	}
	t.WriteString(".\n\n")
	if b.scale != 1 {
		t.WriteString("The sizes are scaled down; what is to be reached is meant for the full ones.\n\n")
	}
	t.WriteString("| case | publish | beside | | ratio | at most | |\n| --- | --: | --- | --: | --: | --: | --- |\n")
	var bounds []string
	for _, g := range b.goals() {
		v := b.verdict(g)
		if v.mine.n == 0 && v.beside.n == 0 {
			continue // it was not asked for
		}
		name, limit, word, beside := g.peer, "", "", show(v.beside, g.beside.number.unit)
		if name == "" {
			name = g.beside.contender
		}
		if v.beside.n == 0 {
			beside = cell(b.why(g.beside))
		}
		if g.reach > 0 {
			limit = fmt.Sprint(g.reach)
		}
		if g.aim > 0 {
			limit += fmt.Sprintf(", aim %v", g.aim)
		}
		ratio := ""
		if v.ratio > 0 {
			ratio = significant(v.ratio)
		}
		switch {
		case v.ratio == 0 || g.reach == 0:
		case v.ratio <= g.reach:
			word = "reached"
		default:
			if word = "**not reached**"; g.bound != "" {
				bounds = append(bounds, fmt.Sprintf("- %s, beside %s: %s.\n", g.title, name, g.bound))
			}
		}
		fmt.Fprintf(&t, "| %s | %s | %s | %s | %s | %s | %s |\n", g.title, show(v.mine, g.mine.number.unit), name,
			beside, ratio, limit, word)
	}
	if len(bounds) > 0 {
		t.WriteString("\nWhat bounds the rows that are not reached:\n\n" + strings.Join(bounds, ""))
	}
	return t.String()
}

// blankZero leaves a cell empty if its value is zero.
func blankZero(text string, s spread) string {
	if s.max == 0 {
		return ""
	}
	return text
}

// cell is text that stays in its cell.
func cell(s string) string {
	s = strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "\\|")
	if len(s) > 120 {
		s = s[:120] + "…"
	}
	return s
}

// show is a median with its spread.
func show(s spread, unit string) string {
	switch {
	case s.n == 0:
		return "not run"
	case s.min == s.max:
		return scalar(s.median, unit)
	}
	return fmt.Sprintf("%s (%s to %s)", scalar(s.median, unit), scalar(s.min, unit), scalar(s.max, unit))
}

// scalar is a number with its unit: seconds as ms below one.
func scalar(x float64, unit string) string {
	if unit == "s" && x < 1 {
		return significant(x*1000) + " ms"
	}
	return significant(x) + " " + unit
}

// significant has three digits that matter.
func significant(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	case x >= 1:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.3f", x)
}

// thousands has a comma every three digits.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

const markBegin, markEnd = "<!-- bench -->\n", "<!-- /bench -->"

// intoReadme puts the results between the marks.
func intoReadme(name, text string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), markBegin)
	_, after, closed := strings.Cut(rest, markEnd)
	if !ok || !closed {
		return fmt.Errorf("%s: has no %s and %s", name, strings.TrimSpace(markBegin), markEnd)
	}
	return os.WriteFile(name, []byte(before+markBegin+text+markEnd+after), 0o644)
}
