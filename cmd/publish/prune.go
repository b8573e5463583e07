package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/retention"
)

func (p *program) pruneCommand() *command {
	return verb(&cli.Command{
		Name: "prune", Category: "staging",
		Usage: "take out of staging what the rules of retention do not keep",
		Description: "Takes versions out of the indexes by the rules in publish.yaml (publish help config). Files " +
			"that no index has named for orphan_grace are deleted, those of pruned versions among them. Production " +
			"stays as it is until the next promote. --plan writes a plan to a file for review; --apply carries out " +
			"that plan and nothing else, and refuses it if staging, production, the rules or the file have changed. " +
			"Of an OCI tree it takes out tags, by the rules under tags; none that an inventory under in_use names. " +
			"--undo brings back the tags that a prune took out, while staging has their files.",
		Flags: []cli.Flag{
			dryRunFlag(),
			&cli.StringFlag{Name: "plan", Usage: "prune nothing; write the plan to `FILE`"},
			&cli.StringFlag{Name: "apply", Usage: "do what the plan in `FILE` says"},
			&cli.StringFlag{Name: "undo", Usage: "bring back the tags that the prune with this `ID` took out"},
		},
	}, 0, 0, p.prune).
		completesFlag("undo", p.prunes).
		example("see what the rules of retention would take out, and why", "publish prune --dry-run").
		example("keep the plan, read it, then do it",
			"publish prune --plan plan.json && publish prune --apply plan.json")
}

func (p *program) prune(c *cli.Context) error {
	for _, name := range []string{"plan", "apply", "undo"} {
		if c.IsSet(name) && c.String(name) == "" {
			return usage("", "--%s: is empty", name)
		}
	}
	write, read := c.String("plan"), c.String("apply")
	if write != "" && read != "" {
		return usage("write a plan, read it, and then apply it",
			"publish prune: --plan and --apply cannot be given together")
	}
	if c.IsSet("undo") && write+read != "" {
		return usage("undo the prune, and then plan another", "publish prune: --undo stands without --plan and --apply")
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	p.warnConfig(r)
	if c.IsSet("undo") {
		return p.undo(c, r)
	}
	opt := publish.PruneOptions{DryRun: c.Bool("dry-run"), Plan: write != ""}
	if read != "" {
		if opt.Apply, err = publish.ReadPlan(read); err != nil {
			return err
		}
	}
	res, err := r.Prune(c.Context, opt)
	if codeOf(err) == exitFindings {
		err = &hinted{err,
			"the indexes are not valid, so nothing was pruned; correct them: publish validate shows all findings"}
	}
	if res == nil {
		return err
	}
	if write != "" {
		if err := res.Write(write); err != nil {
			return err
		}
	}
	werr := p.answer(res, func() { p.pruned(res, write) })
	if err == nil {
		err = werr
	}
	return err
}

// pruned is the report of a prune: per product what stays and why and what goes
// and why, then files, then sums.
func (p *program) pruned(res *publish.PruneResult, written string) {
	if p.quiet && written == "" && len(res.Remove)+len(res.Orphans) == 0 {
		return
	}
	keep, remove := res.Keep, res.Remove
	for len(keep)+len(remove) > 0 {
		product := ""
		if len(keep) > 0 {
			product = keep[0].Product
		}
		if len(keep) == 0 || len(remove) > 0 && remove[0].Product < product {
			product = remove[0].Product
		}
		p.say("%s", oneLine(product))
		rows := make([][]string, 0, len(keep)+len(remove))
		cells := make([]string, 0, 4*cap(rows)) // of all rows
		last, text := int64(-1), ""
		take := func(list []retention.Decision, word string) []retention.Decision {
			for ; len(list) > 0 && list[0].Product == product; list = list[1:] {
				if n := list[0].Bytes; n != last {
					last, text = n, size(n)
				}
				cells = append(cells, word, oneLine(list[0].Version), text, oneLine(strings.Join(list[0].Reasons, "; ")))
				rows = append(rows, cells[len(cells)-4:])
			}
			return list
		}
		keep = take(keep, "  keep")
		remove = take(remove, "  remove")
		p.table(rows)
	}
	p.orphans("unreferenced files whose grace period has ended", res.Orphans)
	p.orphans("unreferenced files, kept until their grace period ends", res.Waiting)
	p.say("%s", pruneLine(res))
	p.undoable(res.ID)
	if written != "" {
		p.say("%s: the plan was written; publish prune --apply %s carries it out", written, written)
	}
}

func (p *program) orphans(title string, list []publish.Orphan) {
	if len(list) == 0 {
		return
	}
	p.say("%s", title)
	var rows [][]string
	for _, o := range list {
		rows = append(rows, []string{"  " + oneLine(o.Path), size(o.Bytes), "since " + p.when(o.Since)})
	}
	p.table(rows)
}

func pruneLine(res *publish.PruneResult) string {
	noun := "version"
	if res.ByTags() {
		noun = "tag"
	}
	if len(res.Remove)+len(res.Orphans) == 0 {
		return fmt.Sprintf("nothing to prune; %s kept", count(len(res.Keep), noun))
	}
	word := "pruned"
	if res.DryRun {
		word = "dry run: would prune"
	}
	return fmt.Sprintf("%s %s of %d and %s; %s freed now, %s after the grace window", word,
		count(len(res.Remove), noun),
		len(res.Keep)+len(res.Remove), count(len(res.Orphans), "file"), size(res.BytesNow), size(res.BytesAfterGrace))
}

// undoable says how a prune can be undone; "" is the id of one that cannot be.
func (p *program) undoable(id string) {
	if id != "" {
		p.note("publish prune --undo %s brings the tags back while staging has their files", id)
	}
}
