package main

import "github.com/urfave/cli/v2"

func (p *program) recoverCommand() *cli.Command {
	return verb(&cli.Command{
		Name: "recover", Category: "upkeep",
		Usage: "finish or undo what a killed command left; mend a damaged history",
		Description: "Every command that changes production does the first part by itself. What production resolves to is the truth; " +
			"it is put back from the history where it is missing. Lines that the history lost are made anew from the manifests, as far as these are left; a line of kind gap " +
			"says where they are not. It fails while something that was revoked cannot be deleted.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "clock-is-right", Usage: "the clock was ahead for a while and is right now: windows that began later than now begin now, and gc deletes again"},
		},
	}, 0, 0, p.recover)
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
