package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

func (p *program) stageImportCommand() *command {
	return verb(&cli.Command{
		Name: "import", ArgsUsage: "TREE|BUNDLE|-",
		Usage: "bring a tree that other tools made, or a bundle, into staging",
		Description: "Checks TREE, copies what staging lacks, and merges its indexes into staging's: for what both " +
			"have, TREE's entry counts; what only staging has stays. TREE is only read. Fields that publish does not " +
			"know survive.\n\n" +
			"BUNDLE is a file that export --generation wrote, - is one on standard input. It makes staging that " +
			"generation; what else was staged waits in trash for one grace window. Content that the bundle leaves out " +
			"is taken from here. Nothing changes unless all is there and right.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "merge", Usage: "merge a bundle into staging, as a tree is"},
			&cli.BoolFlag{Name: "force",
				Usage: "import it even if some of its content was revoked; promote also needs --force then"},
		},
	}, 1, 1, p.stageImport).
		example("merge a tree that another tool made", "publish stage import www").
		example("make staging the generation of a bundle from standard input",
			"publish export --generation 1 | publish stage import -").
		completes(every(these(":files")))
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
	Moved     []movedTag        `json:"moved,omitempty"`
}

// movedTag is a name that stands for another image.
type movedTag struct {
	Ref       string `json:"ref"`
	Digest    string `json:"digest"`
	MovedFrom string `json:"moved_from"` // the digest that it stood for
}

func (p *program) stageImport(c *cli.Context) error {
	tree := c.Args().First()
	r, err := p.open()
	if err != nil {
		return err
	}
	if fi, err := os.Stat(tree); tree == "-" || err == nil && fi.Mode().IsRegular() {
		return p.importBundle(c, r, tree)
	}
	if err := isTree(tree); err != nil {
		return err
	}
	defer overlap()()
	did, err := r.Import(c.Context, tree, c.Bool("force"))
	if err != nil {
		return &hinted{err, "nothing was imported"}
	}
	return p.answerImport(tree, importedOf(did))
}

func importedOf(did *stage.Imported) imported {
	a := imported{did.Images, did.Files, did.Bytes, append([]string{}, did.Replaced...), did.Unchanged,
		[]catalog.Finding{}, did.Skipped, stage.LeftOut{Examples: []string{}}, nil}
	for _, i := range did.Moved {
		a.Moved = append(a.Moved, movedTag{i.Called(), i.Fingerprint, i.Before})
	}
	if did.Report != nil {
		a.Findings = append(a.Findings, did.Report.Findings...)
		a.LeftOut = did.Report.LeftOut
	}
	return a
}

// answerImport prints what came.
func (p *program) answerImport(tree string, a imported) error {
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
		for _, m := range a.Moved {
			p.note("moved: %s stood for %s", m.Ref, m.MovedFrom)
		}
		for _, path := range a.Replaced {
			p.note("replaced: %s", path)
		}
	})
}

// bundleImported is the answer of stage import for a bundle.
type bundleImported struct {
	Generation int               `json:"generation"` // its number where it was exported
	TreeID     string            `json:"tree_id"`
	Files      int               `json:"files"`   // contents that the bundle had
	Bytes      int64             `json:"bytes"`   // of these
	Added      int               `json:"added"`   // files of staging
	Dropped    int               `json:"dropped"` // files of staging that wait in trash
	Unchanged  bool              `json:"unchanged"`
	Findings   []catalog.Finding `json:"findings"` // warnings
}

func (p *program) importBundle(c *cli.Context, r *publish.Repo, name string) error {
	in, what := io.NopCloser(standardInput(c.Context)), "standard input"
	if name != "-" {
		f, err := durable.OpenNamed(name)
		if err != nil {
			return err
		}
		in, what = f, name
	}
	defer in.Close()
	defer overlap()()
	did, err := r.ImportBundle(c.Context, in, c.Bool("merge"), c.Bool("force"))
	if err != nil {
		var e *publish.Error
		if errors.As(err, &e) && e.Kind == publish.Invalid {
			e.Path = strings.TrimSuffix(what+": "+e.Path, ": ")
		}
		return &hinted{err, "nothing was imported"}
	}
	if did.Merged != nil {
		return p.answerImport(what, importedOf(did.Merged))
	}
	a := bundleImported{did.Generation, did.TreeID, did.Received, did.Bytes, did.Added, did.Dropped,
		did.Added+did.Dropped == 0, append([]catalog.Finding{}, did.Report.Findings...)}
	p.printWarnings(a.Findings)
	return p.answer(a, func() {
		if a.Unchanged {
			p.idle("%s: nothing new, staging is generation %d of it already", what, a.Generation)
			return
		}
		p.say("%s: staging is generation %d of it now: %s came (%s), %s changed, %s moved to trash", what, a.Generation,
			count(a.Files, "file"), size(a.Bytes), count(a.Added, "file"), count(a.Dropped, "file"))
	})
}
