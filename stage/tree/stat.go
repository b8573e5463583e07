package tree

import (
	"io/fs"

	"golang.org/x/sys/unix"

	"example.com/publish/stage/durable"
)

// statOf converts the result of a system call. Walk asks the system directly, by
// names in open directories: resolving each path from the root takes much of the
// time for a large tree.
func statOf(st *unix.Stat_t) Stat {
	return Stat{Size: st.Size, Ino: st.Ino, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(), Mode: modeOf(uint32(st.Mode)),
		Links: uint32(st.Nlink),
		UID:   st.Uid, Sparse: sparse(int64(st.Blocks), st.Size)}
}

// modeOf converts a mode of the system, as package os does.
func modeOf(mode uint32) fs.FileMode {
	m := durable.Permissions(mode)
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		m |= fs.ModeDir
	case unix.S_IFLNK:
		m |= fs.ModeSymlink
	case unix.S_IFIFO:
		m |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		m |= fs.ModeSocket
	case unix.S_IFBLK:
		m |= fs.ModeDevice
	case unix.S_IFCHR:
		m |= fs.ModeDevice | fs.ModeCharDevice
	}
	return m
}
