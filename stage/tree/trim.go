package tree

import (
	"context"
	"errors"
	"hash/maphash"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// Common says what is to be kept of what two trees have in common.
type Common struct {
	// Keep is asked for files and links that both trees have as the same inode
	// under this path; nil: keep it. Several goroutines call it.
	Keep func(path string) bool
	// All reports whether Keep would keep all of the n files that both trees have in
	// a directory. Otherwise the directory is listed once more; nil: it always is.
	All func(dir string, n int) bool
	// KeepDir is asked for each directory of both trees in which nothing is
	// kept; nil: keep it.
	KeepDir func(path string) bool
	// Unflushed says that more has changed in the tree than Trim changes: every
	// directory is to be flushed.
	Unflushed bool
}

// Trimmed is what became of a tree.
type Trimmed struct {
	Kept    int      // files that stay
	Removed int      // names that went; a directory with all that was in it is one
	Changed []string // directories to flush, sorted
}

// Trim removes from the old tree, which is at dst by now, all that the live one did
// not have as the same inode under the same path, and what both have and is not to be
// kept. The directories that stay get the mode 0755.
//
// Nobody else may be at work in the tree since it was compared. A name that came
// since then may stay; one that went is no error.
//
// Nothing is durable before the changed directories are flushed. After an error,
// such as of a file that cannot be removed, the tree is of no use: delete it.
func (c *Comparison) Trim(ctx context.Context, dst string, of Common) (Trimmed, error) {
	root, err := durable.List(dst)
	if err != nil {
		return Trimmed{}, err
	}
	defer root.Close()
	if id, err := idOf(root); err != nil || id != c.id {
		return Trimmed{}, errors.Join(err, &fs.PathError{Op: "trim", Path: dst, Err: ErrForeign})
	}
	t := &trimmer{Common: of, Comparison: c, ctx: ctx, dst: filepath.Clean(dst), slots: newSlots(),
		touched: map[*folder]bool{}}
	t.plan(c.root)
	_, err = t.dir(root, c.root)
	slices.Sort(t.out.Changed)
	return t.out, err
}

// trimmer trims a tree that was compared.
type trimmer struct {
	Common
	*Comparison
	ctx     context.Context
	dst     string
	slots   slots
	touched map[*folder]bool // directories in which something changes, here or below

	mu  sync.Mutex
	out Trimmed
}

// plan finds the directories in which something changes, and returns how many names
// stay of one; where it must be listed again, all that may stay.
func (t *trimmer) plan(d *folder) (stay int) {
	touched := d.mode != 0o755 || len(d.gone) > 0 || d.many || !t.all(d)
	for _, b := range d.below {
		switch {
		case b.drop, t.plan(b) == 0:
			touched = true
		default:
			stay++
			touched = touched || t.touched[b]
		}
	}
	t.touched[d] = touched
	if stay += len(d.shared); stay == 0 && t.goes(d) {
		t.touched[d] = true
		return 0
	}
	return stay + 1
}

// goes reports whether a directory goes in which nothing is kept.
func (t *trimmer) goes(d *folder) bool { return d.rel != "" && t.KeepDir != nil && !t.KeepDir(d.rel) }

// all reports whether all that is shared in a directory stays.
func (t *trimmer) all(d *folder) bool {
	return t.Keep == nil || t.All != nil && t.All(d.rel, len(d.shared))
}

// keeps reports whether a file stays.
func (t *trimmer) keeps(d *folder, name []byte) bool {
	return (d.rel != "" || !catalog.Reserved(string(name))) && d.has(maphash.Bytes(t.seed, name)) &&
		(t.Keep == nil || t.Keep(join(d.rel, string(name))))
}

// note adds to what became of the tree.
func (t *trimmer) note(d *folder, changed bool, kept, removed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out.Kept, t.out.Removed = t.out.Kept+kept, t.out.Removed+removed
	if changed {
		t.out.Changed = append(t.out.Changed, filepath.Join(t.dst, d.rel))
	}
}

// leave notes a directory in which nothing changes, and all below it.
func (t *trimmer) leave(d *folder) {
	d.each(func(d *folder) { t.note(d, t.Unflushed, len(d.shared), 0) })
}

// dir trims one directory, and what is below it. It returns how many names stay, its
// own included; 0 where it is to go, which is the caller's to do.
func (t *trimmer) dir(l *durable.Listing, d *folder) (stay int, err error) {
	changed := d.mode != 0o755
	if changed {
		if err := l.Chmod(0o755); err != nil {
			return 0, err
		}
	}
	kept, removed := len(d.shared), len(d.gone)
	if d.many || !t.all(d) {
		kept, removed, err = t.sift(l, d)
	} else {
		err = remove(l, d.gone)
	}
	if err != nil {
		return 0, err
	}
	stay, dropped, err := t.below(l, d)
	removed += dropped
	if stay += kept; stay > 0 || !t.goes(d) {
		t.note(d, changed || removed > 0 || t.Unflushed, kept, removed)
		return stay + 1, err
	}
	t.note(d, false, kept, removed)
	return 0, err
}

func remove(l *durable.Listing, names []string) error {
	for _, name := range names {
		if err := l.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sift removes what does not stay, and asks for each file that both trees have. Who
// removes while listing may miss names: those that go are gathered first. If they are
// very many, the list begins anew after some of them.
func (t *trimmer) sift(l *durable.Listing, d *folder) (kept, removed int, err error) {
	for more := true; more; {
		if more, err = false, t.ctx.Err(); err != nil {
			return 0, 0, err
		}
		var gone []string
		kept = 0
		err = l.Each(func(n durable.Name) error {
			folder, err := isFolder(l, n)
			switch {
			case err != nil || folder:
				return err
			case t.keeps(d, n.Text):
				kept++
			case len(gone) < t.many:
				gone = append(gone, string(n.Text))
			default:
				more = true
			}
			return nil
		})
		if err = errors.Join(err, remove(l, gone)); err != nil {
			return 0, 0, err
		}
		removed += len(gone)
	}
	return kept, removed, nil
}

// below trims the directories in one.
func (t *trimmer) below(l *durable.Listing, d *folder) (stay, dropped int, err error) {
	if err := t.ctx.Err(); err != nil {
		return 0, 0, err
	}
	kept := make([]bool, len(d.below))
	var workers errgroup.Group
	for i, b := range d.below {
		if !b.drop && !t.touched[b] {
			kept[i] = true
			t.leave(b)
			continue
		}
		do := func() (err error) {
			kept[i], err = t.folder(l, b)
			return err
		}
		if !t.slots.use(workers.Go, do) {
			if err := do(); err != nil {
				return 0, 0, errors.Join(err, t.slots.wait(workers.Wait))
			}
		}
	}
	err = t.slots.wait(workers.Wait)
	for _, k := range kept {
		if k {
			stay++
		}
	}
	return stay, len(d.below) - stay, err
}

// folder trims a directory in one, and reports whether it stays.
func (t *trimmer) folder(l *durable.Listing, d *folder) (bool, error) {
	name := filepath.Base(d.rel)
	if d.drop {
		return false, l.RemoveAll(name)
	}
	in, err := l.Below(name)
	if err != nil {
		return true, err
	}
	defer in.Close()
	stay, err := t.dir(in, d)
	if err != nil || stay > 0 {
		return true, err
	}
	return false, l.RemoveDir(name)
}
