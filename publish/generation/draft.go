package generation

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Draft is the next tree while it is made: a private directory of the store, on
// its file system. What a killed command leaves of it is found by its prefix.
type Draft struct {
	Dir string
	// Since is what the times of its files were measured against when it was
	// made, if production is another generation by now; nil: what is live.
	Since *Manifest
	// Look says that it is for a dry run, which leaves the spare as it is.
	Look bool
	// Whole is called by Seal when the tree has all its files, and what is left to do
	// mostly waits for the disk; nil for nothing.
	Whole func()

	store *Store
}

// Draft begins a tree; prefix says who may sweep it: SnapshotPrefix or
// RevertPrefix. The directory is the caller's alone until the draft is sealed or
// discarded. It is empty: the spare takes its place when it is known what the
// tree is to have.
func (s *Store) Draft(prefix string) (*Draft, error) {
	dir, err := s.Scratch(prefix)
	if err != nil {
		return nil, err
	}
	return &Draft{Dir: dir, store: s}, nil
}

// Discard gives up a draft that was not sealed; after a switch there is nothing
// left at its name. It may be called again.
func (d *Draft) Discard() {
	for _, dir := range []string{d.Dir, d.spare()} {
		_ = durable.RemoveAll(dir) // else it is swept
	}
}

// Return makes a draft that was given up the spare, unless there is one: see
// KeepSpare, also for what the caller has to hold. Discard it in any case.
func (d *Draft) Return(ctx context.Context, live *tree.Source) error {
	if d.Look || gone(d.Dir) || d.store.HasSpare() {
		return nil
	}
	if !gone(d.spare()) { // it is as it was
		return d.store.KeepSpare(ctx, d.spare(), live, tree.Common{}, nil)
	}
	return d.store.KeepSpare(ctx, d.Dir, live, tree.Common{Unflushed: true}, nil)
}

// Scratch makes an empty private directory among the trees, on their file
// system.
func (s *Store) Scratch(prefix string) (string, error) {
	dir, err := durable.MkdirTemp(s.Trees, prefix)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755) // what a web server reads, whatever the umask
}

// Former takes the spare, and begins to compare it with production, live; nil if there
// is none. See stage.Base. Wait for it before live is closed.
func (d *Draft) Former(ctx context.Context, live *tree.Source) (*tree.Former, error) {
	if d.Look || live == nil {
		return nil, nil
	}
	former := d.store.takeSpare(ctx, d.spare(), live)
	if former == nil {
		return nil, nil
	}
	return former, d.store.at("spare-taken")
}

// spare is where the spare waits until the draft begins with it. A sweep of drafts
// finds it by the beginning of its name.
func (d *Draft) spare() string { return d.Dir + ".spare" }

// Files are the files of the draft. Close them after use.
func (d *Draft) Files() (Inside, error) { return OpenInside(d.Dir) }

// Rebuild makes the target's own tree in the draft: see Compose. What production does not
// have is linked from the target.
func (d *Draft) Rebuild(ctx context.Context, target *Tree, base *stage.Base, f catalog.Format, now time.Time) error {
	if target.Sparse {
		return d.copySparse(target)
	}
	src, err := tree.OpenSource(target.Dir)
	if err != nil {
		return err
	}
	defer src.Close()
	format, err := stage.Within(target.Dir, f)
	if err != nil {
		return err
	}
	place := func(row tree.Row) (Place, error) { return Place{src, row.Path}, nil }
	err = d.Compose(ctx, target.Own, base, format, now, place)
	if wrong := new(WrongContentError); errors.As(err, &wrong) {
		return &fault.Error{Path: wrong.Path, Err: wrong.Err,
			Fact: "the kept generation is damaged; production is unchanged", Hint: "run publish verify"}
	}
	return err
}

// Place is a file that has the content of a row. Nobody writes to it.
type Place struct {
	From *tree.Source
	Name string // its path there
}

// WrongContentError is returned for a place that has not the content of its row, or
// cannot be read.
type WrongContentError struct {
	Path string
	Err  error
}

func (e *WrongContentError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *WrongContentError) Unwrap() error { return e.Err }

// Compose makes the tree with these own rows in the draft, from the spare where there is
// one, and flushes it. A path that production, the base, has with the same bytes
// is linked from there, if it is not there already; one that it has with other
// bytes becomes a file of its own, with a later time, so that no client is told
// that nothing changed; the rest is linked from where place says that it is. A document
// there may have what its generation held.
func (d *Draft) Compose(ctx context.Context, own []tree.Row, base *stage.Base, f catalog.Format, now time.Time,
	place func(tree.Row) (Place, error)) error {
	batch, err := durable.NewBatch(d.store.Trees)
	if err != nil {
		return err
	}
	defer batch.Close()
	former, err := d.Former(ctx, base.Source)
	defer former.Wait()
	if err != nil {
		return err
	}
	ops := make([]tree.Op, len(own))
	var copied []tree.Row
	for i, row := range own {
		op := tree.Op{Path: row.Path, How: tree.Share, SHA256: row.SHA256, Stat: tree.Stat{Size: row.Size}}
		there := base.Rows.Find(row.Path) >= 0
		same := there && base.Has(row.Path, row.SHA256)
		if same && row.Role != catalog.Link && f.Class(row.Path) != catalog.Index {
			op.From = base.Source
		} else {
			at, err := place(row)
			if err != nil {
				return err
			}
			op.From, op.Name = at.From, at.Name
		}
		switch {
		case row.Role == catalog.Link:
			op.How = tree.Relink
		case f.Class(row.Path) == catalog.Index, there && !same:
			op.How, op.SHA256 = tree.Copy, ""
			copied = append(copied, row)
		}
		ops[i] = op
	}
	cloner := tree.Cloner{Dst: d.Dir, Batch: batch}
	if err := cloner.Begin(ctx, former, ops); err != nil {
		return err
	}
	if err := d.store.at("begun"); err != nil {
		return err
	}
	done, err := cloner.Run(ctx, ops)
	if err != nil {
		return err
	}
	for i, c := range done {
		err, row := c.Err, own[i]
		if server := catalog.ServingAt(f, row.Path); err == nil && server != nil && row.Role != catalog.Link {
			c.SHA256, c.Size, err = d.list(server, row.Path, batch)
		}
		if err == nil && (c.SHA256 != row.SHA256 || c.Size != row.Size) {
			err = fmt.Errorf("has sha256 %s, its manifest says %s", c.SHA256, row.SHA256)
		}
		if err != nil {
			return &WrongContentError{ops[i].From.Dir + "/" + cmp.Or(ops[i].Name, ops[i].Path), err}
		}
	}
	if err := base.Settle(d.Dir, copied, now); err != nil {
		return err
	}
	return batch.Flush()
}

// list takes out of a document what its generation held. It returns the hash and the
// size of its own form.
func (d *Draft) list(server catalog.Server, path string, batch *durable.Batch) (sha256 string, size int64, err error) {
	data, err := durable.ReadFile(join(d.Dir, path), catalog.MaxDocument)
	if err != nil {
		return "", 0, err
	}
	if listed := server.Hold(data, nil); !bytes.Equal(listed, data) {
		err = stage.Rewrite(d.Dir, path, listed, batch)
	}
	row := stage.OwnRow(server, path, data)
	return row.SHA256, row.Size, err
}
