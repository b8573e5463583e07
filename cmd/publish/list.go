package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
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

// listed is a line of list and of stage list.
type listed struct {
	Product     string     `json:"product"`
	Version     string     `json:"version"`
	Type        string     `json:"type"`
	Fingerprint string     `json:"fingerprint"`
	Aliases     []string   `json:"aliases"`
	Bytes       int64      `json:"bytes"`
	Created     *time.Time `json:"created"`           // null where the version's name has no time
	Skipped     string     `json:"skipped,omitempty"` // why clients skip it
	Ref         string     `json:"ref,omitempty"`     // what people write; "" for product/version
}

// printImages prints a table of the images of a tree, or an object for each. none is
// the note for an empty list.
func (p *program) printImages(
	ctx context.Context, r *publish.Repo, tree string, images []catalog.Image, none string,
) error {
	if p.json {
		return r.Describe(ctx, tree, images, func(n int, more any) error {
			if d, ok := more.(*oci.Description); ok && len(r.Config.ServedAs) > 0 {
				d.ServedAs(r.Config.ServedAs[0])
			}
			return p.object(lineOf(images[n], more))
		})
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

// lineOf is what list prints as JSON of an image. more is what only its format knows.
func lineOf(i catalog.Image, more any) any {
	l := listed{i.Product, i.Version, i.Type, i.Fingerprint, append([]string{}, i.Aliases...), i.Bytes, nil, i.Skipped,
		i.Ref}
	if !i.Created.IsZero() {
		created := i.Created.UTC().Truncate(time.Second)
		l.Created = &created
	}
	d, ok := more.(*oci.Description)
	if !ok {
		return l
	}
	return struct {
		listed
		*oci.Description
	}{l, d}
}
