package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
)

func (p *program) mirrorRunCommand() *command {
	return verb(&cli.Command{
		Name:  "run",
		Usage: "fetch what was asked for",
		Description: "Takes jobs from the queue until it gets a signal: resolves each name once, copies by digest, checks, " +
			"and stages the image whole. With --once it ends when nothing runs and no job becomes due within " +
			"--patience. Any number of them may run at once. After a signal jobs are pending again, and what was " +
			"fetched of them is kept. It also makes the jobs of schedules, and promotes if mirror.promote is drained, " +
			"as publish promote does: targets are brought forward after it. " +
			"With --json it prints each job that is begun, put off or ended, on a line, and then the sums. " +
			"Exit status 1: a job failed in this run; with --once: a schedule failed, and 3, 6 or 7 as publish promote " +
			"if that is what failed.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "once", Usage: "end when there is nothing to do"},
			&cli.IntFlag{Name: "jobs", Usage: "run `N` jobs at once; default: as in publish.yaml"},
			&cli.StringFlag{Name: "patience", Value: "1m", Usage: "with --once: wait `DURATION`, all in all, " +
				"for jobs that become due"},
			&cli.BoolFlag{Name: "now", Usage: "fetch large images too while their window is shut"},
		},
	}, 0, 0, p.mirrorRun).
		example("fetch what is in the queue, from cron", "publish -q mirror run --once").
		example("fetch large images too, before their window opens", "publish mirror run --once --now")
}

func (p *program) mirrorRun(c *cli.Context) error {
	patience, err := publish.ParseDuration(c.String("patience"))
	if err != nil {
		return usage("", "--patience: %s", err)
	}
	if c.IsSet("patience") && !c.Bool("once") {
		return usage("", "--patience: needs --once")
	}
	if c.IsSet("jobs") && c.Int("jobs") < 1 {
		return usage("", "--jobs: %d is less than 1", c.Int("jobs"))
	}
	m, err := p.mirrorOf()
	if err != nil {
		return err
	}
	if err := m.Repo.Allows("mirror run"); err != nil {
		return err
	}
	m.Receivers = receivers(m.Repo)
	var mu sync.Mutex
	m.Told = func(j mirror.Job) {
		mu.Lock()
		defer mu.Unlock()
		if p.json {
			_ = errors.Join(p.object(j), p.flush()) // the summary says whether it can be written
			return
		}
		p.toldJob(m, j)
	}
	m.Warn = func(text string) {
		mu.Lock()
		defer mu.Unlock()
		p.warn(text)
	}
	m.Promoted = func(res *publish.Result) {
		mu.Lock()
		defer mu.Unlock()
		p.printWarnings(res.Warnings)
		p.note("%s", p.switchLine(res, ""))
	}
	lines := &targetLines{}
	synced := []syncedTarget{} // by the last sync
	m.Targets = func(ctx context.Context, switched bool) error {
		targets, err := p.followed(ctx, m.Repo, switched, nil, lines)
		mu.Lock()
		defer mu.Unlock()
		synced = append(synced[:0], targets...)
		if !p.json {
			p.tellSynced(targets, p.note)
		}
		return err
	}
	end := p.followJobs(m, lines)
	sum, err := m.Run(c.Context, mirror.RunOptions{Once: c.Bool("once"), Jobs: c.Int("jobs"),
		Patience: time.Duration(patience), Now: c.Bool("now")})
	end()
	if err != nil {
		return ownersOnly(m, err, "runs jobs", "ask the owner")
	}
	if err := p.answer(mirrorRunAnswer{sum, synced}, func() {
		if sum == (mirror.Summary{}) {
			p.idle("nothing to do")
			return
		}
		text := []string{}
		for _, part := range []struct {
			n    int
			word string
		}{{sum.Staged, "staged"}, {sum.Failed, "failed"}, {sum.Postponed, "postponed"}, {sum.Other, "ended otherwise"}} {
			if part.n > 0 {
				text = append(text, count(part.n, "job")+" "+part.word)
			}
		}
		if sum.Unscheduled > 0 {
			text = append(text, count(sum.Unscheduled, "schedule")+" failed")
		}
		if sum.Generation > 0 {
			text = append(text, fmt.Sprintf("promoted as generation %d", sum.Generation))
		}
		if len(text) == 0 {
			text = append(text, "nothing was fetched")
		}
		p.say("%s", strings.Join(text, ", "))
	}); err != nil {
		return err
	}
	if c.Context.Err() != nil {
		return c.Context.Err()
	}
	if c.Bool("once") && sum.Unpromoted != nil {
		return &hinted{fmt.Errorf("what is staged was not promoted: %w", sum.Unpromoted),
			"publish promote shows the same, and publish mirror history has it"}
	}
	if sum.Failed == 0 && sum.Behind != nil {
		return sum.Behind
	}
	if sum.Failed == 0 && sum.Unscheduled > 0 {
		return &publish.Error{Fact: count(sum.Unscheduled, "schedule") + " made no jobs",
			Hint: "the warnings, and publish mirror history, say why"}
	}
	if sum.Failed > 0 {
		return &publish.Error{Fact: count(sum.Failed, "job") + " failed",
			Hint: "publish mirror status ID says why; publish mirror retry --failed tries again"}
	}
	return nil
}

// mirrorRunAnswer is the answer of mirror run.
type mirrorRunAnswer struct {
	mirror.Summary
	// Targets are those that were brought forward after a promote; absent if none was.
	Targets []syncedTarget `json:"targets,omitempty"`
}

// toldJob prints what happens to a job.
func (p *program) toldJob(m *mirror.Mirror, j mirror.Job) {
	switch j.State {
	case mirror.Running:
		p.note("%s: %s: begun", j.ID, j.Canonical)
	case mirror.Staged:
		p.note("%s: %s: staged, %s", j.ID, m.NameOf(j.Canonical), j.Digest)
		if len(j.MissingPlatforms) > 0 {
			p.note("%s: the image has nothing for %s", j.ID, strings.Join(j.MissingPlatforms, ", "))
		}
		switch {
		case j.Drift == nil:
		case j.Drift.To == j.Digest:
			p.note("%s: the name was locked to %s", j.ID, j.Drift.From)
		default:
			p.note("%s: the name stands for %s by now", j.ID, j.Drift.To)
		}
	case mirror.Waiting:
		p.note("%s: %s: waits (%s) until %s: %s", j.ID, j.Canonical, j.Reason, moment(j.Until), j.Error)
	case mirror.Pending:
		p.note("%s: %s: is pending again", j.ID, j.Canonical)
	default:
		p.note("%s: %s: %s", j.ID, j.Canonical, endOf(j))
	}
}

// endOf says how a job ended.
func endOf(j mirror.Job) string {
	text := string(j.State)
	if j.Class != "" {
		text += " (" + string(j.Class) + ")"
	}
	if j.Error != "" {
		text += ": " + j.Error
	}
	return text
}
