package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

func (p *program) initCommand() *command {
	return verb(&cli.Command{
		Name: "init", Category: "set up", ArgsUsage: "[DIR]",
		Usage: "make a repository",
		Description: "Makes the repository DIR (default: the working directory): staging, the store of generations, " +
			"and publish.yaml, in which every key is optional (publish help config).\n\n" +
			"--adopt takes over a tree that is served already: it becomes generation 1, and staging. Unless " +
			"--production says otherwise, the generation takes the tree's own place, in one atomic step, and the " +
			"former directory is kept beside it. If it failed, run it again: it continues.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "the tree is of `FORMAT` " + formatsText()},
			&cli.StringFlag{Name: "switch", Usage: "production is of `KIND` " + sitesText()},
			&cli.StringFlag{Name: "production", Usage: "the web server serves `PATH`; default: production, in DIR"},
			&cli.StringFlag{Name: "group", Usage: "let the members of `GROUP` write to staging"},
			&cli.StringFlag{Name: "adopt", Usage: "take over the live tree `TREE`"},
			messageFlag(),
		},
	}, 0, 1, p.init).
		note("`--adopt TREE` takes over a live directory").
		completesFlag("format", formatNames).
		completesFlag("switch", siteKinds().Names).
		completesFlag("production", these(":dirs")).
		completesFlag("adopt", these(":dirs")).
		example("make a repository in the folder images", "publish init images").
		example("take over a tree that a web server serves already", "publish init --adopt www images").
		completes(every(these(":dirs")))
}

func messageFlag() cli.Flag {
	return &cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "record `MESSAGE` in the history"}
}

// inited is the answer of init.
type inited struct {
	Repository string          `json:"repository"`
	Format     string          `json:"format"`
	Switch     string          `json:"switch"`
	Production string          `json:"production"`
	Adopted    *publish.Result `json:"adopted"` // null without --adopt
	Former     string          `json:"former"`  // where the adopted directory is now; "" where it was
	// Needed is what --adopt was found to copy, before it did; null without.
	Needed *publish.AdoptionNeed `json:"needed"`
	// Joined is the generation of a production in an object store that was there already;
	// absent if there was none.
	Joined int `json:"joined,omitempty"`
}

func (p *program) init(c *cli.Context) error {
	if c.NArg() > 0 && c.Args().First() == "" {
		return usage("leave it out for the working directory", "DIR is empty")
	}
	dir, err := p.newPlace(c.Args().First())
	if err != nil {
		return err
	}
	opt := publish.InitOptions{Format: c.String("format"), Switch: c.String("switch"),
		Production: c.String("production"), Group: c.String("group")}
	if opt.Format != "" {
		if _, err := format(opt.Format); err != nil {
			return err
		}
	}
	for _, name := range []string{"format", "switch", "production", "group", "adopt"} {
		if c.IsSet(name) && c.String(name) == "" {
			return usage("", "--%s: is empty", name)
		}
	}
	if !c.IsSet("adopt") {
		if c.IsSet("message") {
			return usage("", "-m: is for init --adopt")
		}
		if err := publish.Init(dir, choices(), opt); err != nil {
			return err
		}
		return p.initialized(c.Context, dir, nil, "", nil)
	}
	live, err := filepath.Abs(c.String("adopt"))
	if err != nil {
		return err
	}
	if err := isTree(live); err != nil {
		return err
	}
	if opt.Production == "" {
		opt.Production = inside(dir, live)
	}
	if err := publish.CheckAdopt(dir, live, opt.Production); err != nil {
		return err
	}
	opt.Adopt = live
	return p.adopt(c.Context, dir, live, opt, c.String("message"))
}

// newPlace is where the repository will be: DIR, else --repo, else here.
func (p *program) newPlace(arg string) (string, error) {
	switch {
	case arg != "" && p.repo != "":
		return "", usage("", "%s and --repo %s both say where the repository will be", arg, p.repo)
	case p.repo != "":
		arg = p.repo
	case arg == "":
		arg = "."
	}
	return filepath.Abs(arg)
}

// inside returns path as seen from dir if it lies there, so that the whole can
// be moved.
func inside(dir, path string) string {
	if rel, err := filepath.Rel(dir, path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return rel
	}
	return path
}

// isTree reports early that an argument names no directory.
func isTree(path string) error {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &publish.Error{Kind: publish.NotFound, Path: path, Fact: "no such directory",
			Hint: "give the top of a tree; nothing was changed"}
	case err != nil:
		return err
	case !fi.IsDir():
		return usage("", "%s: is not a directory", path)
	}
	return nil
}

func (p *program) adopt(ctx context.Context, dir, live string, opt publish.InitOptions, message string) error {
	if _, err := os.Lstat(filepath.Join(dir, ".publish", "layout")); err == nil {
		// An adoption that failed goes on; one that was done is refused below.
		if err := matches(dir, opt); err != nil {
			return err
		}
		return p.adoptInto(ctx, dir, live, message)
	}
	if err := publish.Init(dir, choices(), opt); err != nil {
		return err
	}
	err := p.adoptInto(ctx, dir, live, message)
	if err != nil && codeOf(err) != exitSwitched {
		return &staying{err, dir}
	}
	return err
}

// adoptInto takes over a tree for a repository that is made.
func (p *program) adoptInto(ctx context.Context, dir, live, message string) error {
	r, err := p.openAt(dir)
	if err != nil {
		return err
	}
	need, err := r.AdoptionNeed(ctx, live)
	if err != nil {
		return err
	}
	p.note("%s", needLine(need))
	res, former, err := r.Adopt(ctx, live, message)
	if res != nil && err == nil {
		p.printWarnings(res.Warnings)
	}
	switch codeOf(err) {
	case exitOK:
	case exitFindings, exitFailed, exitInterrupted, exitLocked:
		return &hinted{err, "nothing was taken over; correct that, then run publish init --adopt again"}
	default:
		return err
	}
	return p.initialized(ctx, dir, res, former, need)
}

// needLine says what an adoption will copy.
func needLine(n *publish.AdoptionNeed) string {
	if n.Shared {
		return fmt.Sprintf("adopting %s: the file system shares their data, nothing is copied", count(n.Files, "file"))
	}
	free := ""
	if n.Free >= 0 {
		free = "; " + size(n.Free) + " are free"
	}
	return fmt.Sprintf("adopting %s: %s are copied%s", count(n.Files, "file"), size(n.Bytes), free)
}

// matches refuses flags that an existing repository contradicts.
func matches(dir string, opt publish.InitOptions) error {
	if err := publish.CheckLayout(dir); err != nil {
		return err
	}
	c, err := publish.LoadConfig(dir, choices())
	if err != nil {
		return err
	}
	for _, kv := range [][3]string{{"format", c.Format, opt.Format}, {"switch", c.Switch, opt.Switch},
		{"production", c.Production, opt.Production}} {
		if kv[2] != "" && kv[1] != kv[2] {
			return usage("change the file, or leave the flag out", "%s: says %s: %s, but %s was requested",
				filepath.Join(dir, publish.ConfigName), kv[0], kv[1], kv[2])
		}
	}
	return nil
}

func (p *program) initialized(
	ctx context.Context, dir string, res *publish.Result, former string, need *publish.AdoptionNeed,
) error {
	r, err := p.openAt(dir)
	if err != nil {
		return err
	}
	p.warnConfig(r)
	joined, documents, err := r.Join(ctx)
	if err != nil {
		return err
	}
	a := inited{Repository: r.Dir, Format: r.Config.Format, Switch: r.Switch(), Production: r.Production(),
		Adopted: res, Former: former, Needed: need, Joined: joined}
	return p.answer(a, func() {
		p.say("%s: a repository, format %s, switch %s, production %s", a.Repository, a.Format, a.Switch, a.Production)
		if !r.Atomic() {
			p.note("%s", notAtomic(a.Format))
		}
		if joined != 0 {
			if documents == 0 { // a tree without indexes
				p.say("joined generation %d, which counts as staged", joined)
				return
			}
			p.say("joined generation %d; %s of it are in %s", joined, count(documents, "document"), r.Stage.Dir)
			return
		}
		if res == nil {
			how := "stage images with publish stage add or publish stage import"
			if is, _ := byHand(a.Format); is {
				how = "put files into " + r.Stage.Dir
			}
			p.note("%s, then run publish promote", how)
			return
		}
		p.say("generation %d: adopted, %s; %s carried", res.Generation, changes(len(res.Added), 0, 0),
			count(res.Carried, "file"))
		if former != "" {
			p.say("the former directory is kept as %s", former)
			p.note("delete it when no reader has it open")
		}
	})
}
