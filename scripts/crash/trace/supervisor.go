//go:build linux && (amd64 || arm64)

package trace

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification and response are struct seccomp_notif and seccomp_notif_resp.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type response struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// supervisor answers the notifications of one command.
type supervisor struct {
	mode     Mode
	group    int // process group of the command
	listener int
	abandon  atomic.Bool

	calls []Call
	hit   bool
}

// loop returns when no process is left that the filter holds.
func (s *supervisor) loop() error {
	for {
		fds := []unix.PollFd{{Fd: int32(s.listener), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 200)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("poll: %w", err)
		case n == 0 && s.abandon.Load():
			return nil
		case n == 0:
			continue
		case fds[0].Revents&unix.POLLIN == 0:
			return nil // POLLHUP: the last process is gone
		}
		var note notification
		switch err := s.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&note)); err {
		case nil:
		case unix.EINTR, unix.ENOENT: // its caller is gone
			continue
		default:
			return fmt.Errorf("receive a notification: %w", err)
		}
		if err := s.answer(&note); err != nil {
			return err
		}
	}
}

// answer decides on one call. A killed caller gets no answer: its call never
// takes place.
func (s *supervisor) answer(note *notification) error {
	killing := s.mode.N > 0 && s.mode.Errno == 0
	if killing && s.hit {
		_ = syscall.Kill(int(note.pid), syscall.SIGKILL) // one that left the group
		return nil
	}
	resp := response{id: note.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if call, ok := describe(note); ok {
		call.N = len(s.calls) + 1
		s.calls = append(s.calls, call)
		if call.N == s.mode.N {
			s.hit = true
		}
		switch {
		case !s.hit:
		case killing:
			_ = syscall.Kill(-s.group, syscall.SIGKILL)
			_ = syscall.Kill(int(note.pid), syscall.SIGKILL)
			return nil
		case call.N == s.mode.N, s.mode.Sticky && (s.mode.Errno != syscall.ENOSPC || needsSpace(call.Name)):
			resp = response{id: note.id, err: -int32(s.mode.Errno)}
		}
	}
	switch err := s.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&resp)); err {
	case nil, unix.ENOENT, unix.EINTR: // ENOENT: the caller is gone
		return nil
	default:
		return fmt.Errorf("answer a notification: %w", err)
	}
}

func (s *supervisor) ioctl(request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.listener), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// receive takes the listener from the helper.
func receive(from *os.File) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	var n, oobn int
	var err error
	for {
		n, oobn, _, _, err = unix.Recvmsg(int(from.Fd()), make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	switch {
	case err != nil:
		return -1, fmt.Errorf("receive the listener: %w", err)
	case n == 0:
		return -1, errors.New("the filter could not be installed")
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return -1, errors.New("receive the listener: no descriptor came")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.New("receive the listener: no descriptor came")
	}
	return fds[0], nil
}
