//go:build linux && (amd64 || arm64)

package trace

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// helperName as argv[0] makes this binary the one that installs the filter,
// hands its listener over descriptor 3, and becomes argv[1] with the
// arguments argv[2:].
const helperName = "publish-crash-helper"

func init() {
	if len(os.Args) > 2 && os.Args[0] == helperName {
		runtime.LockOSThread()
		fmt.Fprintln(os.Stderr, helperName+":", become(os.Args[1], os.Args[2:]))
		os.Exit(127)
	}
}

// become returns only when something failed. The filter is on this thread
// alone until exec makes it the only one.
//
// Nobody answers from the moment the filter is there until the listener has been
// handed over. So only raw calls that the filter lets through stand between.
func become(path string, argv []string) error {
	unix.CloseOnExec(3)
	env := os.Environ()
	program := filter()
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	oob := make([]byte, unix.CmsgSpace(4))
	header := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	header.Level, header.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	header.SetLen(unix.CmsgLen(4))
	descriptor := (*int32)(unsafe.Pointer(&oob[unix.CmsgLen(0)]))
	var one [1]byte
	iov := unix.Iovec{Base: &one[0]}
	iov.SetLen(1)
	message := unix.Msghdr{Iov: &iov, Control: &oob[0]}
	message.SetIovlen(1)
	message.SetControllen(len(oob))

	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
		uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return fmt.Errorf("seccomp with a listener (Linux 5.19 or later): %w", errno)
	}
	*descriptor = int32(fd)
	if _, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, 3, uintptr(unsafe.Pointer(&message)), 0); errno != 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 126, 0, 0)
	}
	runtime.KeepAlive(program)
	runtime.KeepAlive(oob)
	// The listener's descriptor is close-on-exec by itself.
	if err := syscall.Exec(path, argv, env); err != nil {
		return fmt.Errorf("exec %s: %w", path, err)
	}
	return nil
}

// filter is the BPF program: allow all but the calls of the table.
func filter() []unix.SockFilter {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		anyBit = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret    = unix.BPF_RET | unix.BPF_K
		// struct seccomp_data; arguments are 64-bit, little-endian
		offsetNr, offsetArch, offsetArgs = 0, 4, 16
	)
	allow := unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW}
	notify := unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF}
	program := []unix.SockFilter{
		{Code: load, K: offsetArch},
		{Code: equal, K: auditArch, Jt: 1},
		allow,
		{Code: load, K: offsetNr},
	}
	for nr, call := range table {
		var body []unix.SockFilter
		switch {
		case call.flags != 0:
			body = []unix.SockFilter{
				{Code: load, K: uint32(offsetArgs + 8*(call.flags-1))},
				{Code: anyBit, K: openFlags, Jf: 1}, notify, allow,
			}
		case nr == unix.SYS_IOCTL:
			body = []unix.SockFilter{{Code: load, K: offsetArgs + 8}}
			for _, request := range ioctls {
				body = append(body, unix.SockFilter{Code: equal, K: request, Jf: 1}, notify)
			}
			body = append(body, allow)
		default:
			body = []unix.SockFilter{notify}
		}
		program = append(program, unix.SockFilter{Code: equal, K: uint32(nr), Jf: uint8(len(body))})
		program = append(program, body...)
	}
	return append(program, allow)
}
