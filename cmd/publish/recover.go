package main

import (
	"context"

	"github.com/urfave/cli/v2"
)

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
			&cli.BoolFlag{Name: "force", Usage: "where production is in an object store, write the pointer anew if somebody " +
				"deleted or overwrote it, from the newest generation that can be read"},
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
	if c.Bool("force") {
		do = func(ctx context.Context) ([]string, error) {
			did, err := r.Rescue(ctx)
			if did == "" || err != nil {
				return nil, err
			}
			more, err := r.Recover(ctx)
			return append([]string{did}, more...), err
		}
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
