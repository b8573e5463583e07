package main

import "github.com/urfave/cli/v2"

func (p *program) unpinCommand() *command {
	return verb(&cli.Command{
		Name: "unpin", Category: "production", ArgsUsage: "GENERATION",
		Usage: "end a pin: gc deletes the generation when its window is over",
	}, 1, 1, p.unpin).
		example("let the window of generation 1 end it", "publish unpin 1").
		completes(upTo(1, p.generations))
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
