package main

import (
	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

func (p *program) diffCommand() *command {
	return verb(&cli.Command{
		Name: "diff", Category: "staging", ArgsUsage: "[FROM] [TO]",
		Usage: "compare two trees",
		Description: "Compares staging, production, or generations by number; default: production with staging. " +
			"Lists what was added (+), removed (-) and changed (~): versions and, where no index names them, files.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "exit-code", Usage: "exit with status 3 when they differ"},
		},
	}, 0, 2, p.diff).
		note("the default is production to staging").
		example("see what a promote would change", "publish diff").
		example("compare generation 1 with production", "publish diff 1 production").
		completes(upTo(2, p.trees("staging", "production")))
}

func (p *program) diff(c *cli.Context) error {
	from, to := "production", "staging"
	if c.NArg() > 0 {
		from = c.Args().Get(0)
	}
	if c.NArg() > 1 {
		to = c.Args().Get(1)
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	d, err := r.Diff(c.Context, from, to)
	if err != nil {
		return err
	}
	err = p.answer(d, func() { p.showDiff(d) })
	if err == nil && c.Bool("exit-code") && !d.Equal() {
		err = exitFindings
	}
	return err
}

func (p *program) showDiff(d *publish.Diff) {
	if d.Equal() {
		p.note("%s and %s are equal", tree(d.From), tree(d.To))
		return
	}
	for _, side := range []struct {
		sign  string
		names []string
	}{{"+", d.Added}, {"-", d.Removed}, {"~", d.Changed}} {
		for _, name := range side.names {
			p.say("%s %s", side.sign, oneLine(name))
		}
	}
	var came, went int64
	units := len(d.Added)+len(d.Removed)+len(d.Changed) > 0
	for _, f := range d.Files {
		sign, ok := map[string]string{"added": "+", "removed": "-", "changed": "~"}[f.Change]
		if f.Change == "removed" {
			went += f.Bytes
		} else {
			came += f.Bytes
		}
		// What belongs to versions is printed with them.
		if ok && (!units || !f.Told) {
			p.say("%s %s", sign, oneLine(f.Path))
		}
	}
	differ := "differ"
	if len(d.Files) == 1 {
		differ = "differs"
	}
	p.note("%s to %s: %s; %s %s, %s come, %s go", tree(d.From), tree(d.To),
		changes(len(d.Added), len(d.Removed), len(d.Changed)), count(len(d.Files), "file"), differ, size(came), size(went))
	if d.Base != 0 {
		p.note("staging is made from generation %d; %s", d.Base, rebases)
	}
}
