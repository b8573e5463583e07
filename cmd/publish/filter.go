package main

import (
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/journal"
)

// spanFlags are those of every command that reads a part of the history.
func spanFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "since", Usage: "from `TIME` on: RFC 3339, a date, or a duration ago such as 7d"},
		&cli.StringFlag{Name: "until", Usage: "up to `TIME`; a date includes its day"},
	}
}

// span reads --since and --until into the filter.
func (p *program) span(c *cli.Context, f *publish.HistoryFilter) (err error) {
	if c.IsSet("since") {
		if f.Since, _, err = publish.ParseMoment(c.String("since"), p.clock()); err != nil {
			return usage("", "--since: %s", err)
		}
	}
	if c.IsSet("until") {
		if _, f.Until, err = publish.ParseMoment(c.String("until"), p.clock()); err != nil {
			return usage("", "--until: %s", err)
		}
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && f.Until.Before(f.Since) {
		return usage("", "--until: %s is before --since", c.String("until"))
	}
	return nil
}

// clock is what the program takes for now.
func (p *program) clock() time.Time {
	if p.now != nil {
		return p.now()
	}
	return time.Now()
}

// kindNames are the kinds of events.
func kindNames() []string {
	var out []string
	for _, k := range publish.Kinds() {
		out = append(out, string(k))
	}
	return out
}

// kindsOf reads --kind, which may be given again and may hold a list.
func kindsOf(values []string) ([]journal.Kind, error) {
	var out []journal.Kind
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.TrimSpace(name); name == "" {
				return nil, usage("", "--kind: is empty")
			}
			out = append(out, journal.Kind(name))
		}
	}
	return out, nil
}
