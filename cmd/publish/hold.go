package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

func (p *program) holdCommand() *command {
	return verb(&cli.Command{
		Name: "hold", Category: "production",
		Usage:       "refuse promotes until unhold",
		Description: "A hold stops promotes, also one that is running. It does not stop revert, revoke or gc.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "record `WHY`; required"},
		},
	}, 0, 0, p.hold).
		note("`-m WHY` is required").
		example("let no timer promote until somebody has looked", "publish hold -m 'images of Tuesday do not boot'")
}

// held is the answer of hold and unhold.
type held struct {
	Held    bool   `json:"held"`
	Message string `json:"message"`
}

func (p *program) hold(c *cli.Context) error {
	why := strings.TrimSpace(c.String("message"))
	if why == "" {
		return usage("publish hold -m WHY", "publish hold: a reason is required")
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	if err := r.Hold(c.Context, why); err != nil {
		return err
	}
	return p.answer(held{true, why}, func() { p.say("promotes are held: %s", why) })
}
