package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

func (p *program) pinCommand() *command {
	return verb(&cli.Command{
		Name: "pin", Category: "production", ArgsUsage: "GENERATION",
		Usage:       "keep a generation beyond its window",
		Description: "Until unpin, gc does not delete it, and revert can go back to it.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "record `WHY`; required"},
		},
	}, 1, 1, p.pin).
		note("`-m WHY` is required").
		example("keep generation 1 until unpin", "publish pin 1 -m 'last one with the old kernel'").
		completes(upTo(1, p.generations))
}

// pinned is the answer of pin and unpin.
type pinned struct {
	Generation int    `json:"generation"`
	Pinned     bool   `json:"pinned"`
	Message    string `json:"message"`
}

func (p *program) pin(c *cli.Context) error {
	why := strings.TrimSpace(c.String("message"))
	if why == "" {
		return usage("publish pin GENERATION -m WHY", "publish pin: a reason is required")
	}
	n, err := generation(c.Args().First())
	if err != nil {
		return err
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	if err := r.Pin(c.Context, n, why); err != nil {
		return err
	}
	return p.answer(pinned{n, true, why}, func() { p.say("generation %d is pinned: %s", n, why) })
}
