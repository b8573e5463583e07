package durable

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Exchange swaps two paths in one atomic step. Both must exist; each may be a link,
// a file or a directory. It is not durable before both parents are synced.
func Exchange(a, b string) error { return rename2(a, b, unix.RENAME_EXCHANGE) }

// RenameNew renames a to b, and fails with fs.ErrExist if b exists. It is not
// durable before both parents are synced. If the file system (NFS) or a sandbox
// does not support that in one step, it checks for b first. So callers must hold a
// lock.
func RenameNew(a, b string) error {
	err := rename2(a, b, unix.RENAME_NOREPLACE)
	if !noSuchRename(err) {
		return err
	}
	if _, err := os.Lstat(b); err == nil {
		return &os.LinkError{Op: "rename", Old: a, New: b, Err: unix.EEXIST}
	}
	return os.Rename(a, b)
}

// noSuchRename reports whether a rename failed because RENAME_NOREPLACE is not
// supported here.
func noSuchRename(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) ||
		errors.Is(err, unix.EPERM)
}

func renameNewAt(from int, name string, to int, as string) error {
	err := unix.Renameat2(from, name, to, as, unix.RENAME_NOREPLACE)
	if noSuchRename(err) {
		return ErrUnsupported
	}
	return err
}

func rename2(a, b string, flags uint) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, flags)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EXDEV),
		errors.Is(err, unix.EBUSY), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: %w", ErrUnsupported, &os.LinkError{Op: "renameat2", Old: a, New: b, Err: err})
	}
	return &os.LinkError{Op: "renameat2", Old: a, New: b, Err: err}
}

// Clone makes dst a reflink of src: both share their data on disk. It returns
// ErrUnsupported if the file system does not support that.
func Clone(dst, src *os.File) error {
	err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL),
		errors.Is(err, unix.ENOTTY), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM),
		errors.Is(err, unix.ETXTBSY):
		return fmt.Errorf("%w: clone: %w", ErrUnsupported, err)
	}
	return &os.LinkError{Op: "clone", Old: src.Name(), New: dst.Name(), Err: err}
}

func syncfs(f *os.File) error {
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: f.Name(), Err: err}
	}
	return nil
}

// pending returns how many bytes the machine has yet to write to its file systems.
func pending() (bytes int64, err error) {
	data, err := ReadFile("/proc/meminfo", 64<<10)
	if err != nil {
		return 0, err
	}
	found := 0
	for line := range strings.Lines(string(data)) {
		var kib int64
		for _, form := range []string{"Dirty: %d kB", "Writeback: %d kB"} {
			if n, _ := fmt.Sscanf(line, form, &kib); n == 1 {
				bytes += kib << 10
				found++
			}
		}
	}
	if found != 2 {
		return 0, ErrUnsupported
	}
	return bytes, nil
}

// Free returns how many bytes an ordinary user can still write to the file system
// of path.
func Free(path string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// startWriteback is only a hint. If it fails, fsync does all of the work.
func startWriteback(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

// mountRoot reports whether something is mounted on a directory. Kernels before
// Linux 5.8 do not report that; then it checks whether the directory is on another
// file system than its parent.
func mountRoot(dirFD int, name string) bool {
	var st unix.Statx_t
	err := unix.Statx(dirFD, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	if err != nil || st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return across(dirFD, name)
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// Unwritten reports whether no process has f open for writing. f is open for
// reading. The kernel grants a read lease only if there is no writer, and only to
// the owner of the file. On a file system without leases, such as a network file
// system, the result is false. A process may open the file for writing later, so
// remove the write permission first.
func Unwritten(f *os.File) bool {
	raw, err := f.SyscallConn() // Fd would change the mode of the descriptor
	if err != nil {
		return false
	}
	unwritten := false
	err = raw.Control(func(fd uintptr) {
		if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK); err == nil {
			_, err = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
			unwritten = err == nil
		}
	})
	return err == nil && unwritten
}

// Immutable reports whether path has the attribute immutable or append-only. Then
// not even root can remove it, or anything in it.
func Immutable(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0
}

// give makes uid and gid the owners of path, which is relative to an open
// directory: see Give.
func give(dirFD int, path string, uid, gid int) {
	fd, err := unix.Openat(dirFD, path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Uid != 0 || st.Nlink != 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return
	}
	_ = unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
}
