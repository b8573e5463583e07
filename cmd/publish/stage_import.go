package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
)

func (p *program) stageImportCommand() *command {
	return verb(&cli.Command{
		Name: "import", ArgsUsage: "TREE",
		Usage: "merge a tree that other tools made into staging",
		Description: "Checks TREE, copies what staging lacks, and merges its indexes into staging's: for what both " +
			"have, TREE's entry counts; what only staging has stays. TREE is only read. Fields that publish does not " +
			"know survive.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force",
				Usage: "import it even if some of its content was revoked; promote also needs --force then"},
		},
	}, 1, 1, p.stageImport).
		example("merge a tree that another tool made", "publish stage import www").
		completes(every(these(":dirs")))
}

// imported is the answer of stage import.
type imported struct {
	Images    int               `json:"images"` // that the tree names
	Files     int               `json:"files"`  // that came, indexes apart
	Bytes     int64             `json:"bytes"`  // of these
	Replaced  []string          `json:"replaced"`
	Unchanged bool              `json:"unchanged"`
	Findings  []catalog.Finding `json:"findings"`          // warnings
	Skipped   int               `json:"skipped,omitempty"` // of what the tree names, what clients skip
	LeftOut   stage.LeftOut     `json:"left_out"`
}

func (p *program) stageImport(c *cli.Context) error {
	tree := c.Args().First()
	r, err := p.open()
	if err != nil {
		return err
	}
	if err := isTree(tree); err != nil {
		return err
	}
	did, err := r.Import(c.Context, tree, c.Bool("force"))
	if err != nil {
		return &hinted{err, "nothing was imported"}
	}
	a := imported{did.Images, did.Files, did.Bytes, append([]string{}, did.Replaced...), did.Unchanged,
		[]catalog.Finding{}, did.Skipped, stage.LeftOut{Examples: []string{}}}
	if did.Report != nil {
		a.Findings = append(a.Findings, did.Report.Findings...)
		a.LeftOut = did.Report.LeftOut
	}
	p.printWarnings(a.Findings)
	names := count(a.Images, "image")
	if a.Skipped > 0 {
		names += fmt.Sprintf(" and %d that clients skip", a.Skipped)
	}
	named, all := "imported "+names+"; ", " ("+names+")"
	if a.Images+a.Skipped == 0 { // as of a tree without indexes
		named, all = "", ""
	}
	return p.answer(a, func() {
		if a.Unchanged {
			p.idle("%s: nothing new, staging has it all%s", tree, all)
			return
		}
		p.say("%s: %s%s came (%s)", tree, named, count(a.Files, "file"), size(a.Bytes))
		for _, path := range a.Replaced {
			p.note("replaced: %s", path)
		}
	})
}
