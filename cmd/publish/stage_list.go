package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"example.com/publish/retention"
	"example.com/publish/stage/catalog"
)

func (p *program) stageListCommand() *command {
	return verb(&cli.Command{
		Name: "list", Aliases: []string{"ls"}, ArgsUsage: "[PATTERN]",
		Usage: "list what is staged",
		Description: "Lists the images in staging; of a plain tree the files. A version that clients skip is listed " +
			"with the type - and the reason: stage remove, prune and revoke take it like any other. " +
			"PATTERN is one as in retention.match (* is any run of characters), for products or whole names.",
	}, 0, 1, p.stageList).
		example("print the names of what is staged, for a script",
			"publish stage list --json | grep -o '\"product\":\"[^\"]*\"'")
}

func (p *program) stageList(c *cli.Context) error {
	r, err := p.open()
	if err != nil {
		return err
	}
	pattern := c.Args().First()
	if c.NArg() == 0 {
		pattern = "*"
	}
	if _, err := retention.Matches(pattern, ""); err != nil {
		return usage("", "%s: %v", pattern, err)
	}
	images, err := r.Stage.List(c.Context)
	if err != nil {
		return err
	}
	none := r.Stage.Dir + ": nothing is staged"
	if c.NArg() > 0 {
		none = r.Stage.Dir + ": nothing matches " + pattern
		images = slices.DeleteFunc(images, func(i catalog.Image) bool {
			group, _ := retention.Matches(pattern, i.Product)
			whole, _ := retention.Matches(pattern, i.Called())
			return !group && !whole
		})
	}
	return p.printImages(c.Context, r, "staging", images, none)
}
