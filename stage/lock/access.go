package lock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Access says who may take a lock, besides root. A user who may open its file can
// keep everybody else waiting without a limit.
type Access struct {
	mode fs.FileMode
	gid  int // -1: as it is
}

// Private is the access of the owner alone: mode 0600.
func Private() Access { return Access{0o600, -1} }

// Shared is the access of the owner and of the group that may write to the
// directory dir: mode 0660. It is Private where dir's group may not write, or
// dir is not there.
func Shared(dir string) Access {
	fi, err := os.Stat(dir)
	if err != nil || fi.Mode().Perm()&0o020 == 0 {
		return Private()
	}
	_, gid, ok := ids(fi)
	if !ok {
		return Private()
	}
	return Access{0o660, gid}
}

// Group is the id of the group that may take the lock; ok is false where there
// is none.
func (a Access) Group() (gid int, ok bool) { return a.gid, a.mode&0o060 != 0 }

// Create makes the lock file at path if it is missing, and repairs its access: see Repair.
func Create(path string, a Access) error {
	f, err := open(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(a.repair(f, path), f.Close())
}

// Repair gives the lock file at path its access and, when run by root, the
// owner of its directory. It leaves a missing file alone, and a file of another
// user: neither is an error.
func Repair(path string, a Access) error {
	f, err := open(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(a.repair(f, path), f.Close())
}

// repair works on the descriptor: the name may belong to another file by now.
func (a Access) repair(f *os.File, path string) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	uid, gid, ok := ids(fi)
	owner, _, ok2 := ids(dir)
	if !ok || !ok2 {
		return nil
	}
	me := os.Geteuid()
	if me != 0 && me != uid {
		return nil
	}
	if me != 0 {
		owner = uid
	}
	group := gid
	if a.gid >= 0 {
		group = a.gid
	}
	if uid != owner && fi.Sys().(*syscall.Stat_t).Nlink > 1 {
		// The owner of the directory could have linked root's file there.
		return &fs.PathError{Op: "chown", Path: path, Err: errors.New("has another name besides this one")}
	}
	if uid != owner || gid != group {
		// Never both at once: a new owner of the file must not find the rights
		// of the old group.
		if err := f.Chmod(0o600); err != nil {
			return err
		}
		if err := f.Chown(owner, group); err != nil {
			return err
		}
		fi, err = f.Stat()
		if err != nil {
			return err
		}
	}
	if fi.Mode().Perm() == a.mode {
		return nil
	}
	return f.Chmod(a.mode)
}

func ids(fi fs.FileInfo) (uid, gid int, ok bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), int(st.Gid), true
}
