// Command gotest runs go test, with the same arguments, and shows how far it
// is: a line for each package as it ends, after the output of the tests that
// failed in it, and what is at work when nothing has been printed for a while.
// At the end it lists the tests that were skipped, and why. With -v the output
// of every test is printed as it comes.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// patience is how long nothing is printed before a line says what is at work.
const patience = 10 * time.Second

func main() {
	code, err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
	}
	os.Exit(code)
}

func run(args []string, stdout, stderr io.Writer) (int, error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 2, err
	}
	if err := cmd.Start(); err != nil {
		return 2, err
	}
	ticks := time.NewTicker(patience)
	defer ticks.Stop()
	r := &report{to: stdout, verbose: slices.Contains(args, "-v"), start: time.Now(), packages: map[string]*pkg{}}
	r.follow(events(out), ticks.C)
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return cmp.Or(max(exit.ExitCode(), 0), 1), nil
	}
	return 0, err
}

// event is what go test -json writes (go doc test2json, go help buildjson).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// events reads them one a line. A line that is none is an output of the build.
func events(from io.Reader) <-chan event {
	to := make(chan event)
	go func() {
		defer close(to)
		for in := bufio.NewReader(from); ; {
			line, err := in.ReadBytes('\n')
			if len(line) > 0 {
				var e event
				if json.Unmarshal(line, &e) != nil {
					e = event{Action: "build-output", Output: string(line)}
				}
				to <- e
			}
			if err != nil {
				return
			}
		}
	}()
	return to
}

// report prints the events that it gets.
type report struct {
	to       io.Writer
	verbose  bool
	start    time.Time
	packages map[string]*pkg // that have begun and not ended
	ended    int
	skipped  []string
	printed  bool // since the last tick
}

// pkg is a package at work.
type pkg struct {
	output map[string]string // of tests that have not passed; of the package under ""
	failed []string
	runs   []string // tests that have begun and not ended
}

func (r *report) follow(events <-chan event, ticks <-chan time.Time) {
	for {
		select {
		case e, ok := <-events:
			if !ok {
				for _, s := range r.skipped {
					r.print("skipped: " + s + "\n")
				}
				return
			}
			r.take(e)
		case now := <-ticks:
			if !r.printed {
				r.print(fmt.Sprintf("  %v: %s\n", now.Sub(r.start).Round(time.Second), r.atWork()))
			}
			r.printed = false
		}
	}
}

func (r *report) print(text string) {
	r.printed = true
	fmt.Fprint(r.to, text)
}

func (r *report) take(e event) {
	if e.Action == "build-output" {
		r.print(e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &pkg{output: map[string]string{}}
		r.packages[e.Package] = p
	}
	switch e.Action {
	case "run":
		p.runs = append(p.runs, e.Test)
	case "output":
		p.add(e)
		if r.verbose && e.Test != "" && !framing(e.Output) {
			r.print(e.Output)
		}
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e, p)
			return
		}
		p.runs = slices.DeleteFunc(p.runs, func(t string) bool { return t == e.Test })
		switch e.Action {
		case "fail":
			p.failed = append(p.failed, e.Test)
			return
		case "skip":
			r.skipped = append(r.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, p.reason(e.Test)))
		}
		delete(p.output, e.Test)
	}
}

// framing reports whether a line only says that a test begins, goes on or passes.
func framing(line string) bool {
	return strings.HasPrefix(line, "=== ") || strings.HasPrefix(strings.TrimSpace(line), "--- PASS: ")
}

func (p *pkg) add(e event) {
	if !framing(e.Output) {
		p.output[e.Test] += e.Output
	}
}

// reason is what a test gave for being skipped.
func (p *pkg) reason(test string) string {
	for line := range strings.Lines(p.output[test]) {
		if _, why, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && !strings.HasPrefix(line, "--- ") {
			return why
		}
	}
	return "no reason given"
}

// endPackage prints what failed in it, with the tests that never ended, and its
// own last lines.
func (r *report) endPackage(e event, p *pkg) {
	if e.Action == "fail" && !r.verbose {
		for _, t := range append(p.failed, p.runs...) {
			r.print(p.output[t])
		}
	}
	for line := range strings.Lines(p.output[""]) {
		if line != "PASS\n" && line != "FAIL\n" {
			r.print(line)
		}
	}
	delete(r.packages, e.Package)
	r.ended++
}

// atWork says which packages run, each with its newest test.
func (r *report) atWork() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(r.packages)) {
		if runs := r.packages[name].runs; len(runs) > 0 {
			name += " " + runs[len(runs)-1]
		}
		out = append(out, name)
	}
	if len(out) == 0 {
		out = []string{"go builds the tests"}
	}
	return fmt.Sprintf("packages done: %d; at work: %s", r.ended, strings.Join(out, ", "))
}
