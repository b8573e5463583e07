//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/publish/publish/site/bucket/storetest"
	"example.com/publish/scripts/crash/check"
	"example.com/publish/scripts/crash/trace"
)

// options are the flags of crash matrix.
type options struct {
	publish string // absolute
	dir     string
	hub     string // the URL of a registry
	modes   []string
	only    *regexp.Regexp
	faults  []fault
	step    int
	workers int
	verbose bool
	keep    bool
}

// fault is what happens at a point: a kill when errno is 0.
type fault struct {
	name    string
	errno   syscall.Errno
	sticky  bool
	request *storetest.Fault // at a request to a store, instead of a writing call
}

// kills reports whether the fault ends the command.
func (f *fault) kills() bool {
	return f.errno == 0 && f.request == nil || f.name == killBefore || f.name == killAfter
}

// matrix breaks every scenario at every writing call. Each point starts from
// a fresh copy of the scenario's repository, and holds when:
//
//   - at once, production is one complete generation, as before the command
//     or as after it, and whatever it served still reads with the same bytes;
//   - after a call that failed: exit 0 means that the command did its work,
//     another code but 7 that production is as it was; a request to a store that
//     is spoiled once is no reason for another code than 0;
//   - after recover, which must succeed: verify finds nothing, production
//     and staging are as before the command or as after it, nothing is left
//     over, and history's newest generation is production's; of an adoption,
//     only after its switch: before that there is nothing but to run it again;
//   - the same command, run again, succeeds (of a queue: once what waits is due), or, where its work is done, finds
//     nothing to do; it leaves what it leaves when nothing breaks (or, for a
//     revert, what two of them leave), and the scenario's probe succeeds.
//
// What is revoked need not be served. After recover every copy of it is where
// it was, or none is left in the whole repository; after the command none is.
func matrix(ctx context.Context, args []string) (int, error) {
	flags := flag.NewFlagSet("crash matrix", flag.ContinueOnError)
	publish := flags.String("publish", "publish", "the program")
	dir := flags.String("dir", "", "where the repositories are made (default: the temporary directory)")
	modes := flags.String("switch", "symlink,rename", "switch modes")
	only := flags.String("run", "", "only scenarios that this regular expression matches")
	faults := flags.String("faults", "kill",
		"what happens at a point: kill, or errors such as ENOSPC; with a + they stay (ENOSPC+);\n"+
			"at each request to a store: request and answer kill before and after it, and own-412, answer-lost, 503, ...")
	step := flags.Int("step", 1, "try every so manieth point")
	workers := flags.Int("j", 2, "points at a time")
	verbose := flags.Bool("v", false, "print every point")
	keep := flags.Bool("keep", false, "keep the repositories that broke")
	if err := flags.Parse(args); err != nil {
		return 2, nil
	}
	o := options{modes: strings.Split(*modes, ","), step: max(*step, 1), workers: max(*workers, 1), verbose: *verbose,
		keep: *keep}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return 2, err
	}
	for name := range strings.SplitSeq(*faults, ",") {
		f := fault{name: name, sticky: strings.HasSuffix(name, "+")}
		if kind, ok := requestFault(name); ok {
			f.request = &kind
		} else if name != "kill" {
			if f.errno, err = errno(strings.TrimSuffix(name, "+")); err != nil {
				return 2, err
			}
		}
		o.faults = append(o.faults, f)
	}
	if o.publish, err = exec.LookPath(*publish); err != nil {
		return 2, err
	}
	if o.publish, err = filepath.Abs(o.publish); err != nil {
		return 2, err
	}
	if o.dir, err = os.MkdirTemp(*dir, "publish-crash-"); err != nil {
		return 1, err
	}
	if o.dir, err = filepath.EvalSymlinks(o.dir); err != nil {
		return 1, err
	}
	images := filepath.Join(o.dir, "images")
	if err := errors.Join(makeImages(images, 4), makeKeys(images)); err != nil {
		return 1, err
	}
	if o.hub, err = hub(images); err != nil {
		return 1, err
	}
	tried, broken := 0, 0
	for i := range scenarios {
		for _, mode := range scenarios[i].modes(o.modes) {
			name := scenarios[i].name + "/" + mode
			if !o.only.MatchString(name) {
				continue
			}
			b := &bench{options: o, scenario: scenarios[i], mode: mode,
				root: filepath.Join(o.dir, scenarios[i].name+"-"+mode)}
			if err := b.prepare(ctx); err != nil {
				return 1, fmt.Errorf("%s: %w", name, err)
			}
			for _, f := range o.faults {
				if f.request != nil && !b.bucket {
					continue
				}
				start := time.Now()
				t, bad, err := b.points(ctx, f)
				if err != nil {
					return 1, fmt.Errorf("%s: %w", name, err)
				}
				fmt.Printf("%-32s %-8s %4d points, %d broken, %.1f s\n", name, f.name, t, bad,
					time.Since(start).Seconds())
				tried, broken = tried+t, broken+bad
			}
			b.shops.close(b.template)
			if !o.keep {
				os.RemoveAll(b.root)
			}
		}
	}
	fmt.Printf("points tried: %d, broken: %d\n", tried, broken)
	if o.keep && broken > 0 {
		fmt.Println("kept in", o.dir)
	} else {
		os.RemoveAll(o.dir)
	}
	switch {
	case tried == 0:
		return 1, errors.New("no point was tried")
	case broken > 0:
		return 1, nil
	}
	return 0, nil
}

// state is what both trees of a repository hold.
type state struct{ production, staging *check.View }

func (s *scenario) look(repo string) (st state, err error) {
	if st.production, err = s.production(repo); err != nil {
		return st, fmt.Errorf("production: %w", err)
	}
	dir := filepath.Join(repo, "staging")
	if _, err := os.Lstat(dir); s.adopts && errors.Is(err, fs.ErrNotExist) {
		st.staging = &check.View{Dir: dir}
		return st, nil
	}
	if st.staging, err = check.Staging(dir); err != nil {
		return st, fmt.Errorf("staging: %w", err)
	}
	return st, nil
}

func (s *scenario) production(repo string) (*check.View, error) {
	if s.adopts {
		return check.Adopted(repo)
	}
	return check.Production(repo)
}

// recovers reports whether recover comes after a command that was broken: not
// while production is still to be adopted or joined, for then the command comes again.
func (s *scenario) recovers(production *check.View) bool {
	return !s.adopts || !s.bucket && production.Generation > 0
}

// bench is one scenario in one switch mode.
type bench struct {
	options
	scenario
	mode     string
	root     string // template/ and copies
	template string
	shops    shops

	before  state
	after   []state             // of the command run once, then twice
	secrets map[check.File]bool // what is revoked
	found   []string            // where that lies before
}

// prepare makes the template and learns what the unbroken command does.
func (b *bench) prepare(ctx context.Context) error {
	b.template = filepath.Join(b.root, "template", "repo")
	if err := os.MkdirAll(b.template, 0o755); err != nil {
		return err
	}
	if b.bucket {
		if err := b.shops.open(b.template, ""); err != nil {
			return err
		}
	}
	setup := exec.CommandContext(ctx, "sh", "-ec", b.setup)
	setup.Dir, setup.Env = b.template, b.env(b.template)
	if out, err := setup.CombinedOutput(); err != nil {
		return fmt.Errorf("set up: %w\n%s", err, out)
	}
	if b.wreck != nil {
		make := b.makeWreck
		if b.bucket {
			make = b.makeWreckAtSwap
		}
		if err := make(ctx); err != nil {
			return err
		}
	}
	var err error
	if b.secrets, err = b.revoked(filepath.Join(b.dir, "images")); err != nil {
		return err
	}
	repo, err := b.copy("unbroken")
	if err != nil {
		return err
	}
	if b.before, err = b.look(repo); err != nil {
		return fmt.Errorf("before the command: %w", err)
	}
	if b.found, err = b.find(repo); err != nil {
		return err
	}
	if len(b.found) < len(b.secrets) {
		return fmt.Errorf("before the command: what is to be revoked lies only in %q", b.found)
	}
	for i := range 2 {
		if out, err := b.publishRun(ctx, repo, b.command()...); err != nil && (i == 0 || !b.done(err)) {
			return fmt.Errorf("unbroken: %w\n%s", err, out)
		}
		s, err := b.look(repo)
		if err != nil {
			return fmt.Errorf("after the unbroken command: %w", err)
		}
		b.after = append(b.after, s)
	}
	if err := b.through(ctx, repo); err != nil {
		return fmt.Errorf("unbroken: %w", err)
	}
	return b.discard(repo)
}

// discard removes a copy of the repository.
func (b *bench) discard(repo string) error {
	b.shops.close(repo)
	return os.RemoveAll(filepath.Dir(repo))
}

// makeWreck replaces the template by one in which a command was killed at its
// switch: the rename onto REPO/production.
func (b *bench) makeWreck(ctx context.Context) error {
	repo, err := b.copy("wreck-trace")
	if err != nil {
		return err
	}
	result, err := trace.Run(ctx, trace.List(), append([]string{b.publish}, b.wreck...), b.env(repo), repo)
	if err != nil {
		return err
	}
	point := 0
	for _, call := range result.Calls {
		for _, target := range call.Targets {
			if strings.HasPrefix(call.Name, "rename") && target == filepath.Join(repo, "production") {
				point = call.N
			}
		}
	}
	if point == 0 {
		return fmt.Errorf("%v never renames onto production", b.wreck)
	}
	if b.scenario.after {
		point++
	}
	// In a copy again: what a command finds in the hash cache depends on
	// whether its files were copied, and the number of its calls on that.
	if repo, err = b.copy("wreck"); err != nil {
		return err
	}
	result, err = trace.Run(ctx, trace.Kill(point), append([]string{b.publish}, b.wreck...), b.env(repo), repo)
	if err == nil && !result.Hit {
		err = fmt.Errorf("%v ended before call %d", b.wreck, point)
	}
	b.template = repo
	return err
}

// points tries one fault at every call, until a run ends without meeting it.
func (b *bench) points(ctx context.Context, f fault) (tried, broken int, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next, ended := 1, false
	for range b.workers {
		wg.Go(func() {
			for {
				mu.Lock()
				n := next
				next += b.step
				stop := ended || err != nil || ctx.Err() != nil
				mu.Unlock()
				if stop {
					return
				}
				hit, what, problem := b.point(ctx, f, n)
				mu.Lock()
				switch {
				case ctx.Err() != nil:
					err = ctx.Err()
				case !hit && problem != nil:
					err = problem
				case !hit:
					ended = true
				default:
					tried++
					if problem != nil {
						broken++
						fmt.Printf("BROKEN %s/%s %s at %s: %v\n", b.name, b.mode, f.name, what, problem)
					} else if b.verbose {
						fmt.Printf("ok     %s/%s %s at %s\n", b.name, b.mode, f.name, what)
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return tried, broken, err
}

// point tries one. When hit is false a problem is one of this program.
func (b *bench) point(ctx context.Context, f fault, n int) (hit bool, what string, problem error) {
	repo, err := b.copy(fmt.Sprintf("%s-%d", f.name, n))
	if err != nil {
		return false, "", err
	}
	mode := trace.Mode{N: n, Errno: f.errno, Sticky: f.sticky}
	// For a command that hangs, and not for one on a slow machine.
	limited, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	var result *trace.Result
	if f.request != nil {
		result, what, err = b.atRequest(limited, repo, b.command(), f, func(r storetest.Request) bool { return r.N == n })
	} else {
		result, err = trace.Run(limited, mode, append([]string{b.publish}, b.command()...), b.env(repo), repo)
	}
	if err != nil {
		return false, "", fmt.Errorf("call %d: %w", n, err)
	}
	switch {
	case result.Hit && f.request != nil:
		problem = b.judge(limited, repo, f, result)
	case result.Hit:
		call := result.Calls[n-1]
		for i, target := range call.Targets {
			if rel, err := filepath.Rel(repo, target); err == nil {
				call.Targets[i] = rel
			}
		}
		what = call.String()
		problem = b.judge(limited, repo, f, result)
	}
	b.shops.close(repo)
	if problem == nil || !b.keep {
		os.RemoveAll(filepath.Dir(repo))
	}
	return result.Hit, what, problem
}

func (b *bench) command() []string { return b.args(filepath.Join(b.dir, "images"), b.mode, b.template) }

func (b *bench) env(repo string) []string {
	env := []string{"PUBLISH=" + b.publish, "MODE=" + b.mode, "IMAGES=" + filepath.Join(b.dir, "images"),
		"HUB=" + b.hub}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PUBLISH_") {
			env = append(env, e)
		}
	}
	if b.bucket {
		env = append(env, b.shops.get(repo).env()...)
	}
	return env
}

func (b *bench) publishRun(ctx context.Context, repo string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, b.publish, args...)
	cmd.Dir, cmd.Env = repo, b.env(repo)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return append(stdout.Bytes(), stderr.Bytes()...), fmt.Errorf("%s: %w", strconv.Quote(strings.Join(args, " ")),
			err)
	}
	return stdout.Bytes(), nil
}

// copy makes a repository of its own, at a path that ends alike for all.
func (b *bench) copy(name string) (string, error) {
	repo := filepath.Join(b.root, name, "repo")
	if err := os.MkdirAll(filepath.Dir(repo), 0o755); err != nil {
		return "", err
	}
	if out, err := exec.Command("cp", "-a", b.template, repo).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cp: %w\n%s", err, out)
	}
	if b.bucket {
		if err := b.shops.open(repo, b.template); err != nil {
			return "", err
		}
	}
	if b.fresh != "" {
		fresh := exec.Command("sh", "-ec", b.fresh)
		fresh.Dir, fresh.Env = repo, b.env(repo)
		if out, err := fresh.CombinedOutput(); err != nil {
			return "", fmt.Errorf("fresh: %w\n%s", err, out)
		}
	}
	return repo, nil
}
