package main

import "github.com/urfave/cli/v2"

func (p *program) stageListCommand() *command {
	return verb(&cli.Command{
		Name: "list", Aliases: []string{"ls"},
		Usage: "list what is staged",
		Description: "Lists the images in staging; of a plain tree the files. A version that clients skip is listed " +
			"with the type - and the reason: stage remove, prune and revoke take it like any other.",
	}, 0, 0, p.stageList).
		example("print the names of what is staged, for a script",
			"publish stage list --json | grep -o '\"product\":\"[^\"]*\"'")
}

func (p *program) stageList(c *cli.Context) error {
	r, err := p.open()
	if err != nil {
		return err
	}
	images, err := r.Stage.List(c.Context)
	if err != nil {
		return err
	}
	return p.printImages(images, r.Stage.Dir+": nothing is staged")
}
