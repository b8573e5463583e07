package main

import (
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

func (p *program) historyCommand() *cli.Command {
	return verb(&cli.Command{
		Name: "history", Category: "look",
		Usage:       "tell who changed production, when, and how",
		Description: "Newest first.",
		Flags:       []cli.Flag{&cli.IntFlag{Name: "limit", Usage: "only the newest `N` events"}},
	}, 0, 0, p.history)
}

func (p *program) history(c *cli.Context) error {
	limit := c.Int("limit")
	if c.IsSet("limit") && limit < 1 {
		return usage("", "--limit: %d is not a number of events", limit)
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	events, err := r.History(publish.HistoryFilter{Limit: limit})
	if err != nil {
		return err
	}
	rows := [][]string{{"TIME", "KIND", "GENERATION", "FROM", "WHO", "CHANGES", "MESSAGE"}}
	for _, e := range events {
		if p.json {
			if err := p.object(e); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, historyRow(e))
	}
	switch {
	case p.json:
	case len(events) == 0:
		p.note("the history is empty")
	default:
		p.table(rows)
	}
	return nil
}

func historyRow(e publish.Event) []string {
	num, from, what := "-", "-", "-"
	if e.Kind.Switch() {
		num = strconv.Itoa(e.Generation)
		if e.Origin != e.Generation {
			num += "=" + strconv.Itoa(e.Origin)
		}
		if e.From != 0 {
			from = strconv.Itoa(e.From)
		}
		if n := len(e.Added) + len(e.Removed) + len(e.Changed); n > 0 {
			what = "+" + strconv.Itoa(len(e.Added)) + " -" + strconv.Itoa(len(e.Removed)) + " ~" + strconv.Itoa(len(e.Changed))
		}
	}
	if f := e.Freed; f != nil {
		what = count(len(f.Generations), "generation") + ", " + count(f.Files, "file")
	}
	if d := e.Redacted; d != nil {
		what = count(len(d.Generations), "generation") + ", " + count(d.Files, "file")
	}
	text := []string{}
	if e.Message != "" {
		text = append(text, e.Message)
	}
	if e.Health != "" {
		text = append(text, "[health "+e.Health+"]")
	}
	if e.Recovered {
		text = append(text, "[recovered]")
	}
	return []string{moment(e.Time), string(e.Kind), num, from, oneLine(e.Who), what, oneLine(strings.Join(text, " "))}
}
