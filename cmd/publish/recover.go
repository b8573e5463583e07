package main

import "github.com/urfave/cli/v2"

func (p *program) recoverCommand() *command {
	return verb(&cli.Command{
		Name: "recover", Category: "upkeep",
		Usage: "finish or undo what a killed command left; repair a damaged history",
		Description: "Every command that changes production also finishes or undoes what a killed command left. The " +
			"generation that production leads to counts; if production is missing, it is restored from the history. " +
			"Lost lines of the history are made again from the manifests; a line of kind gap marks those that cannot " +
			"be. recover fails while revoked content cannot be deleted.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "clock-is-right", Usage: "the clock was ahead and is right now: windows that seem to " +
				"begin later begin now, and gc deletes again"},
		},
	}, 0, 0, p.recover).
		example("finish what a killed command left", "publish recover")
}

func (p *program) recover(c *cli.Context) error {
	r, err := p.open()
	if err != nil {
		return err
	}
	do := r.Recover
	if c.Bool("clock-is-right") {
		do = r.ClockIsRight
	}
	done, err := do(c.Context)
	werr := p.answer(map[string][]string{"done": append([]string{}, done...)}, func() {
		for _, line := range done {
			p.say("%s", line)
		}
		if len(done) == 0 && err == nil {
			p.idle("nothing to recover")
		}
	})
	if err == nil {
		err = werr
	}
	return err
}
