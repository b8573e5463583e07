//go:build linux && (amd64 || arm64)

// Command crash runs a command and numbers its writing system calls, in one
// order over all threads and processes; at one of them it can kill the command
// or let the call fail.
//
//	crash trace COMMAND...           list the calls
//	crash kill N COMMAND...          SIGKILL just before call N
//	crash fail N ERRNO COMMAND...    call N fails with ENOSPC, EIO, EROFS, ...
//	crash matrix [flags]             every verb of publish, at every call
//
// matrix is the proof that a crash anywhere loses nothing: see matrix.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/publish/scripts/crash/trace"
)

const usage = `usage: crash trace COMMAND...
       crash kill N COMMAND...
       crash fail N ERRNO COMMAND...
       crash matrix [flags]        (crash matrix -h)
       crash powercut [flags]      (crash powercut -h)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string) (int, error) {
	var mode trace.Mode
	var err error
	switch {
	case len(args) > 0 && args[0] == "matrix":
		return matrix(ctx, args[1:])
	case len(args) > 0 && args[0] == "powercut":
		return powercut(ctx, args[1:])
	case len(args) > 1 && args[0] == "trace":
		args = args[1:]
	case len(args) > 2 && args[0] == "kill":
		if mode.N, err = number(args[1]); err != nil {
			return 2, err
		}
		args = args[2:]
	case len(args) > 3 && args[0] == "fail":
		if mode.N, err = number(args[1]); err != nil {
			return 2, err
		}
		if mode.Errno, err = errno(args[2]); err != nil {
			return 2, err
		}
		args = args[3:]
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2, nil
	}
	result, err := trace.Run(ctx, mode, args, nil, "")
	if err != nil {
		return 1, err
	}
	os.Stdout.Write(result.Stdout)
	os.Stderr.Write(result.Stderr)
	if mode.N == 0 {
		for _, call := range result.Calls {
			fmt.Println(call)
		}
		return result.ExitCode, nil
	}
	if !result.Hit {
		return 1, fmt.Errorf("the command ended with exit code %d after %d calls, before call %d", result.ExitCode,
			len(result.Calls), mode.N)
	}
	fmt.Fprintf(os.Stderr, "crash: hit %v, exit code %d\n", result.Calls[mode.N-1], result.ExitCode)
	if result.ExitCode < 0 {
		return 128 + int(syscall.SIGKILL), nil
	}
	return result.ExitCode, nil
}

func number(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not the number of a call", s)
	}
	return n, nil
}

func errno(name string) (syscall.Errno, error) {
	for e := syscall.Errno(1); e < 256; e++ {
		if unix.ErrnoName(e) == name {
			return e, nil
		}
	}
	return 0, errors.New(name + " is not the name of an error")
}
