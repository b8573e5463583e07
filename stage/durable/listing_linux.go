package durable

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Each calls f for each name in the directory, in the order of the file system. It
// may miss names that are added or removed meanwhile, even if f removes them. So
// collect the names first, and remove them later.
func (l *Listing) Each(f func(Name) error) error {
	fd := l.fd()
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return l.fail("seek", "", err)
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := ignoringEINTR(func() (int, error) { return unix.Getdents(fd, buf) })
		if err != nil {
			return l.fail("list", "", err)
		}
		if n <= 0 {
			return nil
		}
		// struct linux_dirent64 (Linux, include/linux/dirent.h): inode, offset,
		// length of the record, type, name and zeroes.
		for b := buf[:n]; len(b) > direntName; {
			size := int(binary.NativeEndian.Uint16(b[16:]))
			if size <= direntName || size > len(b) {
				break
			}
			name := Name{Text: b[direntName:size], Ino: binary.NativeEndian.Uint64(b), Kind: Leaf}
			if end := bytes.IndexByte(name.Text, 0); end >= 0 {
				name.Text = name.Text[:end]
			}
			switch b[18] {
			case unix.DT_DIR:
				name.Kind = Folder
			case unix.DT_REG:
				name.Regular = true
			case unix.DT_UNKNOWN:
				name.Kind = Unknown
			}
			b = b[size:]
			if string(name.Text) == "." || string(name.Text) == ".." {
				continue
			}
			if err := f(name); err != nil {
				return err
			}
		}
	}
}

const direntName = 19

// Exact reports whether Each returns the same inode numbers as stat. That was
// tested on the file systems below. Overlays and network file systems may return
// other numbers, and so may unknown file systems.
func (l *Listing) Exact() bool {
	var s unix.Statfs_t
	if unix.Fstatfs(l.fd(), &s) != nil {
		return false
	}
	switch uint32(s.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	}
	return false
}

// Facts returns properties of the directory.
func (l *Listing) Facts() (Facts, error) {
	var st unix.Statx_t
	const want = unix.STATX_UID | unix.STATX_MODE
	if unix.Statx(l.fd(), "", unix.AT_EMPTY_PATH|unix.AT_STATX_SYNC_AS_STAT, want, &st) != nil ||
		st.Mask&want != want ||
		st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return l.facts()
	}
	return Facts{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), UID: st.Uid, Mode: Permissions(uint32(st.Mode)),
		Mounted: st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
		Fixed:   st.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0}, nil
}

// MountedBelow returns a path below path on which something is mounted, in the
// mount namespace of this process; "" for none. It is needed because a listing does
// not show that something is mounted on a file.
func MountedBelow(path string) string {
	path, err := filepath.EvalSymlinks(path)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return ""
	}
	for _, m := range mounts() {
		if strings.HasPrefix(m.at, path+"/") {
			return m.at
		}
	}
	return ""
}
