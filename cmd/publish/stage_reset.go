package main

import "github.com/urfave/cli/v2"

func (p *program) stageResetCommand() *command {
	return verb(&cli.Command{
		Name:        "reset",
		Usage:       "make staging what production is",
		Description: "What staging has and production lacks waits in .publish/trash for one grace window.",
	}, 0, 0, p.stageReset).
		example("forget what is staged, and begin again from production", "publish stage reset")
}

func (p *program) stageReset(c *cli.Context) error {
	r, err := p.open()
	if err != nil {
		return err
	}
	added, dropped, err := r.Reset(c.Context)
	if err != nil {
		return err
	}
	return p.answer(map[string]int{"added": added, "dropped": dropped}, func() {
		if added+dropped == 0 {
			p.idle("staging equals production already")
			return
		}
		p.say("staging equals production: %s came, %s went to trash", count(added, "file"), count(dropped, "file"))
	})
}
