package main

import (
	"context"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
)

func (p *program) mirrorWatchCommand() *command {
	return verb(&cli.Command{
		Name: "watch", ArgsUsage: "[ID...]",
		Usage: "wait for jobs of the mirror, and print where their images are",
		Description: "Waits until the jobs have ended (without ID: those that have not ended now), and prints the address " +
			"of each image by its digest. With --until published it waits until production has them. Exit status 1: one " +
			"of them ended otherwise, or its image left staging before it was published, or production since.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "until", Value: "staged", Usage: "wait until jobs are `STATE`: staged or " +
			"published"}},
	}, 0, -1, p.mirrorWatch).
		example("wait until all that was asked for is in production", "publish mirror watch --until published").
		completes(every(p.jobs(mirror.Pending, mirror.Waiting, mirror.Running, mirror.Staged))).
		completesFlag("until", these("staged", "published"))
}

// watched is a line of the answer of mirror watch.
type watched struct {
	mirror.Seen
	Pinned string `json:"pinned"` // address@digest; "" for a job that failed
}

// watchEvery is how often the queue is looked at.
const watchEvery = 250 * time.Millisecond

func (p *program) mirrorWatch(c *cli.Context) error {
	until := mirror.State(c.String("until"))
	if until != mirror.Staged && until != mirror.Published {
		return usage("", "--until: %q is neither staged nor published", until)
	}
	m, err := p.mirrorOf()
	if err != nil {
		return err
	}
	ids := []string{}
	for _, prefix := range c.Args().Slice() {
		j, err := m.Queue.Get(prefix)
		if err != nil {
			return err
		}
		ids = append(ids, j.ID)
	}
	if len(ids) == 0 {
		states := []mirror.State{mirror.Pending, mirror.Waiting, mirror.Running}
		if until == mirror.Published {
			states = append(states, mirror.Staged)
		}
		list, bad, err := m.Queue.List(states...)
		if err != nil {
			return err
		}
		p.problems(bad)
		for _, j := range list {
			ids = append(ids, j.ID)
		}
	}
	bad := 0
	for _, id := range ids {
		j, err := p.awaitJob(c.Context, m, id, until)
		if err != nil {
			return err
		}
		w := watched{Seen: j}
		switch {
		case j.Gone:
			bad++
			p.note("%s: %s: staged, and %s", j.ID, j.Canonical, goneNote)
		case j.State == mirror.Staged, j.State == mirror.Published:
			if w.Pinned = m.PinnedAt(c.Context, j.Job); w.Pinned == "" { // such as after a revert
				bad++
				p.note("%s: %s: %s, and is not there any more", j.ID, j.Canonical, j.State)
			}
		default:
			bad++
			p.note("%s: %s: %s", j.ID, j.Canonical, endOf(j.Job))
		}
		if err := p.answer(w, func() {
			for line := range strings.Lines(w.Pinned) { // of each version, if it has several
				p.say("%s", strings.TrimSuffix(line, "\n"))
			}
		}); err != nil {
			return err
		}
		if err := p.flush(); err != nil {
			return err
		}
	}
	if bad > 0 {
		return &publish.Error{Fact: count(bad, "job") + " did not succeed", Hint: "publish mirror status ID says why"}
	}
	return nil
}

// awaitJob waits until a job is in a state, or in one from which it does not get there.
func (p *program) awaitJob(ctx context.Context, m *mirror.Mirror, id string, until mirror.State) (mirror.Seen, error) {
	said := false
	for {
		j, err := seenJob(ctx, m, id)
		if err != nil {
			return j, err
		}
		if j.State.Ended() && (j.State != mirror.Staged || j.Gone || until == mirror.Staged) {
			return j, nil
		}
		if j.Orphaned && !said {
			said = true
			p.note("%s: %s: %s", j.ID, j.Canonical, orphanedNote)
		}
		select {
		case <-ctx.Done():
			return j, ctx.Err()
		case <-time.After(watchEvery):
		}
	}
}

func (p *program) mirrorAddressCommand() *command {
	return verb(&cli.Command{
		Name: "address", ArgsUsage: "REF...",
		Usage: "print where production has images of other servers",
		Description: "Prints the address of each image by its digest, which never stands for another one. REF is the name " +
			"on its own server. In a repository of format simplestreams: a line for each image, with its product and " +
			"version, its fingerprint, and its aliases. Exit status 5: production does not have it. Takes no lock.",
	}, 1, -1, p.mirrorAddress).
		example("let a build use the mirrored image",
			"publish mirror address docker.io/acme/app:v1").
		completes(every(p.lockedNames))
}

func (p *program) mirrorAddress(c *cli.Context) error {
	m, err := p.mirrorOf()
	if err != nil {
		return err
	}
	var list []mirror.Place
	for _, ref := range c.Args().Slice() {
		places, err := m.Addresses(c.Context, ref)
		if err != nil {
			return err
		}
		list = append(list, places...)
	}
	for _, a := range list {
		if err := p.answer(a, func() {
			if a.Type == "" {
				p.say("%s", a.Pinned)
				return
			}
			p.say("%s", oneLine(strings.TrimSpace(a.Pinned+" "+a.Digest+" "+strings.Join(a.Aliases, " "))))
		}); err != nil {
			return err
		}
	}
	return nil
}
