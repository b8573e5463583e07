//go:build linux && (amd64 || arm64)

// Package trace runs a command and holds every system call by which it, or a
// process that it starts, changes a file system, just before the call takes
// place. It numbers these calls in one order over all threads and processes,
// and at one of them it can kill the whole command or let the call fail.
//
// A seccomp filter with a listener sends each such call to this process, which
// answers "go on" or an error number, or kills. strace's inject=...:when=N
// counts each thread for itself, and so never reaches most calls of a Go
// program.
//
// What counts: calls that create, write, rename, link, remove, truncate, sync
// or change the attributes of regular files, directories and links. What does
// not: pipes, sockets, terminals, /dev, /proc, /sys, reads, opens that can
// only read, close, and stores into a shared mapping. A call that then fails by
// itself (mkdir of what exists) also counts.
//
// It is no security boundary: paths are read from the caller's memory before
// the call and serve as labels only.
//
// It needs Linux 5.19 (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: without it
// a signal, such as those by which Go's runtime preempts, would make one call
// count twice).
package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Mode says what happens at the N-th call. The zero Mode only lists.
type Mode struct {
	N     int           // from 1; 0: nowhere
	Errno syscall.Errno // 0: kill there; else the call does not take place and returns this
	// Sticky lets the later calls also fail, as on a disk that stays full or
	// read-only. With ENOSPC only calls that need space fail.
	Sticky bool
}

// List only counts.
func List() Mode { return Mode{} }

// Kill sends SIGKILL to all processes of the command just before call n.
func Kill(n int) Mode { return Mode{N: n} }

// Fail lets call n return errno without taking place.
func Fail(n int, errno syscall.Errno) Mode { return Mode{N: n, Errno: errno} }

// Call is one writing system call.
type Call struct {
	N       int      // from 1, in the order of arrival over all threads
	PID     int      // of the thread
	Name    string   // of the system call
	Targets []string // absolute paths; for links and renames the old one first
}

func (c Call) String() string {
	s := fmt.Sprintf("%d %s", c.N, c.Name)
	for _, t := range c.Targets {
		s += " " + t
	}
	return s
}

// Result is what became of the command.
type Result struct {
	Calls    []Call // those that arrived; the last is the one it was killed at
	Hit      bool   // the N-th call was reached
	ExitCode int    // -1 when a signal ended it
	Stdout   []byte
	Stderr   []byte
}

// Run runs argv in dir ("" is the current one) with the environment env (nil
// is the current one). An error means that it could not be run or observed; a
// command that fails or is killed is a Result. When ctx ends, everything is
// killed.
//
// The package's init re-executes the running binary to install the filter, so
// that a program or test that imports it needs no set-up.
func Run(ctx context.Context, mode Mode, argv, env []string, dir string) (*Result, error) {
	if len(argv) == 0 {
		return nil, errors.New("trace: no command")
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("trace: socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "seccomp"), os.NewFile(uintptr(pair[1]), "seccomp")
	defer ours.Close()
	defer theirs.Close()

	var stdout, stderr bytes.Buffer
	cmd := exec.Command(self)
	cmd.Args = append([]string{helperName, path}, argv...)
	cmd.Env, cmd.Dir = env, dir
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.ExtraFiles = []*os.File{theirs} // descriptor 3 there
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Minute // for what keeps standard output open, and not for a slow machine
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	theirs.Close()

	listener, err := receive(ours)
	if err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		return nil, fmt.Errorf("trace: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	s := &supervisor{mode: mode, group: cmd.Process.Pid, listener: listener}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var loopErr error
	wg.Go(func() { loopErr = s.loop() })
	wg.Go(func() {
		select {
		case <-ctx.Done():
			_ = syscall.Kill(-s.group, syscall.SIGKILL)
		case <-stop:
		}
	})
	waitErr := cmd.Wait()
	close(stop)
	if ctx.Err() != nil {
		// A process that left the group may live on: without a listener its
		// next writing call fails with ENOSYS.
		s.abandon.Store(true)
	}
	wg.Wait()
	unix.Close(listener)

	result := &Result{Calls: s.calls, Hit: s.hit, ExitCode: cmd.ProcessState.ExitCode(), Stdout: stdout.Bytes(),
		Stderr: stderr.Bytes()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return result, fmt.Errorf("trace: %w", ctx.Err())
	case loopErr != nil:
		return result, fmt.Errorf("trace: %w", loopErr)
	case waitErr != nil && !errors.As(waitErr, &exit):
		return result, fmt.Errorf("trace: %w", waitErr)
	}
	return result, nil
}
