package main

import "github.com/urfave/cli/v2"

func (p *program) unpinCommand() *cli.Command {
	return verb(&cli.Command{
		Name: "unpin", Category: "production", ArgsUsage: "GENERATION",
		Usage: "end a pin: gc deletes the generation when its window is over",
	}, 1, 1, p.unpin)
}

func (p *program) unpin(c *cli.Context) error {
	n, err := generation(c.Args().First())
	if err != nil {
		return err
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	if err := r.Unpin(c.Context, n); err != nil {
		return err
	}
	return p.answer(pinned{Generation: n}, func() { p.say("generation %d is not pinned", n) })
}
