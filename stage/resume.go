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

// keptPrefix begins the name of a private directory that outlives its process.
// Nobody sweeps it before it is abandoned.
const keptPrefix = "kept-"

// The names in it: the lock, and content by its digest, whole or in part. Content
// that came without a digest has another name, and cannot be resumed.
const (
	keptLock   = "lock"
	keptWhole  = "whole-"
	keptPart   = "part-"
	maxKeptKey = 100 // bytes of the name of a delivery
)

// Resume is Receive for a delivery that has a name and outlives its process, such
// as a download of many hours. What was received under a digest is there again,
// whole or in part, even after a kill or a power cut. Only one process at a time
// has it: for another the error is a *lock.HeldError. Close keeps what is there,
// Commit and Discard remove it. One that nobody opens for a week is removed.
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

// tidy removes what a killed process left and nobody can resume. It also sets the
// directory's time, by which the sweep knows that somebody was here.
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
	_ = d.up.dir.Close() // what was kept of it is synced
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

// Received returns how many bytes of some content are here from before, and
// whether that is all of it.
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

// Append is Put in a delivery of Resume, for content of which the first bytes are
// here: r has what follows those that Received counts. If the content is whole,
// r is not read. What r had before it failed stays for the next time. Bytes that
// do not have the digests are removed.
func (d *Delivery) Append(ctx context.Context, path string, r io.Reader, want catalog.Digest, also ...catalog.Digest) (
	catalog.Digest, int64, error) {
	return d.receive(path, path, append(also, want), func(in intake, _ string, beside []io.Writer) (*taken, error) {
		return in.resume(ctx, r, want, beside...)
	})
}

// resume goes on with a part: what is there is read again, since only the whole
// has a digest. At its end it is sealed, flushed, and gets the name of the whole.
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
	if f, err = in.dir.OpenAppend(part); errors.Is(err, fs.ErrPermission) { // killed when it was sealed already
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

// settle gives a part that has its digest the name of the whole.
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
