package durable

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Each calls f for each name in the directory, from the first one on, in the
// order of the file system. A name that comes or goes meanwhile may be missed,
// and so may one that is removed by f: gather first, then remove.
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

// Exact reports whether the inode numbers that Each reports are those of stat.
// They were compared on these file systems. Overlays and network file systems
// report other ones, or make them up; an unknown file system may do so.
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

// Facts looks at the directory.
func (l *Listing) Facts() (Facts, error) {
	var st unix.Statx_t
	const want = unix.STATX_UID | unix.STATX_MODE
	if unix.Statx(l.fd(), "", unix.AT_EMPTY_PATH|unix.AT_STATX_SYNC_AS_STAT, want, &st) != nil ||
		st.Mask&want != want ||
		st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return l.facts()
	}
	return Facts{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), UID: st.Uid, Mode: permissions(uint32(st.Mode)),
		Mounted: st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
		Fixed:   st.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0}, nil
}

// MountedBelow returns a place below path, at which something is mounted that a
// process with this mount namespace sees; "" when there is none. A file on which
// another one is mounted shows in no listing.
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
