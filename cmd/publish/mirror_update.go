package main

import (
	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
)

func (p *program) mirrorUpdateCommand() *command {
	return verb(&cli.Command{
		Name: "update", ArgsUsage: "[REF...]",
		Usage: "ask whether locked names have moved",
		Description: "Asks servers what the names in mirror.lock.yaml stand for now (without REF: all), with a request or " +
			"two a name, and prints those that stand for something else. Names with a digest cannot move. Nothing is " +
			"changed. With --accept-drift there is a job for each of them, whose ID is printed: it brings what the name " +
			"stands for when it runs, and changes the lock file. Exit status 3: something moved, and --accept-drift was " +
			"not given; 5: REF is not in the lock file; 1: a server could not be asked.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "accept-drift", Usage: "follow what moved"}},
	}, 0, -1, p.mirrorUpdate).
		example("see what has moved", "publish mirror update").
		example("follow all that moved", "publish mirror update --accept-drift").
		completes(every(p.lockedNames))
}

// lockedNames are candidates for a name of the lock file.
func (p *program) lockedNames() (out []string) {
	m, err := p.mirrorOf()
	if err != nil {
		return nil
	}
	set, err := m.Pins.Load()
	if err != nil {
		return nil
	}
	for _, e := range set.All() {
		out = append(out, e.Canonical+"\t"+short(e.Digest))
	}
	return out
}

func (p *program) mirrorUpdate(c *cli.Context) error {
	m, err := p.mirrorOf()
	if err != nil {
		return err
	}
	follow := c.Bool("accept-drift")
	if follow {
		if err := m.Repo.Allows("mirror update"); err != nil {
			return err
		}
	}
	survey, err := m.Survey(c.Context, c.Args().Slice()...)
	if err != nil {
		return err
	}
	if follow {
		by := mirror.Me("")
		by.Via = "update"
		if err := m.Follow(c.Context, survey, by); err != nil {
			return err
		}
	}
	last := ""
	for _, d := range survey.Drifted {
		name := d.Canonical
		if d.Product != "" {
			name += " " + d.Product + "/" + d.Version
		}
		if err := p.answer(d, func() {
			if !follow {
				p.say("%s %s -> %s", oneLine(name), d.From, d.To)
				return
			}
			p.note("%s: stands for %s, and was locked to %s", oneLine(name), d.To, d.From)
			if d.ID != last { // a name may have several versions
				p.say("%s", d.ID)
			}
			last = d.ID
		}); err != nil {
			return err
		}
	}
	switch {
	case len(survey.Drifted) > 0, len(survey.Failed) > 0:
	case survey.Asked == 0:
		p.note("nothing is locked that could move")
	default:
		p.note("%s asked for, none has moved", count(survey.Asked, "locked name"))
	}
	return surveyed(p, survey, follow)
}

// surveyed is how an update ends.
func surveyed(p *program, s *mirror.Survey, follow bool) error {
	if n := len(s.Failed); n > 0 {
		for _, err := range s.Failed[1:] {
			p.warn(message(err))
		}
		e := &publish.Error{Err: s.Failed[0], Hint: explain(s.Failed[0]).Hint}
		if n > 1 {
			e.Fact = count(n, "locked name") + " could not be asked for, the first of them"
		}
		return e
	}
	if len(s.Drifted) > 0 && !follow {
		return &publish.Error{Kind: publish.Invalid, Fact: count(moved(s), "locked name") + " moved",
			Hint: "publish mirror update --accept-drift follows; else jobs go on to bring what is locked"}
	}
	return nil
}

// moved counts the names that drifted.
func moved(s *mirror.Survey) int {
	names := map[string]bool{}
	for _, d := range s.Drifted {
		names[d.Canonical] = true
	}
	return len(names)
}
