package main

import (
	"github.com/urfave/cli/v2"
)

func (p *program) stageTagCommand() *command {
	return verb(&cli.Command{
		Name: "tag", ArgsUsage: "REF NEWTAG...",
		Usage: "give a staged image further tags",
		Description: "REF is a name as Docker reads it, or repository@digest. Each NEWTAG of its repository stands for " +
			"that image then. One that stood for another image moves, and the output says so. Prints the new names.",
	}, 2, -1, p.stageTag).
		example("call a staged image stable also", "publish stage tag docker.io/acme/app:v1 stable").
		completes(upTo(1, p.staged))
}

func (p *program) stageTag(c *cli.Context) error {
	r, err := p.open()
	if err != nil {
		return err
	}
	did, err := r.Tag(c.Context, c.Args().First(), c.Args().Tail())
	if err != nil {
		return err
	}
	a := addedOf(did)
	return p.answer(a, func() {
		for _, i := range a.Images {
			if i.MovedFrom != "" {
				p.note("moved: %s stood for %s", i.called, i.MovedFrom)
			}
			p.say("%s", i.called)
		}
	})
}
