package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Remedy returns a hint for an error of the operating system that denies access to a
// path: it names the immutable file, or the owner of the file or directory. It also has
// one for a full disk or quota. It returns "" for every other error.
func Remedy(err error) string {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return "publish gc frees what is due; publish help trouble says more"
	}
	if !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	var paths []string
	if at := new(fs.PathError); errors.As(err, &at) {
		paths = []string{at.Path}
	}
	if at := new(os.LinkError); errors.As(err, &at) {
		paths = []string{at.Old, at.New}
	}
	for _, p := range paths {
		for _, at := range inTheWay(p) {
			if durable.Immutable(at) {
				return "chattr -i -a " + at + ", then try again"
			}
		}
	}
	for _, p := range paths {
		for _, at := range inTheWay(p) {
			if owner, ok := foreignOwner(at); ok {
				return fmt.Sprintf("%s belongs to %s: run the command as that user, or give it back with chown -R", at,
					owner)
			}
		}
	}
	for _, p := range paths {
		if at := closed(p); at != "" {
			return fmt.Sprintf("%s belongs to %s: run the command as that user", at, ownerOf(at))
		}
	}
	return ""
}

// closed returns the nearest directory above path that this user may not enter; "" if
// path itself is accessible.
func closed(path string) string {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	for d := filepath.Dir(path); d != filepath.Dir(d); d = filepath.Dir(d) {
		if _, err := os.Lstat(d); err == nil {
			return d
		}
	}
	return ""
}

// inTheWay returns the paths whose permissions can forbid a change of path: path
// itself, and its directory. If that does not exist, it is the nearest one above.
func inTheWay(path string) []string {
	dir := filepath.Dir(path)
	for gone(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	return []string{path, dir}
}

// foreignOwner returns the owner of path, if that is another user and this user may
// not write to it.
func foreignOwner(path string) (string, bool) {
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode()&fs.ModeSymlink != 0 || int(tree.StatOf(fi).UID) == os.Geteuid() ||
		durable.Writable(path) {
		return "", false
	}
	return ownerOf(path), true
}

// writable makes sure that this command can append to a record, before it changes
// anything that must be recorded. In older versions root left records that the owner
// of the repository may not write to. Such a record is replaced by a copy, which works
// because the owner may write to the directory. The caller holds the production lock.
func writable(path string) error {
	f, err := durable.OpenAppend(path)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrPermission) || durable.Immutable(path) {
		return err
	}
	data, readErr := durable.ReadFile(path, maxRecord)
	if readErr != nil || durable.WriteFile(path, data, 0o644) != nil {
		return err
	}
	return nil
}
