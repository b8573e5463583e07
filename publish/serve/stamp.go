package serve

import (
	"fmt"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// stamp tells one generation in production's place from any other: it is the identity of
// the file that holds the number. The inode of the directory does not, because a later
// generation may reuse it; that file is then made anew.
type stamp struct {
	dev, ino uint64
	mtime    int64 // ns
	// seal is that of the manifest of a production in an object store, of which ino is the
	// number.
	seal string
}

// stampAt reads the stamp from that file, with one system call.
func stampAt(mark string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Lstat(mark, &st); err != nil {
		return stamp{}, err
	}
	return stamp{dev: uint64(st.Dev), ino: st.Ino, mtime: st.Mtim.Nano()}, nil
}

// stampOf is the stamp in what was read of the file.
func stampOf(fi fs.FileInfo) (stamp, error) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}, fmt.Errorf("%s: the system does not give its inode", fi.Name())
	}
	return stamp{dev: uint64(st.Dev), ino: uint64(st.Ino), mtime: fi.ModTime().UnixNano()}, nil
}
