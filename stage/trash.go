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
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// discard moves files of staging to the directory trash, which is made for the
// first file. The new names are durable before the removal of the old names is. If
// a part of staging is a separate mount, the files are copied, and removed when
// all copies are durable.
//
// A file that cannot be moved does not stop the others. It is an error if the file
// would be published; otherwise Left is called.
func (s *Stage) discard(ctx context.Context, paths []string, trash string) error {
	var copied []string
	var first error
	b := s.bin(trash)
	defer b.close()
	for _, p := range paths {
		err := s.toTrash(b, (*durable.Dir).Rename, p, trash)
		if errors.Is(err, syscall.EXDEV) {
			if err = s.toTrash(b, copying(ctx), p, trash); err == nil {
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

// errnoOf returns an error without the paths in it.
func errnoOf(err error) error {
	if at := new(fs.PathError); errors.As(err, &at) {
		return at.Err
	}
	if at := new(os.LinkError); errors.As(err, &at) {
		return at.Err
	}
	return err
}

// keep puts files that are about to be replaced also into the directory trash. If
// possible they stay in staging until they are replaced.
func (s *Stage) keep(ctx context.Context, paths []string, trash string) error {
	b := s.bin(trash)
	defer b.close()
	for _, p := range paths {
		// A link can fail: not every file system has them, and the kernel refuses a
		// link to a file of another user that this one cannot write to.
		if s.toTrash(b, (*durable.Dir).Link, p, trash) == nil {
			continue
		}
		err := s.toTrash(b, (*durable.Dir).Rename, p, trash)
		if errors.Is(err, syscall.EXDEV) {
			err = s.toTrash(b, copying(ctx), p, trash)
		}
		if err != nil {
			return err
		}
	}
	return s.syncDiscarded(paths, nil, trash)
}

// mover renames, links or copies a name in one directory to another directory.
type mover func(from *durable.Dir, name string, to *durable.Dir, as string) error

// bin has the open directories for moves from staging to the directory trash.
type bin struct{ from, to folder }

func (s *Stage) bin(trash string) *bin {
	base := filepath.Dir(trash)
	return &bin{folder{open: s.openDir}, folder{open: func(dir string) (*durable.Dir, error) {
		if err := durable.MkdirAll(base, s.dirMode()); err != nil {
			return nil, err
		}
		rel, err := filepath.Rel(base, dir)
		if err != nil {
			return nil, err
		}
		return durable.MakeBelow(base, rel, s.dirMode(), false)
	}}}
}

func (b *bin) close() {
	b.from.close()
	b.to.close()
}

// toTrash renames, links or copies one path of staging to the directory trash.
func (s *Stage) toTrash(b *bin, move mover, p, trash string) error {
	from, err := b.from.at(filepath.Dir(join(s.Dir, p)))
	if err != nil {
		return err
	}
	to, err := b.to.at(filepath.Dir(join(trash, p)))
	if err != nil {
		return err
	}
	return move(from, path.Base(p), to, path.Base(p))
}

// syncDiscarded makes the names in trash durable, then removes the originals of
// copied files, and then makes the removals in staging durable.
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
		if err := unlessMissing(s.remove(p)); err != nil {
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

// remove removes one name below staging.
func (s *Stage) remove(p string) error {
	dir, err := s.openDir(filepath.Dir(join(s.Dir, p)))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Remove(path.Base(p))
}

// replace moves a file to a name where a file or an empty folder may exist.
func replace(from *durable.Dir, name string, to *durable.Dir, as string) error {
	err := move(from, name, to, as)
	if err == nil {
		return nil
	}
	if fi, lerr := to.Lstat(as); lerr == nil && fi.IsDir() && to.Remove(as) == nil {
		err = move(from, name, to, as)
	}
	return err
}

// move renames a file. If the target folder is a separate mount, it makes a copy
// there under a temporary name and renames that, so that the step is still atomic.
func move(from *durable.Dir, name string, to *durable.Dir, as string) error {
	err := from.Rename(name, to, as)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	// The name looks like an upload in progress, so that it is not published if
	// this process is killed.
	tmp := ".publish-" + rand.Text()[:12] + ".part"
	if err = copyTo(context.Background(), from, name, to, tmp); err == nil {
		err = to.Rename(tmp, to, as)
	}
	if err != nil {
		_ = to.Remove(tmp)
		return err
	}
	return from.Remove(name)
}

func copying(ctx context.Context) mover {
	return func(from *durable.Dir, name string, to *durable.Dir, as string) error {
		return copyTo(ctx, from, name, to, as)
	}
}

// copyTo copies a file or a link, with its mode and time, and syncs it; the name
// is not durable yet. It ignores devices, sockets and pipes.
func copyTo(ctx context.Context, from *durable.Dir, name string, to *durable.Dir, as string) error {
	fi, err := from.Lstat(name)
	if err != nil {
		return err
	}
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		text, err := from.Root().Readlink(name)
		if err != nil {
			return err
		}
		return to.Symlink(text, as)
	case fi.IsDir():
		return &fs.PathError{Op: "copy", Path: filepath.Join(from.Path(), name), Err: syscall.EISDIR}
	case !fi.Mode().IsRegular():
		return nil
	}
	src, before, err := tree.Open(from.Root(), name)
	if err != nil {
		return err
	}
	defer src.Close()
	f, err := to.Create(as)
	if err != nil {
		return err
	}
	if err = tree.Duplicate(ctx, f, src, before); err == nil {
		err = f.Chmod(fi.Mode().Perm())
	}
	if err == nil {
		err = to.Root().Chtimes(as, time.Time{}, fi.ModTime())
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = to.Remove(as)
	}
	return err
}
