package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// CheckAdopt returns an error if a repository at dir cannot adopt the tree. The tree
// exists; dir need not exist. The tree has a file; it must not contain the repository, nor be one. If production
// (an absolute path, or one relative to dir) is the tree itself, it must be
// replaceable in one step.
func CheckAdopt(dir, tree, production string) error {
	if isStored(production) {
		return notAdopted(production)
	}
	if err := apart(dir, tree); err != nil {
		return err
	}
	if err := errors.Join(notRepository(tree), notEmpty(tree)); err != nil {
		return err
	}
	if !filepath.IsAbs(production) {
		production = filepath.Join(dir, production)
	}
	return site.CheckReplace(tree, production)
}

// apart refuses a tree that is, or holds, the repository at dir.
func apart(dir, tree string) error {
	own, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	top, err := os.Stat(tree)
	if err != nil {
		return &Error{Kind: Usage, Err: err}
	}
	for d := own; ; d = filepath.Dir(d) {
		real, err := filepath.EvalSymlinks(d)
		if err == nil {
			// Compare by identity, not by name: a bind mount gives a directory two names.
			for ; ; real = filepath.Dir(real) {
				if fi, err := os.Stat(real); err == nil && os.SameFile(fi, top) {
					return &Error{Kind: Usage, Path: tree, Fact: "is, or holds, the repository itself",
						Hint: "make the repository beside it: publish init --adopt " + tree + " DIR"}
				}
				if real == filepath.Dir(real) {
					return nil
				}
			}
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

// foreign returns an error if the tree at path, which a person called dir, says that it is
// a generation. The caller knows that it is none of this repository.
func foreign(dir, path string) error {
	id, _ := generation.Identity(path)
	if id == 0 {
		return nil
	}
	return &Error{Kind: Usage, Path: dir, Fact: fmt.Sprintf("is production of another repository, generation %d", id),
		Hint: "adopt a copy of it; or, if that repository is gone, remove " + generation.IdentityName + " and " +
			generation.MarkName + " there first"}
}

// notEmpty refuses a tree without a file, before anything is made for it.
func notEmpty(tree string) error {
	real, err := filepath.EvalSymlinks(tree)
	if err != nil {
		return &Error{Kind: Usage, Err: err}
	}
	empty := true
	_ = filepath.WalkDir(real, func(_ string, d fs.DirEntry, err error) error {
		if empty = err == nil && d.IsDir(); empty {
			return nil
		}
		return fs.SkipAll // what cannot be read is reported later
	})
	if !empty {
		return nil
	}
	return &Error{Kind: Invalid, Path: tree, Fact: "there is nothing to publish",
		Hint: "adopt a directory that has files; or make an empty repository, without --adopt"}
}

// Adopt makes the live tree at dir generation 1 and fills staging with it. If dir is
// where production will be, the generation takes its place in one atomic step, so that
// readers never miss it. The former directory is kept beside it, under the name that
// Adopt returns. Files that no index names are carried for one grace window, because a
// client may still know them.
func (r *Repo) Adopt(ctx context.Context, dir, message string) (*Result, string, error) {
	if r.shared != nil {
		return nil, "", notAdopted(r.Production())
	}
	start := r.now()
	from, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, "", &Error{Kind: Usage, Err: err}
	}
	if err := CheckAdopt(r.Dir, dir, r.Production()); err != nil {
		return nil, "", err
	}
	if same, err := durable.SameFile(dir, r.Production()); err == nil && same {
		// dir may be production of another repository, which would lose it.
		if id, _ := generation.Identity(from); id != 0 {
			if n, err := r.store.Whose(from); err != nil || n == 0 {
				return nil, "", foreign(dir, from)
			}
		}
	}
	links, err := stage.SymbolicLinks(ctx, from)
	if err != nil {
		return nil, "", err
	}
	res, aside, err := r.adopt(ctx, from, dir, message)
	if err != nil {
		return res, aside, err
	}
	if _, _, err := r.reset(ctx, links); err != nil {
		return res, aside, afterSwitch(res.Generation, "run publish stage reset to fill staging", err)
	}
	res.DurationMS = r.now().Sub(start).Milliseconds()
	return res, aside, nil
}

func (r *Repo) adopt(ctx context.Context, from, dir, message string) (*Result, string, error) {
	unlockPrepare, err := r.lock(ctx, prepareLock, "init")
	if err != nil {
		return nil, "", err
	}
	defer unlockPrepare()
	if _, err := r.unused(ctx, dir); err != nil {
		return nil, "", err
	}
	if _, err := r.AdoptionNeed(ctx, dir); err != nil {
		return nil, "", err
	}
	draft, err := r.store.Draft(generation.SnapshotPrefix)
	if err != nil {
		return nil, "", err
	}
	defer draft.Discard()
	c, carried, before, err := r.adoptTree(ctx, from, draft)
	if err != nil {
		return nil, "", interrupted(err)
	}
	c.message = message

	unlock, err := r.lock(ctx, productionLock, "init")
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	s, err := r.unused(ctx, dir)
	if err != nil {
		return nil, "", err
	}
	if _, err := r.sweep(s, actor{preparing: true, draft: draft.Dir}); err != nil {
		return nil, "", err
	}
	n, err := r.next(s.history)
	if err != nil {
		return nil, "", err
	}
	m, res, err := r.plan(ctx, s, c, n, &generation.Carrier{})
	if err != nil {
		return nil, "", err
	}
	for i := range carried {
		carried[i].Dropped = n
	}
	m.Carried, res.Carried, res.Warnings, res.LeftOut = carried, len(carried), noNil(c.warnings), c.left
	if err := adoptTimes(ctx, from, draft.Dir, m.Rows(), before, r.now(), r.format); err != nil {
		return nil, "", err
	}
	if err := r.seal(ctx, s, c, m, nil); err != nil {
		return nil, "", interrupted(err)
	}
	begin := r.now()
	aside, err := r.site.Replace(ctx, n, dir)
	if err != nil {
		_ = r.site.Tidy(context.WithoutCancel(ctx))
		return nil, "", err
	}
	err = r.settle(context.WithoutCancel(ctx), s, m)
	res.SwitchUS = r.now().Sub(begin).Microseconds()
	if err != nil {
		return res, aside, err
	}
	return res, aside, r.follow(context.WithoutCancel(ctx), s, m)
}

// unused returns the state of a repository that has no generation and nothing staged.
// It refuses any other repository, because adopting dir would replace what it has.
func (r *Repo) unused(ctx context.Context, dir string) (*state, error) {
	h, err := r.readHistory()
	if err != nil {
		return nil, err
	}
	_, switched := h.Last()
	if n, err := r.site.Live(ctx); switched || err == nil && n != 0 {
		return nil, &Error{Kind: Usage, Path: r.Dir, Fact: "has generations already",
			Hint: "publish stage reset fills staging with production; publish stage import " + dir +
				" merges the tree into staging"}
	}
	staged, err := tree.Walk(ctx, r.Stage.Dir)
	if err != nil {
		return nil, err
	}
	if len(staged) > 0 {
		return nil, &Error{Kind: Usage, Path: r.Stage.Dir, Fact: fmt.Sprintf("holds %d files already", len(staged)),
			Hint: "adopt into a repository in which nothing is staged"}
	}
	return &state{history: h, windows: r.window(h), now: r.now()}, nil
}

// adoptTree clones the tree at from into the draft, validates the clone, and flushes
// it. The clone has everything that can be published, and the files that no index
// names. before has the state of each file when the tree was listed.
func (r *Repo) adoptTree(ctx context.Context, from string, draft *generation.Draft) (
	_ *candidate, _ []generation.Carried, before map[string]tree.Stat, err error) {
	dir := draft.Dir
	batch, err := durable.NewBatch(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	defer batch.Close()
	entries, err := tree.Walk(ctx, from)
	if err != nil {
		return nil, nil, nil, err
	}
	before = make(map[string]tree.Stat, len(entries))
	for _, e := range entries {
		before[e.Path] = e.Stat
	}
	src := &stage.Stage{Dir: from, Lock: r.path(".publish", stagingLock), Format: r.format, Links: r.Stage.Links,
		Now: r.now, Wait: r.Stage.Wait, Progress: r.opt.Progress}
	snap, err := src.Snapshot(ctx, dir, &stage.Base{}, batch)
	if err != nil {
		return nil, nil, nil, err
	}
	defer snap.Close()
	valid, report, err := snap.Validate(ctx, stage.Checks{Now: r.now()})
	if err != nil {
		return nil, nil, nil, err
	}
	if valid == nil {
		return nil, nil, nil, &FindingsError{Report: report}
	}
	rows, err := src.Unnamed(ctx, dir, snap, batch)
	if err != nil {
		return nil, nil, nil, err
	}
	c := candidateOf(draft, valid, "")
	c.kind, c.warnings, c.left = generation.KindAdopt, report.Findings, report.LeftOut
	carried := make([]generation.Carried, len(rows))
	for i, row := range rows {
		row.Role = catalog.Content
		carried[i] = generation.Carried{Row: row}
	}
	return c, carried, before, batch.Flush()
}

// adoptTimes gives the files of a clone the modification times that they have in the
// tree at from, because production may be served from there until the switch. A file
// that changed after the tree was listed gets a newer time, and so does a document that
// is served in another form.
func adoptTimes(
	ctx context.Context, from, dir string, rows []tree.Row, before map[string]tree.Stat, now time.Time,
	f catalog.Format,
) error {
	batch, err := durable.NewBatch(dir)
	if err != nil {
		return err
	}
	defer batch.Close()
	t := &generation.Times{Live: anywhere(from), Dir: dir, Tmp: dir, Now: now, Batch: batch}
	for _, row := range rows {
		old, err := os.Lstat(join(from, row.Path))
		switch {
		case errors.Is(err, fs.ErrNotExist), row.Role == catalog.Link:
			continue
		case err != nil:
			return err
		case !tree.StatOf(old).Same(before[row.Path], true), !alike(f, from, dir, row.Path):
			err = t.Rise(ctx, row.Path, row.Path)
		default:
			err = t.Set(ctx, row.Path, old.ModTime())
		}
		if err != nil {
			return err
		}
	}
	return batch.Flush()
}

// alike reports whether two trees have the same bytes of a document that has two forms;
// true for other files.
func alike(f catalog.Format, a, b, path string) bool {
	if catalog.ServingAt(f, path) == nil {
		return true
	}
	x, err := durable.ReadFile(join(a, path), catalog.MaxDocument)
	y, err2 := durable.ReadFile(join(b, path), catalog.MaxDocument)
	return errors.Join(err, err2) == nil && bytes.Equal(x, y)
}

// anywhere reads a tree that publish did not make. It follows links wherever they
// lead.
type anywhere string

func (dir anywhere) Stat(p string) (fs.FileInfo, error)  { return os.Stat(join(string(dir), p)) }
func (dir anywhere) Lstat(p string) (fs.FileInfo, error) { return os.Lstat(join(string(dir), p)) }
func (dir anywhere) Readlink(p string) (string, error)   { return os.Readlink(join(string(dir), p)) }
