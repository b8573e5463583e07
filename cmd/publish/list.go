package main

import (
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

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
	return p.printImages(images, tree(name)+": nothing is listed there")
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

// printImages prints a table of images, or an object for each. none is the note
// for an empty list.
func (p *program) printImages(images []catalog.Image, none string) error {
	rows := [][]string{{"PRODUCT", "VERSION", "TYPE", "FINGERPRINT", "SIZE", "ALIASES"}}
	if slices.ContainsFunc(images, func(i catalog.Image) bool { return i.Skipped != "" }) {
		rows[0] = append(rows[0], "CLIENTS SKIP IT:")
	}
	for _, i := range images {
		l := listed{i.Product, i.Version, i.Type, i.Fingerprint, append([]string{}, i.Aliases...), i.Bytes, nil,
			i.Skipped, i.Ref}
		if !i.Created.IsZero() {
			created := i.Created.UTC().Truncate(time.Second)
			l.Created = &created
		}
		if p.json {
			if err := p.object(l); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{oneLine(i.Product), oneLine(i.Version), i.Type,
			short(i.Fingerprint),
			size(i.Bytes), oneLine(strings.Join(i.Aliases, ", ")), oneLine(i.Skipped)})
	}
	switch {
	case p.json:
	case len(images) == 0:
		p.note("%s", none)
	default:
		p.table(rows)
	}
	return nil
}
