package main

import (
	"context"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
)

func (p *program) listCommand() *command {
	return verb(&cli.Command{
		Name: "list", Aliases: []string{"ls"}, Category: "look", ArgsUsage: "[GENERATION|production|staging]",
		Usage: "list the images of production, of a generation or of staging",
		Description: "Lists the images of production (the default), of a kept generation, or of staging; of a plain " +
			"tree the files. A version that clients skip is listed with the type - and the reason. What was revoked " +
			"is not listed. Takes no lock and writes nothing.",
	}, 0, 1, p.list).
		note("takes no lock").
		example("print what production serves", "publish list").
		example("print what generation 1 holds, for a script", "publish list 1 --json").
		completes(upTo(1, p.trees("staging", "production")))
}

func (p *program) list(c *cli.Context) error {
	name := c.Args().First()
	if name == "" {
		name = "production"
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	images, err := r.List(c.Context, name)
	if err != nil {
		return err
	}
	return p.printImages(c.Context, r, name, images, tree(name)+": nothing is listed there")
}

// printImages prints a table of the images of a tree, or an object for each. none is
// the note for an empty list.
func (p *program) printImages(
	ctx context.Context, r *publish.Repo, tree string, images []catalog.Image, none string,
) error {
	if p.json {
		return r.EachListed(ctx, tree, images, func(l publish.Listed) error { return p.object(l) })
	}
	if len(images) == 0 {
		p.note("%s", none)
		return nil
	}
	rows := [][]string{{"PRODUCT", "VERSION", "TYPE", "FINGERPRINT", "SIZE", "ALIASES"}}
	if refs(r.Config.Format) {
		rows[0] = []string{"REPOSITORY", "TAG", "TYPE", "DIGEST", "SIZE", ""}
	}
	if slices.ContainsFunc(images, func(i catalog.Image) bool { return i.Skipped != "" }) {
		rows[0] = append(rows[0], "CLIENTS SKIP IT:")
	}
	for _, i := range images {
		version := oneLine(i.Version)
		if digest, ok := strings.CutPrefix(i.Version, "@"); ok && i.Ref != "" {
			version = "@" + short(digest)
		}
		rows = append(rows, []string{oneLine(i.Product), version, i.Type, short(i.Fingerprint), size(i.Bytes),
			oneLine(strings.Join(i.Aliases, ", ")), oneLine(i.Skipped)})
	}
	p.table(rows)
	return nil
}
