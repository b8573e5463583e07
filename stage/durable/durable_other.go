//go:build !linux

package durable

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exchange is not supported here; configure switch: symlink.
func Exchange(a, b string) error { return ErrUnsupported }

// RenameNew renames a to b, and fails if b exists. It checks for b first, so callers
// must hold a lock.
func RenameNew(a, b string) error {
	if _, err := os.Lstat(b); err == nil {
		return &os.LinkError{Op: "rename", Old: a, New: b, Err: syscall.EEXIST}
	}
	return os.Rename(a, b)
}

func renameNewAt(int, string, int, string) error { return ErrUnsupported }

// Clone is not supported here.
func Clone(dst, src *os.File) error { return ErrUnsupported }

func syncfs(f *os.File) error { return ErrUnsupported }

func pending() (bytes int64, err error) { return 0, ErrUnsupported }

// Free is not supported here.
func Free(path string) (int64, error) { return 0, ErrUnsupported }

func startWriteback(f *os.File, off, n int64) {}

// Direct is not supported here.
type Direct struct{}

// NewDirect returns ErrUnsupported.
func NewDirect(f *os.File) (*Direct, error) { return nil, ErrUnsupported }

func (*Direct) Write(p []byte) (int, error) { return 0, ErrUnsupported }

// End does nothing.
func (*Direct) End() error { return nil }

func askHuge([]byte) {}

func mountRoot(dirFD int, name string) bool { return across(dirFD, name) }

// Immutable returns false, because it is unknown here.
func Immutable(path string) bool { return false }

func give(dirFD int, path string, uid, gid int) {
	var st unix.Stat_t
	if unix.Fstatat(dirFD, path, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && (st.Mode&unix.S_IFMT == unix.S_IFDIR ||
		st.Nlink == 1) {
		_ = unix.Fchownat(dirFD, path, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	}
}

// Unwritten returns false, because it is unknown here.
func Unwritten(*os.File) bool { return false }

// Names returns only the path, because other names are unknown here.
func Names(path string) []string { return []string{path} }
