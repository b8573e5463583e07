package stage

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// discard moves files of staging to the directory trash, which is made when
// the first file comes. Their names there are durable before those in staging
// go for good. Where staging, or a part of it, is a mount of its own, they are
// copied, and removed when all copies are durable.
//
// What cannot be moved does not stop the others. It is an error if it would be
// published; for the rest Left is called.
func (s *Stage) discard(ctx context.Context, paths []string, trash string) error {
	var copied []string
	var first error
	for _, p := range paths {
		err := s.toTrash(os.Rename, p, trash)
		if errors.Is(err, syscall.EXDEV) {
			if err = s.toTrash(copying(ctx), p, trash); err == nil {
				copied = append(copied, p)
			}
		}
		if err = unlessMissing(err); err == nil {
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		if class := s.Format.Class(p); class == catalog.ItemLike || class == catalog.InProgress {
			s.leave(p, err)
		} else if first == nil {
			first = err
		}
	}
	return errors.Join(s.syncDiscarded(paths, copied, trash), first)
}

// leave calls Left for a path of staging that cannot be removed.
func (s *Stage) leave(p string, err error) {
	if s.Left == nil {
		return
	}
	s.Left(join(s.Dir, p), &fs.PathError{Op: "remove", Path: join(s.Dir, p), Err: errnoOf(err)})
}

// errnoOf is an error without the paths that it names.
func errnoOf(err error) error {
	if at := new(fs.PathError); errors.As(err, &at) {
		return at.Err
	}
	if at := new(os.LinkError); errors.As(err, &at) {
		return at.Err
	}
	return err
}

// keep puts what is about to be replaced into the directory trash, too.
func (s *Stage) keep(ctx context.Context, paths []string, trash string) error {
	for _, p := range paths {
		// Not every file system links, and none a file of another user that
		// this one may not write to.
		if s.toTrash(os.Link, p, trash) == nil {
			continue
		}
		err := s.toTrash(os.Rename, p, trash)
		if errors.Is(err, syscall.EXDEV) {
			err = s.toTrash(copying(ctx), p, trash)
		}
		if err != nil {
			return err
		}
	}
	return s.syncDiscarded(paths, nil, trash)
}

// toTrash renames, links or copies one path of staging to the directory trash.
func (s *Stage) toTrash(move func(from, to string) error, p, trash string) error {
	to := join(trash, p)
	if err := durable.MkdirAll(filepath.Dir(to), s.dirMode()); err != nil {
		return err
	}
	return move(join(s.Dir, p), to)
}

// syncDiscarded makes the names in trash durable, then removes what was copied
// there, and then makes durable that the names in staging are gone.
func (s *Stage) syncDiscarded(paths, copied []string, trash string) error {
	if len(paths) == 0 {
		return nil
	}
	dirs := map[string]bool{}
	for _, p := range paths {
		for d := path.Dir(p); ; d = path.Dir(d) {
			dirs[d] = true
			if d == "." {
				break
			}
		}
	}
	sorted := slices.Sorted(maps.Keys(dirs))
	for _, d := range sorted {
		if err := durable.SyncDir(join(trash, d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := durable.SyncDir(filepath.Dir(trash)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, p := range copied {
		if err := os.Remove(join(s.Dir, p)); unlessMissing(err) != nil {
			return err
		}
	}
	for _, d := range slices.Backward(sorted) { // what is below comes first
		if err := durable.SyncDir(join(s.Dir, d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.removeEmpty(d)
	}
	return nil
}

// replace moves a file over what stands there, be it an empty folder.
func replace(from, to string) error {
	err := move(from, to)
	if err != nil && realDir(to) == nil && os.Remove(to) == nil {
		err = move(from, to)
	}
	return err
}

// move renames a file. Where a folder of staging is a mount of its own it copies
// the file, so that it has its name there in one step, too.
func move(from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	// The name is one of an upload in progress: killed, this leaves nothing
	// that would be published.
	tmp := filepath.Join(filepath.Dir(to), ".publish-"+rand.Text()[:12]+".part")
	if err = copyTo(context.Background(), from, tmp); err == nil {
		err = os.Rename(tmp, to)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return os.Remove(from)
}

func copying(ctx context.Context) func(from, to string) error {
	return func(from, to string) error { return copyTo(ctx, from, to) }
}

// copyTo copies a file or a link, with its mode and time, and flushes it; the
// name is not durable yet. A device, a socket or a pipe has nothing to copy.
func copyTo(ctx context.Context, from, to string) error {
	fi, err := os.Lstat(from)
	if err != nil {
		return err
	}
	op := tree.Op{Path: filepath.Base(to), Name: filepath.Base(from), How: tree.Copy, Stat: tree.StatOf(fi), Mode: fi.Mode().Perm(), ModTime: fi.ModTime()}
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		op.How = tree.Relink
	case fi.IsDir():
		return &fs.PathError{Op: "copy", Path: from, Err: syscall.EISDIR}
	case !fi.Mode().IsRegular():
		return nil
	}
	if op.From, err = tree.OpenSource(filepath.Dir(from)); err != nil {
		return err
	}
	defer op.From.Close()
	batch, err := durable.NewBatch(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer batch.Close()
	cloner := tree.Cloner{Dst: filepath.Dir(to), Batch: batch}
	done, err := cloner.Run(ctx, []tree.Op{op})
	if err == nil {
		err = done[0].Err
	}
	if err != nil {
		return err
	}
	return batch.Flush()
}
