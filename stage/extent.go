package stage

import (
	"context"
	"io/fs"
	"path/filepath"
	"time"

	"example.com/publish/stage/tree"
)

// Extent adds up the sizes of the files of staging, each inode once, and returns when something there
// last changed. It ignores files that disappear meanwhile and files that may not be
// read.
//
// The time of a change is the ctime, because nobody can set it; a copy may preserve
// the mtime. But the ctime of a sealed file also changes with each hard link that a
// promote makes or removes. Its content no longer changes, so its mtime is used if
// that is older. The directory's ctime shows when the file was added.
func (s *Stage) Extent(ctx context.Context) (bytes int64, touched time.Time, err error) {
	counted := map[uint64]bool{} // inodes with several names
	err = filepath.WalkDir(s.Dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return ctx.Err()
		}
		fi, err := d.Info()
		if err != nil {
			return ctx.Err()
		}
		st := tree.StatOf(fi)
		at := st.Ctime
		if d.Type().IsRegular() {
			if !counted[st.Ino] {
				bytes += st.Size
			}
			if st.Links > 1 {
				counted[st.Ino] = true
			}
			if st.Mode.Perm()&0o222 == 0 {
				at = min(at, st.Mtime)
			}
		}
		if t := time.Unix(0, at).UTC(); t.After(touched) {
			touched = t
		}
		return ctx.Err()
	})
	return bytes, touched, err
}
