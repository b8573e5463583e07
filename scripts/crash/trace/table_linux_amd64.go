package trace

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

var old = map[uintptr]syscallInfo{
	unix.SYS_OPEN:      {"open", 1 + 1, path(0)},
	unix.SYS_CREAT:     {"creat", 0, path(0)},
	unix.SYS_RENAME:    {"rename", 0, both(path(0), path(1))},
	unix.SYS_RENAMEAT:  {"renameat", 0, both(at(0, 1), at(2, 3))},
	unix.SYS_LINK:      {"link", 0, both(path(0), path(1))},
	unix.SYS_SYMLINK:   {"symlink", 0, path(1)},
	unix.SYS_UNLINK:    {"unlink", 0, path(0)},
	unix.SYS_RMDIR:     {"rmdir", 0, path(0)},
	unix.SYS_MKDIR:     {"mkdir", 0, path(0)},
	unix.SYS_MKNOD:     {"mknod", 0, path(0)},
	unix.SYS_CHMOD:     {"chmod", 0, path(0)},
	unix.SYS_CHOWN:     {"chown", 0, path(0)},
	unix.SYS_LCHOWN:    {"lchown", 0, path(0)},
	unix.SYS_UTIME:     {"utime", 0, path(0)},
	unix.SYS_UTIMES:    {"utimes", 0, path(0)},
	unix.SYS_FUTIMESAT: {"futimesat", 0, at(0, 1)},
}
