package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

func (p *program) gcCommand() *command {
	return verb(&cli.Command{
		Name: "gc", Category: "upkeep",
		Usage: "delete retired generations and carried files whose window has ended",
		Description: "promote and revert also do it. Nothing is deleted while the clock is behind the newest " +
			"line of the history.",
		Flags: []cli.Flag{dryRunFlag(),
			&cli.BoolFlag{Name: "orphans", Usage: "in an object store, delete what promotes that did not end have left: " +
				"objects that nothing names"}},
	}, 0, 0, p.gc).
		example("see what can be deleted now", "publish gc --dry-run")
}

func (p *program) gc(c *cli.Context) error {
	r, err := p.open()
	if err != nil {
		return err
	}
	if c.Bool("orphans") {
		return p.gcStrays(c, r)
	}
	res, err := r.GC(c.Context, c.Bool("dry-run"))
	if err != nil {
		return err
	}
	if res.ClockBehind {
		p.warn("the clock is behind the newest line of the history: nothing is deleted; " + publish.ClockRemedy)
	}
	return p.answer(res, func() {
		if len(res.Generations)+res.Files == 0 {
			p.idle("nothing to delete")
			return
		}
		p.say("%s", gcLine(res))
	})
}

func (p *program) gcStrays(c *cli.Context, r *publish.Repo) error {
	res, err := r.GCStrays(c.Context, c.Bool("dry-run"))
	if err != nil {
		return err
	}
	return p.answer(res, func() {
		word := "deleted"
		if res.DryRun {
			word = "dry run: would delete"
			for _, key := range res.Keys {
				p.say("%s", key)
			}
		}
		p.say("%s %s, %s; %s of others, which are never touched", word, count(len(res.Keys), "object"), size(res.Bytes),
			count(res.Foreign, "object"))
		if res.Uploads > 0 {
			p.say("%s the parts of %s that did not end", word, count(res.Uploads, "upload"))
		}
	})
}

func gcLine(res *publish.GCResult) string {
	word := "deleted"
	if res.DryRun {
		word = "dry run: would delete"
	}
	which := ""
	if len(res.Generations) > 0 {
		which = " (" + strings.Trim(strings.ReplaceAll(fmt.Sprint(res.Generations), " ", ", "), "[]") + ")"
	}
	return fmt.Sprintf("%s %s%s and %s, %s", word, count(len(res.Generations), "generation"), which,
		count(res.Files, "carried file"), size(res.Bytes))
}
