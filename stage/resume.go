package stage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
	"example.com/publish/stage/tree"
)

// keptPrefix is the prefix of private directories that outlive their process. The
// sweep removes them only when they are abandoned.
const keptPrefix = "kept-"

// The names in such a directory: the lock, and content by its digest, complete or
// in part. Content without a digest has another name, and cannot be resumed.
const (
	keptLock   = "lock"
	keptWhole  = "whole-"
	keptPart   = "part-"
	maxKeptKey = 100 // bytes of the name of a delivery
)

// Resume is like Receive, for a delivery that has a name and outlives its process,
// such as a download of many hours. Content with a digest that was received before
// is still there, complete or in part, even after a kill or a power cut. Only one
// process at a time can open it; others get a *lock.HeldError. Close keeps the
// content, Commit and Discard remove it. It is also removed if nobody opens it for
// a week.
func (s *Stage) Resume(ctx context.Context, verb, name string) (*Delivery, error) {
	odd := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
	if name == "" || len(name) > maxKeptKey || strings.ContainsFunc(name, odd) {
		return nil, fmt.Errorf("%q cannot be the name of a delivery", name)
	}
	parent, err := s.incoming()
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(s.Dir, parent)
	if err != nil {
		return nil, err
	}
	up := &upload{name: keptPrefix + name}
	if up.parent, err = s.openDir(parent); err != nil {
		return nil, err
	}
	if up.dir, err = durable.MakeBelow(s.Dir, filepath.Join(rel, up.name), 0o700, true); err != nil {
		return nil, errors.Join(err, up.parent.Close())
	}
	d := s.delivery(verb, up)
	d.kept = true
	path := filepath.Join(up.path(), keptLock)
	err = lock.Create(path, lock.Private())
	if err == nil {
		d.unlock, err = lock.Acquire(ctx, path, lock.Options{Verb: verb, Now: s.Now()})
	}
	if err == nil {
		err = d.tidy()
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// tidy removes files that a killed process left and that cannot be resumed. It also
// updates the time of the directory, which the sweep uses to find abandoned ones.
func (d *Delivery) tidy() error {
	names, err := d.up.dir.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != keptLock && !strings.HasPrefix(name, keptWhole) && !strings.HasPrefix(name, keptPart) {
			if err := d.up.dir.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	now := d.s.Now()
	return d.up.dir.Root().Chtimes(".", time.Time{}, now)
}

// keep closes a delivery that may be resumed.
func (d *Delivery) keep() {
	if d.unlock != nil {
		d.unlock()
	}
	_ = d.up.dir.Close() // the files in it are synced
	_ = d.up.parent.Close()
	d.up.dir = nil
}

// Discard gives up a delivery that could be resumed.
func (d *Delivery) Discard() {
	d.kept = false
	d.Close()
}

func keptName(prefix string, want catalog.Digest) string {
	return prefix + want.Algorithm + "-" + want.Hex
}

// Received returns how many bytes of a content were received before, and whether
// that is all of it.
func (d *Delivery) Received(want catalog.Digest) (n int64, whole bool, err error) {
	if err := want.Check(); err != nil {
		return 0, false, err
	}
	for _, prefix := range []string{keptWhole, keptPart} {
		fi, err := d.up.dir.Lstat(keptName(prefix, want))
		if err == nil {
			return fi.Size(), prefix == keptWhole, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return 0, false, err
		}
	}
	return 0, false, nil
}

// Append is like Put, in a delivery of Resume, for content that was received in
// part. r has the bytes after those that Received counts. If the content is
// complete, r is not read. If r fails, the bytes before the error are kept for the
// next time. Content with a wrong digest is removed.
func (d *Delivery) Append(ctx context.Context, path string, r io.Reader, want catalog.Digest, also ...catalog.Digest) (
	catalog.Digest, int64, error) {
	return d.receive(path, path, append(also, want), func(in intake, _ string, beside []io.Writer) (*taken, error) {
		return in.resume(ctx, r, want, beside...)
	})
}

// resume continues with a part. It reads the existing bytes again, because the
// digest is over the whole content. At the end it seals and syncs the file; settle
// then renames it.
func (in intake) resume(ctx context.Context, r io.Reader, want catalog.Digest, beside ...io.Writer) (*taken, error) {
	part, whole := keptName(keptPart, want), keptName(keptWhole, want)
	own := tree.NewSHA256()
	to := append([]io.Writer{own}, beside...)
	t := &taken{name: whole, whole: whole}
	f, _, err := tree.Open(in.dir.Root(), whole)
	if err == nil {
		t.size, err = tree.Spread(ctx, f, to...)
		t.sha256 = hex.EncodeToString(own.Sum(nil))
		return t, errors.Join(err, f.Close())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	t.name = part
	f, err = in.dir.OpenAppend(part)
	if errors.Is(err, fs.ErrPermission) { // a process was killed after it sealed the file
		if err = in.dir.Root().Chmod(part, 0o600); err == nil {
			f, err = in.dir.OpenAppend(part)
		}
	}
	if err != nil {
		return nil, err
	}
	before, err := tree.Spread(ctx, f, to...)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	n, err := tree.Spread(ctx, progressReader{r, in.progress}, append(to, f)...)
	t.size, t.sha256 = before+n, hex.EncodeToString(own.Sum(nil))
	if err != nil {
		return nil, errors.Join(err, f.Sync(), f.Close())
	}
	if err = errors.Join(f.Chmod(0o444), f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	return t, nil
}

// settle renames a part with the right digest to the name of complete content.
func (d *Delivery) settle(t *taken) error {
	if t.whole == t.name || t.whole == "" {
		return nil
	}
	if err := d.up.dir.Rename(t.name, d.up.dir, t.whole); err != nil {
		return err
	}
	t.name = t.whole
	return d.up.dir.Sync()
}
