package main

import (
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"example.com/publish/stage/catalog"
)

func (p *program) stageListCommand() *cli.Command {
	return verb(&cli.Command{
		Name: "list", Aliases: []string{"ls"},
		Usage: "list what is staged",
		Description: "Lists the images in staging; of a plain tree the files. A version that clients skip is listed with the type - and " +
			"the reason: stage remove, prune and revoke take it like any other.",
	}, 0, 0, p.stageList)
}

// listed is a line of stage list.
type listed struct {
	Product     string     `json:"product"`
	Version     string     `json:"version"`
	Type        string     `json:"type"`
	Fingerprint string     `json:"fingerprint"`
	Aliases     []string   `json:"aliases"`
	Bytes       int64      `json:"bytes"`
	Created     *time.Time `json:"created"`           // null where the version's name does not tell
	Skipped     string     `json:"skipped,omitempty"` // why clients skip it
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
	rows := [][]string{{"PRODUCT", "VERSION", "TYPE", "FINGERPRINT", "SIZE", "ALIASES"}}
	if slices.ContainsFunc(images, func(i catalog.Image) bool { return i.Skipped != "" }) {
		rows[0] = append(rows[0], "CLIENTS SKIP IT:")
	}
	for _, i := range images {
		l := listed{i.Product, i.Version, i.Type, i.Fingerprint, append([]string{}, i.Aliases...), i.Bytes, nil, i.Skipped}
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
		rows = append(rows, []string{oneLine(i.Product), oneLine(i.Version), i.Type, i.Fingerprint[:min(12, len(i.Fingerprint))], size(i.Bytes), oneLine(strings.Join(i.Aliases, ", ")), oneLine(i.Skipped)})
	}
	switch {
	case p.json:
	case len(images) == 0:
		p.note("%s: nothing is staged", r.Stage.Dir)
	default:
		p.table(rows)
	}
	return nil
}
