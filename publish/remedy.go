package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Remedy says what to do about an error of the operating system that denies
// access to a path: it names what is immutable, or who owns what stands in the
// way. It returns "" for every other error.
func Remedy(err error) string {
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

// closed returns the nearest directory above path that this user may not enter;
// "" when path itself can be looked at.
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

// inTheWay is what can forbid a change of path: itself, and the directory that
// it is in or, while that is missing, is to be made in.
func inTheWay(path string) []string {
	dir := filepath.Dir(path)
	for gone(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	return []string{path, dir}
}

// foreignOwner returns who owns what is at path, if that is another user and
// this one may not write to it.
func foreignOwner(path string) (string, bool) {
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode()&fs.ModeSymlink != 0 || int(tree.StatOf(fi).UID) == os.Geteuid() ||
		durable.Writable(path) {
		return "", false
	}
	return ownerOf(path), true
}

// writable makes sure that this command can append to a record, before it
// changes anything that the record has to name. A record of another user, as
// root left it behind in older versions, is replaced by a copy: the directory is
// its owner's. The caller holds the production lock.
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
