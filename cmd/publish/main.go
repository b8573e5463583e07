// Command publish gives an image server two stages: builds write to staging,
// and promote makes what is staged production in one atomic step.
//
// This package has flags, rendering, exit codes and the choice of format; what
// the program does is in package publish. Its rules towards people and scripts:
//
//   - Standard output carries the answer and nothing else; with --json it is
//     one object, or one a line where a command lists.
//   - Standard error carries progress (on a terminal only), warnings and the
//     error: the path first, then the fact, and the remedy on a line of its
//     own. With --json the error is one object.
//   - The exit status shows what a script can do about it: see exitCode.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"
)

// version is set by the linker: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() {
	memory := economize(&forFiles)
	stop := startProfile()
	code := execute(&program{memory: memory, stdout: os.Stdout, stderr: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}

// execute runs the program with its signal handling: a signal that asks it to end
// stops it before the switch and waits after it; a reader that goes away
// ends nothing.
func execute(p *program, args []string) int {
	p.ends = []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(os.Interrupt) { // as it is for a shell's background jobs
		p.ends = append(p.ends, os.Interrupt)
	}
	ends := p.ends
	if !signal.Ignored(syscall.SIGHUP) { // as it is under nohup
		ends = append(slices.Clip(ends), syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	// Caught, not ignored: hooks would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return p.run(ctx, args)
}

// programVersion is the version from the linker, else the one from the Go tool.
func programVersion() string {
	if version != "dev" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return version + "-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return version
}
