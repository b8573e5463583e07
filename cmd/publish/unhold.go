package main

import "github.com/urfave/cli/v2"

func (p *program) unholdCommand() *command {
	return verb(&cli.Command{Name: "unhold", Category: "production", Usage: "end a hold"}, 0, 0, p.unhold).
		example("allow promotes again", "publish unhold")
}

func (p *program) unhold(c *cli.Context) error {
	r, err := p.open()
	if err != nil {
		return err
	}
	if err := r.Unhold(c.Context); err != nil {
		return err
	}
	return p.answer(held{}, func() { p.say("promotes are not held") })
}
