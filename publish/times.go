package publish

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// A web server compares modification times in whole seconds, and answers 304
// for a file that is not newer than the one that the client has. So a switch
// keeps a rule for every path that production serves before and after it: with
// the same bytes it keeps its time, with other bytes its time rises by a second
// at least.
//
// What production serves is known only under the production lock: a revoke can
// switch while a promote copies and hashes. The times that a tree got while it
// was made are a good guess; timer makes them right.

// timer sets times in a tree before it becomes production.
type timer struct {
	ctx   context.Context
	live  *generation.View // what is served until then
	was   *generation.View // what the tree's times were measured against when it was made; nil: live
	dir   string           // the tree
	tmp   string           // a private directory on its file system; may be dir, if that is private
	now   time.Time
	lost  time.Time      // what counts as the live time of a file that is gone; zero: such a file is passed over
	batch *durable.Batch // is told what has to be flushed
}

// settle gives the files of the tree, which has these rows, the times that they
// need. Only files whose bytes differ from the live ones are looked at. A file
// that has more names than this one is replaced by a copy, since its time
// belongs to the other names, too.
func (t *timer) settle(rows []tree.Row) error {
	// Rows whose window has ended are served until a gc deletes them.
	served := t.live.Rows()
	links := map[string]bool{} // paths at which one of the trees has a link, and the other has not the same
	alone := func(row tree.Row) {
		if row.Role == catalog.Link {
			links[row.Path] = true
		}
	}
	left := served
	for _, row := range rows {
		for ; len(left) > 0 && left[0].Path < row.Path; left = left[1:] {
			alone(left[0])
		}
		if len(left) == 0 || left[0].Path != row.Path {
			alone(row)
			continue
		}
		var err error
		switch old := left[0]; {
		case old.SHA256 == row.SHA256 && old.Role == row.Role:
			err = t.keep(row)
		case old.Role == catalog.Link || row.Role == catalog.Link:
			links[row.Path] = true
		case old.SHA256 != row.SHA256:
			err = t.rise(row.Path, row.Path)
		}
		if err != nil {
			return err
		}
		left = left[1:]
	}
	for _, row := range left {
		alone(row)
	}
	return t.behindLinks(links, rows, served)
}

func byPath(r tree.Row, p string) int { return cmp.Compare(r.Path, p) }

// find returns the row of a path; rows are sorted.
func find(rows []tree.Row, path string) (tree.Row, bool) {
	i, ok := slices.BinarySearchFunc(rows, path, byPath)
	if !ok {
		return tree.Row{}, false
	}
	return rows[i], true
}

// keep gives a file whose bytes are the live ones the live time. It has that
// already, as a link to the live file or by the times it was given, unless the
// tree was made when something else was live, or live has the path only until
// the next gc: then it was staged anew.
func (t *timer) keep(row tree.Row) error {
	if row.Role == catalog.Link {
		return nil
	}
	_, carried := slices.BinarySearchFunc(t.live.Carried, row.Path, func(c Carried, p string) int { return cmp.Compare(c.Path, p) })
	if !carried {
		if t.was == nil {
			return nil
		}
		if old, ok := find(t.was.Own, row.Path); ok && old.SHA256 == row.SHA256 {
			return nil
		}
	}
	old, err := os.Stat(join(t.live.Dir, row.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	fi, err := os.Lstat(join(t.dir, row.Path))
	if err != nil || os.SameFile(fi, old) || fi.ModTime().Equal(old.ModTime()) {
		return err
	}
	return t.set(row.Path, fi, old.ModTime())
}

// rise makes the file at path newer than what the live tree has at the path
// was, if it is not.
func (t *timer) rise(path, was string) error {
	last := t.lost
	switch old, err := os.Stat(join(t.live.Dir, was)); {
	case err == nil:
		last = old.ModTime()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case last.IsZero():
		return nil
	}
	fi, err := os.Lstat(join(t.dir, path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // of a kept tree: it was revoked, or somebody removed it
	}
	if err != nil || fi.ModTime().Unix() > last.Unix() {
		return err
	}
	return t.set(path, fi, latest(t.now, last.Add(time.Second)))
}

// set gives a regular file of the new tree a time, and notes it to be flushed.
func (t *timer) set(path string, fi fs.FileInfo, at time.Time) error {
	full := join(t.dir, path)
	if !fi.Mode().IsRegular() {
		return nil
	}
	if tree.StatOf(fi).Links > 1 {
		if err := t.separate(path, fi); err != nil {
			return err
		}
		t.batch.Add(filepath.Dir(full))
	}
	if err := os.Chtimes(full, time.Time{}, at); err != nil {
		return err
	}
	t.batch.Add(full)
	return nil
}

// separate replaces one name of a file by a copy of its own.
func (t *timer) separate(path string, fi fs.FileInfo) error {
	src, err := tree.OpenSource(t.dir)
	if err != nil {
		return err
	}
	defer src.Close()
	own, err := durable.NewBatch(t.tmp) // of a name that goes
	if err != nil {
		return err
	}
	defer own.Close()
	tmp := join(t.tmp, copyName)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cloner := tree.Cloner{Dst: t.tmp, Batch: own}
	done, err := cloner.Run(t.ctx, []tree.Op{{Path: copyName, From: src, Name: path, How: tree.Copy, Mode: fi.Mode().Perm()}})
	if err == nil {
		err = done[0].Err
	}
	if err == nil {
		err = own.Flush()
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, join(t.dir, path))
}

// copyName is the name of a copy while it is made.
const copyName = ".publish-copy"

// behindLinks makes what is served behind links newer where a link leads to
// something else than before: the path that a client asks for is the link's.
func (t *timer) behindLinks(links map[string]bool, rows, served []tree.Row) error {
	for link := range links {
		is, ok := follow(t.dir, link)
		if !ok {
			continue
		}
		was, ok := follow(t.live.Dir, link)
		if !ok {
			continue
		}
		if err := t.behind(is, was, rows, served); err != nil {
			return err
		}
	}
	return nil
}

// behind compares what a link leads to, a file or a directory, with what was
// served under the same path.
func (t *timer) behind(is, was string, rows, served []tree.Row) error {
	differ := func(path, old string) error {
		row, ok := find(rows, path)
		before, had := find(served, old)
		if !ok || !had || row.SHA256 == before.SHA256 || row.Role == catalog.Link {
			return nil
		}
		return t.rise(path, old)
	}
	if err := differ(is, was); err != nil {
		return err
	}
	i, _ := slices.BinarySearchFunc(rows, is+"/", byPath)
	for ; i < len(rows); i++ {
		rest, ok := strings.CutPrefix(rows[i].Path, is+"/")
		if !ok {
			break
		}
		if err := differ(rows[i].Path, was+"/"+rest); err != nil {
			return err
		}
	}
	return nil
}

// follow follows the links of a path in the tree at dir. It answers false
// where there is nothing, or where it leads out of the tree.
func follow(dir, path string) (string, bool) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", false
	}
	full, err := filepath.EvalSymlinks(join(dir, path))
	if err != nil {
		return "", false
	}
	rel, err := filepath.Rel(root, full)
	if err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// latest returns the latest of some times.
func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

func join(dir, path string) string { return filepath.Join(dir, filepath.FromSlash(path)) }

// freshen is settle for a tree that was production before and becomes it again
// as it stands: generation n, whose tree is at dir, after the newest switch of
// the history, whose tree may be gone.
func (r *Repo) freshen(ctx context.Context, h *journal.History, n int, dir string) error {
	last, _ := h.Last()
	if last.Generation == n {
		return nil
	}
	was, err := r.manifest(last.Generation)
	if err != nil {
		return nil // what was served last, nothing tells: times stay
	}
	m, err := r.manifest(n)
	if err != nil {
		return nil
	}
	tmp, err := r.store.Scratch(revertPrefix)
	if err != nil {
		return err
	}
	defer durable.RemoveAll(tmp)
	batch, err := durable.NewBatch(dir)
	if err != nil {
		return err
	}
	defer batch.Close()
	t := &timer{ctx: ctx, live: &generation.View{Manifest: was, Dir: r.path("generations", number(last.Generation))}, dir: dir, tmp: tmp,
		now: latest(r.now(), h.Newest()), lost: h.Newest(), batch: batch}
	if err := t.settle(m.Rows()); err != nil {
		return err
	}
	return batch.Flush()
}
