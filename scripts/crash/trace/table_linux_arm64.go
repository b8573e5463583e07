package trace

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

var old = map[uintptr]syscallInfo{
	unix.SYS_RENAMEAT: {"renameat", 0, both(at(0, 1), at(2, 3))},
}
