//go:build linux && (amd64 || arm64)

package trace

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// openFlags are those by which an open can change something.
const openFlags = unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC

// ioctls are the requests that write: the clones and the attributes.
var ioctls = []uint32{
	unix.FICLONE, unix.FICLONERANGE, unix.FIDEDUPERANGE,
	0x40086602, // FS_IOC_SETFLAGS
}

// syscallInfo says where a call's arguments name its targets.
type syscallInfo struct {
	name    string
	flags   int // 1 + the argument that holds open flags; 0: none
	targets []target
}

// target is a file that a call works on. Arguments count from 0; -1 is none.
type target struct {
	dir  int // the descriptor of the file, or of the directory that path starts at; -1: the working directory
	path int // the address of a path; -1: dir is the file itself
}

func fd(arg int) []target         { return []target{{arg, -1}} }
func at(dir, path int) []target   { return []target{{dir, path}} }
func path(arg int) []target       { return []target{{-1, arg}} }
func both(a, b []target) []target { return append(a, b...) }

// table holds the calls of this architecture.
var table = func() map[uintptr]syscallInfo {
	all := maps.Clone(common)
	maps.Copy(all, old)
	return all
}()

// common are the calls that every architecture has; old, beside it, those that
// only this one has.
var common = map[uintptr]syscallInfo{
	unix.SYS_OPENAT:          {"openat", 1 + 2, at(0, 1)},
	unix.SYS_OPENAT2:         {"openat2", 0, at(0, 1)},
	unix.SYS_WRITE:           {"write", 0, fd(0)},
	unix.SYS_PWRITE64:        {"pwrite64", 0, fd(0)},
	unix.SYS_WRITEV:          {"writev", 0, fd(0)},
	unix.SYS_PWRITEV:         {"pwritev", 0, fd(0)},
	unix.SYS_PWRITEV2:        {"pwritev2", 0, fd(0)},
	unix.SYS_RENAMEAT2:       {"renameat2", 0, both(at(0, 1), at(2, 3))},
	unix.SYS_LINKAT:          {"linkat", 0, both(at(0, 1), at(2, 3))},
	unix.SYS_SYMLINKAT:       {"symlinkat", 0, at(1, 2)},
	unix.SYS_UNLINKAT:        {"unlinkat", 0, at(0, 1)},
	unix.SYS_MKDIRAT:         {"mkdirat", 0, at(0, 1)},
	unix.SYS_MKNODAT:         {"mknodat", 0, at(0, 1)},
	unix.SYS_FSYNC:           {"fsync", 0, fd(0)},
	unix.SYS_FDATASYNC:       {"fdatasync", 0, fd(0)},
	unix.SYS_SYNC:            {"sync", 0, nil},
	unix.SYS_SYNCFS:          {"syncfs", 0, fd(0)},
	unix.SYS_SYNC_FILE_RANGE: {"sync_file_range", 0, fd(0)},
	unix.SYS_FTRUNCATE:       {"ftruncate", 0, fd(0)},
	unix.SYS_TRUNCATE:        {"truncate", 0, path(0)},
	unix.SYS_FALLOCATE:       {"fallocate", 0, fd(0)},
	unix.SYS_FCHMOD:          {"fchmod", 0, fd(0)},
	unix.SYS_FCHMODAT:        {"fchmodat", 0, at(0, 1)},
	unix.SYS_FCHMODAT2:       {"fchmodat2", 0, at(0, 1)},
	unix.SYS_FCHOWN:          {"fchown", 0, fd(0)},
	unix.SYS_FCHOWNAT:        {"fchownat", 0, at(0, 1)},
	unix.SYS_UTIMENSAT:       {"utimensat", 0, at(0, 1)},
	unix.SYS_COPY_FILE_RANGE: {"copy_file_range", 0, fd(2)},
	unix.SYS_SENDFILE:        {"sendfile", 0, fd(0)},
	unix.SYS_SPLICE:          {"splice", 0, fd(2)},
	unix.SYS_IOCTL:           {"ioctl", 0, fd(0)},
	unix.SYS_SETXATTR:        {"setxattr", 0, path(0)},
	unix.SYS_LSETXATTR:       {"lsetxattr", 0, path(0)},
	unix.SYS_FSETXATTR:       {"fsetxattr", 0, fd(0)},
	unix.SYS_REMOVEXATTR:     {"removexattr", 0, path(0)},
	unix.SYS_LREMOVEXATTR:    {"lremovexattr", 0, path(0)},
	unix.SYS_FREMOVEXATTR:    {"fremovexattr", 0, fd(0)},
}

// needsSpace reports whether a call fails on a full disk. Other calls still work
// there, so that a test sees a clean-up after ENOSPC.
func needsSpace(name string) bool {
	switch {
	case strings.HasPrefix(name, "unlink"), name == "rmdir", strings.HasSuffix(name, "sync"), name == "syncfs",
		strings.HasPrefix(name, "rename"), strings.HasSuffix(name, "truncate"), strings.Contains(name, "removexattr"),
		strings.Contains(name, "chmod"), strings.Contains(name, "chown"), strings.Contains(name, "utime"):
		return false
	}
	return true
}

// describe reads what a call works on. It is false for what does not count.
func describe(note *notification) (Call, bool) {
	info := table[uintptr(note.nr)]
	call := Call{PID: int(note.pid), Name: info.name}
	if note.nr == unix.SYS_OPENAT2 {
		// struct open_how starts with its flags.
		how := make([]byte, 8)
		if readMemory(call.PID, note.args[2], how) == 8 &&
			(uint32(how[0])|uint32(how[1])<<8|uint32(how[2])<<16|uint32(how[3])<<24)&openFlags == 0 {
			return call, false
		}
	}
	counts := len(info.targets) == 0
	for _, t := range info.targets {
		name, ok := resolve(call.PID, note, t)
		// One of two is enough: the old name of a new link may be /proc/self/fd/3.
		counts = counts || ok
		call.Targets = append(call.Targets, name)
	}
	return call, counts
}

func resolve(pid int, note *notification, t target) (name string, counts bool) {
	proc := fmt.Sprintf("/proc/%d", pid)
	start := proc + "/cwd"
	if t.dir >= 0 && int32(note.args[t.dir]) != unix.AT_FDCWD {
		start = fmt.Sprintf("%s/fd/%d", proc, int32(note.args[t.dir]))
	}
	var text string
	if t.path >= 0 && note.args[t.path] != 0 {
		text = readString(pid, note.args[t.path])
	}
	if text == "" {
		// The descriptor itself: write and its like, utimensat with no
		// path, AT_EMPTY_PATH.
		name, _ = os.Readlink(start)
		if info, err := os.Stat(start); err != nil || !(info.Mode().IsRegular() || info.IsDir()) {
			return name, false
		}
		return name, !special(name)
	}
	name = text
	if !filepath.IsAbs(name) {
		if base, err := os.Readlink(start); err == nil {
			name = filepath.Join(base, name)
		}
	}
	if special(name) {
		return name, false
	}
	info, err := os.Lstat(name)
	return name, err != nil || info.Mode()&(os.ModeDevice|os.ModeNamedPipe|os.ModeSocket) == 0
}

// special are names of what is no file on a disk. Since Linux 6.17 the kernel says that an
// anonymous one, such as by which the runtime of Go wakes a thread, is regular.
func special(name string) bool {
	for _, top := range []string{"/proc/", "/sys/", "/dev/", "anon_inode:"} {
		if strings.HasPrefix(name, top) {
			return true
		}
	}
	return false
}

// readString reads a C string from the memory of pid, up to a path's length.
func readString(pid int, address uint64) string {
	var text []byte
	for len(text) < unix.PathMax {
		// Not across a page: the next one may not be there.
		part := make([]byte, 4096-int(address%4096))
		n := readMemory(pid, address, part)
		if n <= 0 {
			break
		}
		if end := strings.IndexByte(string(part[:n]), 0); end >= 0 {
			return string(append(text, part[:end]...))
		}
		text = append(text, part[:n]...)
		address += uint64(n)
	}
	return string(text)
}

func readMemory(pid int, address uint64, into []byte) int {
	local := []unix.Iovec{{Base: &into[0]}}
	local[0].SetLen(len(into))
	n, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(address), Len: len(into)}}, 0)
	if err != nil {
		return 0
	}
	return n
}
