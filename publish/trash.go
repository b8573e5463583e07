package publish

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"example.com/publish/stage/durable"
)

// trashTime is the format of a directory's name in trash: the time when its files came
// there, in UTC.
const trashTime = "20060102T150405.000000000Z"

// trash returns a directory where files that a command removes from staging wait for
// one grace window.
func (r *Repo) trash() string {
	return r.path(".publish", "trash", r.now().UTC().Format(trashTime))
}

// emptyTrash deletes the directories that have waited for one grace window.
func (r *Repo) emptyTrash(now time.Time) error {
	list, err := os.ReadDir(r.path(".publish", "trash"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range list {
		at, err := time.Parse(trashTime, d.Name())
		if err != nil || now.Before(at.Add(r.grace())) {
			continue
		}
		r.drop(leftByGC, r.path(".publish", "trash", d.Name()))
	}
	return nil
}

// correctTrash renames directories whose time is in the future, so that they begin to
// wait now.
func (r *Repo) correctTrash(now time.Time) (n int, err error) {
	dir := r.path(".publish", "trash")
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	for _, d := range list {
		at, err := time.Parse(trashTime, d.Name())
		if err != nil || !at.After(now) {
			continue
		}
		// Take a free name: another directory may already have this time.
		to := now.Add(-time.Duration(n))
		for ; !gone(filepath.Join(dir, to.Format(trashTime))); to = to.Add(-1) {
		}
		if err := os.Rename(filepath.Join(dir, d.Name()), filepath.Join(dir, to.Format(trashTime))); err != nil {
			r.leave(leftByGC, filepath.Join(dir, d.Name()), err)
			continue
		}
		n++
	}
	if n > 0 {
		err = durable.SyncDir(dir)
	}
	return n, err
}
