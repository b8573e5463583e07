//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// command is a process to run.
type command struct {
	dir  string
	argv []string
}

// contender is one way to do what an experiment measures.
type contender struct {
	name    string
	rounds  int    // at most so many; 0: as many as all
	missing string // why it cannot take part; "": it can

	// prepare makes the state from which it starts, every time anew. It is
	// not measured, and what it wrote is on the disk before the clock runs.
	prepare func(round int) error
	// run are the processes to measure, one after the other.
	run func(round int) []command
	// check finds fault with what was done. out is what the last of them
	// wrote to its standard output.
	check func(round int, out []byte) error
	// beside runs while it is measured, until its context ends; may be nil.
	beside func(context.Context)
	// counted adds what a store was asked for; may be nil.
	counted func(*sample)
	// switched reads from out how many microseconds the switch took; may be nil.
	switched func(out []byte) (int64, error)
}

// experiment lets contenders do the same at one size.
type experiment struct {
	name       string
	size       int // as the case names it, before scaling
	items      int // files or versions that there really are
	rounds     int // at most so many; 0: as many as were asked for
	catalog    string
	contenders []contender
}

// sample is one measured run.
type sample struct {
	Experiment   string `json:"experiment"`
	Size         int    `json:"size"`
	Items        int    `json:"items"`
	Contender    string `json:"contender"`
	Round        int    `json:"round"`
	WallUS       int64  `json:"wall_us"` // from just before the fork to the exit, of all processes
	CPUUS        int64  `json:"cpu_us"`  // user and system
	PeakBytes    int64  `json:"peak_bytes"`
	SwitchUS     int64  `json:"switch_us"`
	CatalogBytes int64  `json:"catalog_bytes"` // of the index that was read; 0 where it does not matter
	Asked        *asked `json:"asked,omitempty"`
}

// wants reports whether an experiment was asked for.
func (b *bench) wants(name string, size int) bool {
	return b.only.MatchString(fmt.Sprintf("%s/%d", name, size))
}

// measure runs an experiment: in every round each contender once, so that
// what the machine does meanwhile hits all alike, and in turning order.
func (b *bench) measure(ctx context.Context, e experiment) error {
	if !b.wants(e.name, e.size) {
		return nil
	}
	var catalog int64
	if e.catalog != "" {
		fi, err := os.Stat(e.catalog)
		if err != nil {
			return err
		}
		catalog = fi.Size()
	}
	rounds := b.rounds
	if e.rounds > 0 {
		rounds = min(rounds, e.rounds)
	}
	lost := map[string]bool{}
	for round := range rounds {
		for i := range e.contenders {
			if round%2 == 1 {
				i = len(e.contenders) - 1 - i
			}
			c := e.contenders[i]
			switch {
			case c.missing != "":
				b.skip(e, c, c.missing)
				continue
			case lost[c.name], c.rounds > 0 && round >= c.rounds, b.profile != "" && (i > 0 || round > 0):
				continue
			}
			b.say("%s/%d, %d of %d: %s", e.name, e.size, round+1, rounds, c.name)
			s, err := b.once(ctx, e, c, round)
			if err != nil && (i == 0 || ctx.Err() != nil) {
				return fmt.Errorf("%s/%d: %s: %w", e.name, e.size, c.name, err)
			}
			if err != nil { // a peer that cannot do it
				lost[c.name] = true
				b.skip(e, c, err.Error())
				continue
			}
			s.Experiment, s.Size, s.Items, s.Contender, s.Round, s.CatalogBytes = e.name, e.size, e.items, c.name,
				round, catalog
			b.samples = append(b.samples, s)
		}
	}
	return nil
}

// once prepares, runs and checks a contender.
func (b *bench) once(ctx context.Context, e experiment, c contender, round int) (s sample, err error) {
	if c.prepare != nil {
		if err := c.prepare(round); err != nil {
			return s, fmt.Errorf("prepare: %w", err)
		}
	}
	if err := b.settle(); err != nil {
		return s, err
	}
	var env []string
	if b.profile != "" {
		env = []string{"PUBLISH_PROFILE=" + filepath.Join(b.profile, fmt.Sprintf("%s-%d", e.name, e.size))}
	}
	commands := c.run(round)
	if c.beside != nil {
		ctx, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { defer close(done); c.beside(ctx) }()
		defer func() { stop(); <-done }()
	}
	var out []byte
	for _, cmd := range commands {
		if out, err = s.run(ctx, cmd, env); err != nil {
			return s, err
		}
	}
	if b.profile != "" {
		if found, err := filepath.Glob(filepath.Join(b.profile, fmt.Sprintf("%s-%d.*.cpu", e.name,
			e.size))); err != nil || len(found) == 0 {
			return s, errors.New("it left no profile: build it with -tags profile")
		}
	}
	if c.switched != nil {
		if s.SwitchUS, err = c.switched(out); err != nil {
			return s, err
		}
	}
	if c.counted != nil {
		c.counted(&s)
	}
	if c.check != nil {
		if err := c.check(round, out); err != nil {
			return s, fmt.Errorf("it did not do what it should: %w", err)
		}
	}
	return s, nil
}

// settle writes out what preparations left, and makes this process small: Linux
// counts the pages of a parent to the peak of the child that it forks.
func (b *bench) settle() error {
	d, err := os.Open(b.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: b.dir, Err: err}
	}
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // its peak is what it has now
	return nil
}

// run runs one process and adds what it took.
func (s *sample) run(ctx context.Context, c command, env []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(append(os.Environ(), "TZ=UTC", "LC_ALL=C"), env...)
	var out, fault bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &fault
	start := time.Now()
	err := cmd.Run()
	s.WallUS += time.Since(start).Microseconds()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(c.argv, " "), err, bytes.TrimSpace(fault.Bytes()))
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return nil, errors.New("the system does not report what a process used")
	}
	s.CPUUS += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Microseconds()
	s.PeakBytes = max(s.PeakBytes, usage.Maxrss<<10)
	return out.Bytes(), nil
}

// do runs commands that are not measured, and returns what the last one wrote.
func (b *bench) do(commands ...command) (out []byte, err error) {
	var s sample
	for _, c := range commands {
		if out, err = s.run(b.ctx, c, nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}
