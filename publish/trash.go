package publish

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"example.com/publish/stage/durable"
)

// trashTime is the name of a directory in trash: when what is in it came there,
// UTC.
const trashTime = "20060102T150405.000000000Z"

// trash is where what a reset drops from staging waits for one grace window.
func (r *Repo) trash() string {
	return r.path(".publish", "trash", r.now().UTC().Format(trashTime))
}

// emptyTrash deletes what has waited long enough.
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

// correctTrash gives what waits in trash since a time that has not come the
// time now.
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
		// A free name: others may be there since the same moment.
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
