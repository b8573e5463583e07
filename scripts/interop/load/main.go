// Command load reads production while it changes. nginx or publish serve, and the Incus
// client library stand before it; writers promote, revert, prune and gc back to back,
// two processes at a time; readers hold an index and fetch what it names at
// random later moments, most of them just before the grace window ends.
//
// The promise on trial: every path that production served within the last
// grace window still reads, with the same bytes. Each path resolves on its own:
// two requests of one reader may see two generations. So
//
//   - a failure is a request that was answered before its index was as old as
//     the window, and not with the file: another status, a broken connection,
//     a document that does not come. The age counts from just before the index
//     was asked for, by the reader's clock.
//   - a mixture is an answer that fits no generation, at whatever age: an item
//     with another size or sha256 than the held index says, a document that
//     does not parse, an alias that leads to no image, a 304 for a document
//     that is not what production serves, an index beside a catalog of other
//     products. The last two are judged where the generation's identity, read
//     before and after, is one and the same; and always by readers that hold
//     production's directory open, for theirs is one resolution.
//
// A file that is gone is no failure when the answer came after the window. Such
// answers are counted: late, when the reader meant to be in time, and gone, when
// it asked on purpose, to see that windows do end. The server's log must
// have neither more nor fewer. After each switch publish serve must show that generation.
//
// A run takes -duration for each mode, and longer until each verb has succeeded
// and some file was gone. Afterwards `publish verify` must find nothing.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	publish  string // absolute
	dir      string
	duration time.Duration
	grace    time.Duration // what publish is given
	believe  time.Duration // what the readers believe
	readers  int
	server   string // nginx or publish
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string) (int, error) {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	var o options
	flags.StringVar(&o.publish, "publish", "publish", "the program")
	flags.StringVar(&o.dir, "dir", "", "where the repositories are made (default: the temporary directory)")
	flags.DurationVar(&o.duration, "duration", 2*time.Minute, "how long for each mode")
	flags.DurationVar(&o.grace, "grace", 6*time.Second, "the grace window, whole seconds")
	flags.DurationVar(&o.believe, "believe", 0,
		"the window that readers count on (default: as -grace); with a longer one, they must fail")
	flags.IntVar(&o.readers, "readers", 24, "how many readers")
	flags.StringVar(&o.server, "server", "nginx", "what serves production: nginx, or publish for publish serve")
	modes := flags.String("switch", "symlink,rename", "switch modes")
	oci := flags.Bool("oci", false, "a tree of OCI image layouts, read without a server: see layouts.go")
	if err := flags.Parse(args); err != nil {
		return 2, nil
	}
	o.believe = cmp.Or(o.believe, o.grace)
	program, err := exec.LookPath(o.publish)
	if err != nil {
		return 2, err
	}
	if o.publish, err = filepath.Abs(program); err != nil {
		return 2, err
	}
	if *oci {
		return runLayouts(ctx, o, strings.Split(*modes, ","))
	}
	total := newTally()
	for mode := range strings.SplitSeq(*modes, ",") {
		t, err := load(ctx, o, mode)
		if t != nil {
			fmt.Printf("%s: %v\n", mode, t)
			for _, line := range t.details {
				fmt.Fprintln(os.Stderr, line)
			}
			total.add(t)
		}
		if err != nil {
			return 1, fmt.Errorf("%s: %w", mode, err)
		}
	}
	fmt.Printf("%d requests, %d failures, %d mixtures\n", total.requests(), total.failures, total.mixtures)
	if total.failures+total.mixtures > 0 {
		return 1, nil
	}
	return 0, nil
}

// runLayouts is run for trees of OCI image layouts.
func runLayouts(ctx context.Context, o options, modes []string) (int, error) {
	pulls, failures := int64(0), int64(0)
	for _, mode := range modes {
		l, err := loadLayouts(ctx, o, mode)
		if l != nil {
			fmt.Printf("%s: %v\n", mode, l)
			for _, line := range l.details {
				fmt.Fprintln(os.Stderr, line)
			}
			pulls, failures = pulls+l.pulls.Load(), failures+l.failures.Load()
		}
		if err != nil {
			return 1, fmt.Errorf("%s: %w", mode, err)
		}
	}
	fmt.Printf("%d pulls, %d failures\n", pulls, failures)
	if failures > 0 {
		return 1, nil
	}
	return 0, nil
}

// load is the run in one mode. It also returns a tally if something broke.
func load(ctx context.Context, o options, mode string) (t *tally, err error) {
	dir, err := os.MkdirTemp(o.dir, "publish-load-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := newWorld(o, mode, dir)
	if err != nil {
		return nil, err
	}
	return w.t, errors.Join(w.run(ctx), w.end())
}
