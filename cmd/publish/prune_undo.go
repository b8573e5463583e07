package main

import (
	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

// undo is publish prune --undo.
func (p *program) undo(c *cli.Context, r *publish.Repo) error {
	res, err := r.Undo(c.Context, c.String("undo"), c.Bool("dry-run"))
	if res == nil {
		return err
	}
	werr := p.answer(res, func() {
		for _, t := range res.Restored {
			p.say("%s", oneLine(t.Called()))
		}
		switch n := count(len(res.Restored), "tag"); {
		case len(res.Restored) == 0:
			p.idle("nothing to undo; %s there", count(len(res.There), "tag"))
		case res.DryRun:
			p.say("dry run: would bring %s back into staging", n)
		default:
			p.say("brought %s back into staging; production gets them with the next promote, unless that prunes them again",
				n)
		}
	})
	if err == nil {
		err = werr
	}
	return err
}

// prunes are the prunes that can be undone; none where there is no repository.
func (p *program) prunes() []string {
	r, err := p.open()
	if err != nil {
		return nil
	}
	var out []string
	for _, u := range r.Undos() {
		out = append(out, u.ID+"\t"+moment(u.Time)+", "+count(u.Tags, "tag"))
	}
	return out
}
