package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
)

func (p *program) mirrorCancelCommand() *command {
	return verb(&cli.Command{
		Name: "cancel", ArgsUsage: "ID...",
		Usage: "stop jobs of the mirror",
		Description: "A job that runs stops within a second, and nothing of it comes into staging. One that failed is not " +
			"reported as failed any more. One that has ended otherwise is refused: its image may be staged.",
	}, 1, -1, p.mirrorCancel).
		example("stop a job", "publish mirror cancel ID").
		completes(every(p.jobs(mirror.Pending, mirror.Waiting, mirror.Running, mirror.Failed)))
}

func (p *program) mirrorCancel(c *cli.Context) error {
	m, err := p.mirrorOf()
	if err != nil {
		return err
	}
	if err := m.Repo.Allows("mirror cancel"); err != nil {
		return err
	}
	by := mirror.Me("")
	by.Via = "cancel"
	return p.eachJob(c.Args().Slice(), func(id string) error {
		j, err := m.Queue.Cancel(c.Context, id, by)
		if err != nil {
			return ownersOnly(m, err, "cancels jobs", "ask the owner")
		}
		return p.answer(j, func() {
			if j.State == mirror.Running {
				p.say("%s: %s: is being stopped", j.ID, j.Canonical)
			} else {
				p.say("%s: %s: cancelled", j.ID, j.Canonical)
			}
		})
	})
}

// eachJob calls do for each job. One that is refused or not there, such as one that ended
// meanwhile, does not keep it from the others. The result is the first error; further ones
// are warnings.
func (p *program) eachJob(ids []string, do func(id string) error) error {
	var first error
	for _, id := range ids {
		err := do(id)
		e := new(publish.Error)
		switch {
		case err == nil:
		case !errors.As(err, &e) || e.Kind != publish.Refused && e.Kind != publish.NotFound && e.Kind != publish.Usage:
			return err
		case first == nil:
			first = err
		default:
			p.warn(message(err))
		}
	}
	return first
}

func (p *program) mirrorRetryCommand() *command {
	return verb(&cli.Command{
		Name: "retry", ArgsUsage: "ID... | --failed",
		Usage: "try failed jobs of the mirror again",
		Description: "A failed job is pending again, with all its attempts, and stays the digest that it was resolved " +
			"to. One that waits is due at once.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "failed", Usage: "all that failed"}},
	}, 0, -1, p.mirrorRetry).
		example("try all again that failed", "publish mirror retry --failed").
		completes(every(p.jobs(mirror.Failed, mirror.Waiting)))
}

func (p *program) mirrorRetry(c *cli.Context) error {
	if c.Bool("failed") == (c.NArg() > 0) {
		return usage("", "publish mirror retry: give either jobs or --failed")
	}
	m, err := p.mirrorOf()
	if err != nil {
		return err
	}
	if err := m.Repo.Allows("mirror retry"); err != nil {
		return err
	}
	ids := c.Args().Slice()
	if c.Bool("failed") {
		list, bad, err := m.Queue.List(mirror.Failed)
		if err != nil {
			return err
		}
		p.problems(bad)
		for _, j := range list {
			ids = append(ids, j.ID)
		}
		if len(ids) == 0 {
			p.note("no job has failed")
		}
	}
	by := mirror.Me("")
	by.Via = "retry"
	return p.eachJob(ids, func(id string) error {
		j, err := m.Queue.Retry(c.Context, id, by)
		e := new(publish.Error)
		if c.Bool("failed") && errors.As(err, &e) && (e.Kind == publish.Refused || e.Kind == publish.NotFound) {
			p.note("%s", message(err)) // another one brings it, or it is no failed one any more
			return nil
		}
		if err != nil {
			return ownersOnly(m, err, "tries jobs again", "ask the owner")
		}
		return p.answer(j, func() { p.say("%s: %s: pending", j.ID, j.Canonical) })
	})
}
