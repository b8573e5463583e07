package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
)

func (p *program) promoteCommand() *command {
	return verb(&cli.Command{
		Name: "promote", Category: "production",
		Usage: "make what is staged production",
		Description: "Takes a snapshot of staging, validates it, and makes it production in one atomic step. The " +
			"tree before, and each file that only it had, is kept for the grace window. If staging equals " +
			"production, nothing changes.",
		Flags: []cli.Flag{
			dryRunFlag(), messageFlag(),
			&cli.BoolFlag{Name: "no-prune", Usage: "do not prune staging first, even if publish.yaml says so"},
			&cli.BoolFlag{Name: "force", Usage: "promote even if staging brings back content that an operator " +
				"reverted, or that was revoked; findings and a hold still stop it"},
			noSyncFlag(),
		},
	}, 0, 0, p.promote).
		example("see what would change", "publish promote --dry-run").
		example("make what is staged production", "publish promote -m 'weekly build'")
}

func dryRunFlag() cli.Flag {
	return &cli.BoolFlag{Name: "dry-run", Usage: "report what would be done, and do nothing"}
}

func (p *program) promote(c *cli.Context) error {
	r, err := p.open()
	if err != nil {
		return switching(err)
	}
	p.warnConfig(r)
	res, err := r.Promote(c.Context, publish.PromoteOptions{DryRun: c.Bool("dry-run"), Message: c.String("message"),
		Force: c.Bool("force"), NoPrune: c.Bool("no-prune")})
	if codeOf(err) == exitFindings {
		err = &hinted{err, "correct staging, then promote again; publish validate also shows the findings"}
	}
	return p.switched(c, r, res, err, "staging equals production")
}

// switchedAnswer is the answer of promote and revert.
type switchedAnswer struct {
	*publish.Result
	Targets []syncedTarget `json:"targets,omitempty"` // of the sync at the end
}

// switched answers for promote and revert, and brings the targets forward.
func (p *program) switched(c *cli.Context, r *publish.Repo, res *publish.Result, err error, equal string) error {
	if res == nil {
		targets, err := p.follow(c, r, false, err) // a failed health check may have switched twice
		p.printSynced(targets)
		return switching(err)
	}
	if !p.json {
		werr := p.printSwitched(r, res, nil, err, equal)
		if codeOf(werr) != codeOf(err) {
			return werr
		}
		targets, err := p.follow(c, r, !res.Unchanged, werr)
		p.printSynced(targets)
		return switching(err)
	}
	targets, err := p.follow(c, r, !res.Unchanged, err)
	return p.printSwitched(r, res, targets, err, equal)
}

func (p *program) printSwitched(
	r *publish.Repo, res *publish.Result, targets []syncedTarget, err error, equal string,
) error {
	p.printWarnings(res.Warnings)
	werr := p.answer(switchedAnswer{res, targets}, func() {
		if res.Unchanged && len(res.Pruned) == 0 {
			p.idle("%s", p.switchLine(res, equal))
			return
		}
		p.say("%s", p.switchLine(res, equal))
		if res.NotAtomic {
			p.note("%s", notAtomic(r.Config.Format))
		}
		p.undoable(res.PruneID)
	})
	if werr == nil {
		werr = p.flush()
	}
	if err == nil && werr != nil && !res.DryRun && !res.Unchanged {
		return &publish.Error{Kind: publish.Switched,
			Fact: fmt.Sprintf("production is generation %d now, but the answer could not be written", res.Generation),
			Err:  werr,
			Hint: "the switch is complete; publish history reports it"}
	}
	return switching(errors.Join(err, werr))
}

// switchLine says in one line what a promote or revert did.
func (p *program) switchLine(res *publish.Result, equal string) string {
	if res.Unchanged {
		return fmt.Sprintf("generation %d: unchanged, %s%s", res.Generation, equal, p.revertible(res))
	}
	var b strings.Builder
	if res.DryRun {
		b.WriteString("dry run: ")
	}
	fmt.Fprintf(&b, "generation %d", res.Generation)
	if res.Origin != res.Generation {
		fmt.Fprintf(&b, " with the content of %d", res.Origin)
	}
	if res.From == 0 {
		b.WriteString(", the first")
	} else {
		fmt.Fprintf(&b, " after %d", res.From)
	}
	if n := len(res.Pruned); n > 0 {
		fmt.Fprintf(&b, ", %s pruned", count(n, "version"))
	}
	fmt.Fprintf(&b, ": %s; %s carried, %s new", changes(len(res.Added), len(res.Removed), len(res.Changed)),
		count(res.Carried, "file"), size(res.NewBytes))
	if !res.DryRun {
		fmt.Fprintf(&b, "; %s", time.Duration(res.DurationMS)*time.Millisecond)
	}
	b.WriteString(p.revertible(res))
	return b.String()
}

func (p *program) revertible(res *publish.Result) string {
	switch {
	case res.RevertKept == "":
		return ""
	case res.RevertUntil != nil:
		return "; can be reverted until " + p.when(*res.RevertUntil)
	}
	return "; can be reverted, the content before is " + keptBy(res.RevertKept)
}

// keptBy names what keeps a generation without an end.
func keptBy(k publish.KeptBy) string {
	if k == publish.KeptByPin {
		return "pinned"
	}
	return "kept"
}

// manyWarnings is the largest number of warnings that is printed.
const manyWarnings = 20

// printWarnings prints the warnings of a tree that was, or will be, published.
func (p *program) printWarnings(list []catalog.Finding) {
	if p.json {
		return // they stand in the answer
	}
	for i, f := range list {
		if i == manyWarnings {
			p.note("and %d more; publish validate lists them", len(list)-i)
			return
		}
		p.note("%s", findingLine(f))
	}
}
