package stage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Scratch copies staging below dir, for a dry run of what would rewrite it. dir is an empty
// private directory on the file system of staging, which has to be removed after use, also
// what is below the name of dir: nothing of it is synced. The copy has its own lock, and
// begins from what elsewhere says.
//
// Files that this program sealed are linked, as a snapshot links them. Links of others would
// change their ctime, by which the cache of hashes knows them, so they are copied.
func (s *Stage) Scratch(ctx context.Context, dir string, elsewhere func() (*Elsewhere, error)) (*Stage, error) {
	unlock, err := s.Exclusive(ctx, "promote")
	if err != nil {
		return nil, err
	}
	defer unlock()
	out := *s
	out.Dir, out.Lock, out.Hashes = join(dir, "staging"), join(dir, "lock"), join(dir, "hashes")
	out.Elsewhere, out.BeforeLock, out.Left, out.step = elsewhere, nil, nil, nil
	if err := os.Mkdir(out.Dir, s.dirMode()); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(out.Lock, nil, 0o600); err != nil {
		return nil, err
	}
	removed, err := s.removedList()
	if err == nil {
		err = out.writeRemoved(removed)
	}
	if err == nil {
		err = s.copyTo(ctx, &out)
	}
	return &out, err
}

// copyTo copies all files of staging, and what is known of their hashes.
func (s *Stage) copyTo(ctx context.Context, to *Stage) error {
	src, err := tree.OpenSource(s.Dir)
	if err != nil {
		return err
	}
	defer src.Close()
	entries, err := src.Walk(ctx)
	if err != nil {
		return err
	}
	cache := tree.OpenCache(s.Hashes)
	ops := make([]tree.Op, len(entries))
	var bytes int64
	for i, e := range entries {
		ops[i] = tree.Op{Path: e.Path, From: src, Name: e.Path, How: tree.Copy, Mode: e.Stat.Mode.Perm()}
		switch sum, sealed, ok := cache.Lookup(e.Path, e.Stat); {
		case e.Kind == tree.Symlink:
			ops[i].How = tree.Relink
		case e.Kind != tree.File:
			err := e.Err()
			if err == nil {
				err = durable.ErrNotRegular
			}
			return &fs.PathError{Op: "copy", Path: join(s.Dir, e.Path), Err: err}
		case ok && sealed:
			ops[i].How, ops[i].SHA256, ops[i].Stat = tree.Share, sum, e.Stat
		default:
			bytes += e.Stat.Size
		}
	}
	batch, err := durable.NewBatch(to.Dir)
	if err != nil {
		return err
	}
	defer batch.Close()
	cloner := tree.Cloner{Dst: to.Dir, DirMode: s.dirMode(), Batch: batch, Progress: s.progress("copy", bytes)}
	done, err := cloner.Run(ctx, ops)
	if err != nil {
		return err
	}
	known := tree.OpenCache(to.Hashes)
	for i, d := range done {
		path := join(to.Dir, ops[i].Path)
		switch {
		case errors.Is(d.Err, fs.ErrNotExist):
			continue // it was removed meanwhile
		case d.Err != nil:
			return d.Err
		case ops[i].How == tree.Copy: // of a document and its copies, which is newer counts
			if err := os.Chtimes(path, time.Time{}, time.Unix(0, entries[i].Stat.Mtime)); err != nil {
				return err
			}
		}
		if fi, err := os.Lstat(path); err == nil && d.Shared && d.SHA256 != "" {
			known.PutSealed(ops[i].Path, tree.StatOf(fi), d.SHA256)
		}
	}
	return known.Save()
}
