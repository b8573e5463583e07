//go:build linux

// Command bench measures publish beside what people use today: the same work,
// on the same data and file system, as whole processes with full durability,
// in turns.
//
//	bench -publish bin/publish -incus bin/incus-simplestreams -out bin/bench
//
// It writes results.md (what was to be reached and what was, then every
// number), results.json (every run) and cost.svg (cost against size) to -out.
// A peer that is not installed is passed over, and the table says so.
//
// The files by subject: data.go makes trees, images and packages, history.go a
// long history; cases.go, trees.go, promotes.go, hashes.go and peers.go say what
// is run; run.go runs and measures it; goals.go says what is to be reached;
// machine.go, table.go and plot.go show it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"golang.org/x/sys/unix"
)

// bench is one run of all that was asked for.
type bench struct {
	ctx        context.Context
	bin, incus string // the programs
	dir        string // for data; of this run alone
	only       *regexp.Regexp
	rounds     int
	scale      float64 // of all sizes
	profile    string  // a directory for profiles; "": none are made
	log        io.Writer

	samples []sample
	skipped []skip
}

// skip is a contender that did not take part.
type skip struct {
	Experiment string `json:"experiment"`
	Size       int    `json:"size"`
	Contender  string `json:"contender"`
	Why        string `json:"why"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 1 && args[0] == hashesAlone {
		return hashes(args[1:])
	}
	b := &bench{ctx: ctx, log: stderr}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&b.bin, "publish", "bin/publish", "the program")
	flags.StringVar(&b.incus, "incus", "bin/incus-simplestreams", "its peer")
	flags.IntVar(&b.rounds, "rounds", 7, "how often each case is run; those that take long, fewer times")
	flags.Float64Var(&b.scale, "scale", 1, "multiplies all sizes")
	flags.StringVar(&b.profile, "profile", "",
		"run only publish, once, and write its profiles to this `directory`; needs a binary built with -tags profile")
	only := flags.String("run", "", "only the experiments that match, such as 'promote/20000' or 'prune|add'")
	dir := flags.String("dir", "", "a `directory` on the file system to measure; default: the one for temporary files")
	out := flags.String("out", "bin/bench", "the `directory` for results")
	readme := flags.String("readme", "", "put the results between the marks in this `file` also")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || b.rounds < 1 || b.scale <= 0 {
		return errors.New("bench takes flags only, with at least one round and a scale above 0")
	}
	var err error
	if b.only, err = regexp.Compile(*only); err != nil {
		return err
	}
	for _, name := range []*string{&b.bin, &b.incus, &b.profile, out} {
		if *name != "" {
			if *name, err = filepath.Abs(*name); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{b.profile, *out} {
		if name != "" {
			if err := os.MkdirAll(name, 0o755); err != nil {
				return err
			}
		}
	}
	if b.dir, err = os.MkdirTemp(*dir, "publish-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.roomy(); err != nil {
		return err
	}
	facts, err := b.facts()
	if err != nil {
		return err
	}
	err = b.groups(ctx)
	if b.profile != "" {
		return err
	}
	if err != nil { // the results so far are good, but not complete
		*readme = ""
	}
	return errors.Join(err, b.write(facts, *out, *readme, stdout))
}

func (b *bench) groups(ctx context.Context) error {
	for _, group := range all {
		if err := errors.Join(group(b, ctx), ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// write writes the results.
func (b *bench) write(facts []fact, out, readme string, stdout io.Writer) error {
	raw, err := json.MarshalIndent(struct {
		Facts   []fact   `json:"facts"`
		Skipped []skip   `json:"skipped"`
		Samples []sample `json:"samples"`
	}{facts, b.skipped, b.samples}, "", " ")
	if err != nil {
		return err
	}
	text := b.markdown(facts)
	err = errors.Join(
		os.WriteFile(filepath.Join(out, "results.json"), append(raw, '\n'), 0o644),
		os.WriteFile(filepath.Join(out, "results.md"), []byte(text), 0o644),
		os.WriteFile(filepath.Join(out, "cost.svg"), []byte(plot(b.series())), 0o644))
	if err == nil && readme != "" {
		err = intoReadme(readme, b.summary(facts))
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(stdout, text)
	return err
}

// n scales a size; a little is always left.
func (b *bench) n(size int) int { return min(size, max(10, int(float64(size)*b.scale))) }

// roomy reports in advance that the data will not fit.
func (b *bench) roomy() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(b.dir, &fs); err != nil {
		return err
	}
	// The most is needed for 500,000 files, in staging and in a first generation.
	need := uint64(12*b.scale*(1<<30)) + 512<<20
	if have := fs.Bavail * uint64(fs.Bsize); have < need {
		return fmt.Errorf("%s: %d MiB are free, about %d are needed\n"+
			"hint: give -dir a directory elsewhere, or a smaller -scale", b.dir, have>>20, need>>20)
	}
	return nil
}

// missing says why a program cannot be run; "": it can.
func (b *bench) missing(program string) string {
	if _, err := exec.LookPath(program); err != nil {
		return "not installed"
	}
	return ""
}

// skip notes that a contender does not take part.
func (b *bench) skip(e experiment, c contender, why string) {
	s := skip{e.name, e.size, c.name, why}
	for _, have := range b.skipped {
		if have == s {
			return
		}
	}
	b.skipped = append(b.skipped, s)
}

// say prints what is being done.
func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.log, "bench: "+format+"\n", args...) }
