package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/journal"
)

func (p *program) historyCommand() *command {
	return verb(&cli.Command{
		Name: "history", Category: "look",
		Usage: "report who changed production, when, and how",
		Description: "Newest first. An event is shown if it passes every filter. A pattern for products is one as in " +
			"retention.match (* is any run of characters) and is compared with what an event added, removed or " +
			"changed: the product, product/version, or a file's path.",
		Flags: append([]cli.Flag{
			&cli.IntFlag{Name: "limit", Usage: "only the newest `N` events"},
			&cli.StringSliceFlag{Name: "kind",
				Usage: "only events of `KIND`, such as promote, revert, hold or gc; a list has commas"},
			&cli.StringFlag{Name: "product", Usage: "only events that concern products like `PATTERN`"},
		}, spanFlags()...),
	}, 0, 0, p.history).
		completesFlag("kind", kindNames).
		example("see the last five events", "publish history --limit 5").
		example("see the reverts of a week", "publish history --kind revert --since 7d")
}

func (p *program) history(c *cli.Context) error {
	limit := c.Int("limit")
	if c.IsSet("limit") && limit < 1 {
		return usage("", "--limit: %d is not a number of events", limit)
	}
	kinds, err := kindsOf(c.StringSlice("kind"))
	if err != nil {
		return err
	}
	f := publish.HistoryFilter{Limit: limit, Kinds: kinds, Product: c.String("product")}
	if c.IsSet("product") && f.Product == "" {
		return usage("", "--product: is empty")
	}
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
	rows := [][]string{{"TIME", "KIND", "GENERATION", "FROM", "WHO", "CHANGES", "MESSAGE"}}
	for _, e := range events {
		if p.json {
			if err := p.object(publish.Tell(e)); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, p.historyRow(e))
	}
	switch {
	case p.json:
	case len(events) == 0 && filtered(c):
		p.note("no event passes the filter")
	case len(events) == 0:
		p.note("the history is empty")
	default:
		p.table(rows)
	}
	return nil
}

// filtered reports whether some events may have been left out.
func filtered(c *cli.Context) bool {
	return slices.ContainsFunc([]string{"kind", "product", "since", "until"}, c.IsSet)
}

func (p *program) historyRow(e journal.Event) []string {
	num, from, what := "-", "-", "-"
	if e.Kind.Switch() {
		num = strconv.Itoa(e.Generation)
		if e.Origin != e.Generation {
			num += "=" + strconv.Itoa(e.Origin)
		}
		if e.From != 0 {
			from = strconv.Itoa(e.From)
		}
	}
	switch e.Kind {
	case journal.KindPin, journal.KindUnpin:
		num = strconv.Itoa(e.Generation)
	case journal.KindGap:
		num = strconv.Itoa(e.Generation)
		if e.From != 0 {
			from = strconv.Itoa(e.From)
		}
	}
	text := []string{}
	if e.Message != "" {
		text = append(text, e.Message)
	}
	switch b := e.Body.(type) {
	case *journal.Switch:
		if n := len(b.Added) + len(b.Removed) + len(b.Changed); n > 0 {
			what = "+" + strconv.Itoa(len(b.Added)) + " -" + strconv.Itoa(len(b.Removed)) + " ~" +
				strconv.Itoa(len(b.Changed))
		}
		if b.Health != "" {
			text = append(text, "[health "+b.Health+"]")
		}
		if b.Recovered {
			text = append(text, "[recovered]")
		}
	case *journal.Health:
		text = append(text, "[health "+b.Result+"]")
	case *journal.Prune:
		what = "staging -" + strconv.Itoa(len(b.Pruned)) + ", " + count(len(b.Orphans), "file")
		if b.Undo != "" {
			what = "staging +" + strconv.Itoa(len(b.Restored))
			text = append(text, "[undo of "+b.Undo+"]")
		}
	case *journal.Freed:
		what = count(len(b.Generations), "generation") + ", " + count(b.Files, "file")
	case *journal.Redact:
		if d := b.Redaction; d != nil {
			what = count(len(d.Generations), "generation") + ", " + count(d.Files, "file")
		}
	}
	return []string{p.when(e.Time), string(e.Kind), num, from, oneLine(e.Who), what, oneLine(strings.Join(text, " "))}
}
