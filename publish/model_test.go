package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lock"
)

// The model test runs random sequences of commands, crashes, failures and clock steps.
// It compares the repository, seen from outside, with a small model: what production
// shows, what any client may still ask for, and what the history has said so far. The
// commands are in model_commands_test.go.

var modelTime = flag.Duration("model", 0, "run the model test for this long, not -rapid.checks sequences once")

// model is what must be true of the repository.
type model struct {
	*world
	runs *runs

	before   map[int]shownTree         // what the last command left
	ran      bool                      // a command ran since the last check
	number   int                       // production's generation
	live     map[string]string         // what production's index names, by product/version
	was      map[string]string         // what was live before
	staged   map[string]string         // what staging's index names
	shown    map[int]map[string]string // what each generation showed, without what was revoked since
	paths    map[string]string         // the bytes of all content that was ever served, by path
	left     map[string]time.Time      // when a path left the own rows; absent while it is there
	top      time.Time                 // the latest time at which a command ran: a gc may have run then
	lines    string                    // the history so far
	switches []journal.Event
	retired  map[int]time.Time // when production went away from a generation
	newest   time.Time         // of the history's lines
	pins     map[int]bool
	held     bool
	revoked  map[string]bool // contents

	plan    *Plan // a plan that was made earlier
	planned string
}

// runs counts what was executed.
type runs struct {
	sequences, switches, crashes, failures int
	commands                               map[string]int
}

func (c *runs) String() string {
	n := 0
	for _, k := range c.commands {
		n += k
	}
	return fmt.Sprintf("%d sequences, %d commands %v, %d killed, %d with a step that failed, %d switches", c.sequences,
		n, c.commands, c.crashes, c.failures, c.switches)
}

func TestModel(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		base := fastDir(t)
		c := &runs{commands: map[string]int{}}
		defer func() {
			broken := 0
			if t.Failed() {
				broken = 1 // where it stops
			}
			fmt.Printf("%s: %s, %d broken promises\n", mode, c, broken)
		}()
		sequences(t)
		for start := time.Now(); ; {
			rapid.Check(t, func(rt *rapid.T) {
				c.sequences++
				m := newModel(rt, filepath.Join(base, fmt.Sprint(c.sequences)), mode, c)
				defer os.RemoveAll(m.dir)
				rt.Repeat(m.commands(rt))
			})
			if time.Since(start) >= *modelTime {
				break
			}
		}
	})
}

func newModel(rt *rapid.T, dir, mode string, c *runs) *model {
	if err := Init(dir, choices, InitOptions{Switch: mode}); err != nil {
		rt.Fatal(err)
	}
	keep := rapid.SampledFrom([]int{0, 0, 2}).Draw(rt, "keep")
	checked := rapid.IntRange(0, 3).Draw(rt, "health check") == 0
	config := DefaultConfig(choices)
	config.Switch, config.Generations.Keep = mode, keep
	config.Retention = []RetentionRule{{Match: "*", KeepLast: 1}}
	if checked {
		config.HealthCheck.Command = []string{"test", "!", "-e", "sick"} // in the repository's directory
	}
	w := &world{t: rt, dir: dir, now: epoch, config: config}
	w.format = rapid.SampledFrom([]catalog.Format{listed{}, naming{}}).Draw(rt, "format")
	w.closeBytes = rapid.SampledFrom([]int64{0, 1, 1500}).Draw(rt, "close the history after")
	m := &model{world: w, runs: c, live: map[string]string{}, was: map[string]string{}, staged: map[string]string{},
		shown: map[int]map[string]string{},
		paths: map[string]string{}, left: map[string]time.Time{}, retired: map[int]time.Time{}, pins: map[int]bool{},
		revoked: map[string]bool{}}
	m.put(m.staged)
	m.readLines()
	return m
}

// sequences sets how many sequences rapid.Check runs, unless -rapid.checks is given:
// 100, rapid's default, for make check; otherwise a few.
func sequences(t *testing.T) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !long && !given {
		must(t, flag.Lookup("rapid.checks").Value.Set("15"))
	}
}

// fastDir is a directory in memory, if there is one, because the test runs thousands
// of commands that flush files.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "publish-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// command describes the possible outcomes of a command, in addition to no change at
// all. The functions are called after it has run.
type command struct {
	run     func(*Repo) error
	live    func() map[string]string // what production shows afterwards; nil: the same as before
	staged  func() map[string]string // what staging names afterwards; nil: the same as before
	refused bool                     // it may be refused, or find nothing
	revokes string                   // a content that is removed everywhere
	beside  bool                     // another command runs at the same time, and may switch
}

// steps are the numbers of the steps at which a command may be stopped. A promote has
// at least 15 steps; most commands have fewer.
var steps = []int{1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20}

var errInjected = errors.New("injected")

// do runs a command, possibly with a crash or a failing step, and compares the result
// with the state before. It returns the command's error.
func (m *model) do(rt *rapid.T, c command) error {
	fault := rapid.SampledFrom([]string{"", "crash", "fail", "crash", "fail"}).Draw(rt, "fault")
	at := 0
	if fault != "" {
		at = rapid.SampledFrom(steps).Draw(rt, "step")
	}
	return m.faulty(rt, c, fault, at)
}

func (m *model) faulty(rt *rapid.T, c command, fault string, at int) error {
	before, newest := m.before, m.newest
	hit, err := m.run(c.run, fault, at)
	if m.now.After(m.top) {
		m.top = m.now
	}
	if err != nil && !hit {
		switch kind := kindOf(err); {
		case c.refused && (kind == Refused || kind == NotFound):
		case kind == Switched && m.stuck[c.revokes]:
		case kind == Switched && len(m.repo().Config.HealthCheck.Command) > 0:
		default:
			rt.Fatalf("unexpected: %v", err)
		}
	}
	m.readLines()
	behind := m.now.Before(newest) // some commands take time
	after := m.trees()
	m.comparedStaging(rt, c, err)
	if n, _ := generation.Identity(m.production()); err != nil && fault != "crash" && kindOf(err) != Switched &&
		n != m.number && !c.beside {
		rt.Fatalf("production went from generation %d to %d, and the command said only that it failed: %v", m.number, n,
			err)
	}
	m.comparedTimes(rt, before[m.number], after)
	m.comparedProduction(rt, c, err, after)
	m.comparedTrees(rt, c, before, after, behind)
	m.before, m.ran = after, true
	return err
}

// run runs a command. A crash takes the repository away from the command, so that its
// deferred calls have no effect, as if it had been killed.
func (m *model) run(f func(*Repo) error, fault string, at int) (hit bool, err error) {
	n, away := 0, m.dir+"-crashed"
	m.step = func(string) error {
		if n++; n != at || fault == "" {
			return nil
		}
		hit = true
		if fault == "fail" {
			m.runs.failures++
			return errInjected
		}
		m.runs.crashes++
		if err := os.Rename(m.dir, away); err != nil {
			m.t.Fatal(err)
		}
		panic(errInjected)
	}
	defer func() {
		m.step = nil
		if fault != "crash" || !hit {
			return
		}
		if p := recover(); p != errInjected {
			panic(p)
		}
		err = errInjected
		if err := os.Rename(away, m.dir); err != nil {
			m.t.Fatal(err)
		}
		// This process continues, and so does every lock that the command could not
		// release.
		for _, name := range []string{"lock", "prepare.lock", "staging.lock"} {
			path := filepath.Join(m.dir, ".publish", name)
			must(m.t, os.Remove(path))
			must(m.t, lock.Create(path, lock.Private()))
		}
	}()
	err = f(m.repo())
	return hit, err
}

// readLines compares the history with what it said before: only whole lines are added,
// in the order of time, and each switch begins where the previous one ended.
func (m *model) readLines() {
	text := string(bytes.Join(m.world.lines(), nil))
	added, ok := strings.CutPrefix(text, m.lines)
	if !ok {
		m.t.Fatalf("the history was\n%sand is\n%s", m.lines, text)
	}
	m.lines = text
	for line := range strings.Lines(added) {
		var e journal.Event
		if err := json.Unmarshal([]byte(line[9:]), &e); err != nil {
			m.t.Fatal(err)
		}
		if e.Kind == journal.KindClock {
			for n, at := range m.retired {
				m.retired[n] = earlier(at, e.Time)
			}
			for p, at := range m.left {
				m.left[p] = earlier(at, e.Time)
			}
		} else if e.Time.Before(m.newest) {
			m.t.Fatalf("after %s: %s", m.newest, line)
		}
		m.newest = e.Time
		switch e.Kind {
		case journal.KindPin, journal.KindUnpin:
			m.pins[e.Generation] = e.Kind == journal.KindPin
		case journal.KindHold, journal.KindUnhold:
			m.held = e.Kind == journal.KindHold
		}
		if e.Kind.Switch() {
			m.readSwitch(e, line)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (m *model) readSwitch(e journal.Event, line string) {
	last := journal.Event{}
	if n := len(m.switches); n > 0 {
		last = m.switches[n-1]
	}
	origin := e.Generation
	switch e.Kind {
	case journal.KindRevoke:
		origin = last.Origin
	case journal.KindRevert, journal.KindAutoRevert:
		if origin = e.Origin; m.origin(origin) != origin || origin == last.Origin {
			m.t.Fatalf("its origin is none: %s", line)
		}
	}
	if e.From != last.Generation || e.Generation <= last.Generation || e.Origin != origin || e.Who != "tester" {
		m.t.Fatalf("the switch after generation %d, with origin %d: %s", last.Generation, last.Origin, line)
	}
	m.switches = append(m.switches, e)
	m.runs.switches++
	m.retired[e.From] = e.Time
}

// origin returns the generation whose content generation n shows.
func (m *model) origin(n int) int {
	for _, e := range m.switches {
		if e.Generation == n {
			return e.Origin
		}
	}
	return 0
}

// previous returns the origin of what was live before the content that generation n
// shows.
func (m *model) previous(n int) int {
	for _, e := range m.switches {
		if e.Generation == m.origin(n) {
			return m.origin(e.From)
		}
	}
	return 0
}

// check checks what holds at any time, whatever a crash has left.
func (m *model) check(rt *rapid.T) {
	if m.number == 0 {
		return
	}
	checkSpare(rt, m.world)
	served := m.before[m.number].files
	serving := catalog.Serving(m.format) != nil
	named, _ := m.named()
	for p, data := range m.paths {
		left, gone := m.left[p]
		if gone && !m.top.Before(left.Add(2*time.Hour)) {
			continue
		}
		if served[p] != data {
			rt.Fatalf("%s (left %s, now %s): %q, want %q", p, left, m.now, served[p], data)
		}
		if serving && !named[sumOf(data)] {
			rt.Fatalf("%s (left %s, now %s) is served, and the index does not name it", p, left, m.now)
		}
	}
	for sum := range named {
		if serving && !slices.ContainsFunc(slices.Collect(maps.Values(served)), func(data string) bool { return sumOf(data) == sum }) {
			rt.Fatalf("the index names %s, which is not served", sum)
		}
	}
	for _, e := range m.switches {
		// Revoked content is no longer in the origin; --force may have brought it back
		// since.
		a, b := m.shown[e.Generation], m.shown[e.Origin]
		if a != nil && b != nil && !maps.Equal(a, b) {
			rt.Fatalf("generation %d shows %v, and its origin %d %v", e.Generation, a, e.Origin, b)
		}
	}
	if !m.ran {
		return
	}
	m.ran = false
	st, err := m.repo().Status(ctx)
	if err != nil {
		rt.Fatal(err)
	}
	if last := len(m.switches) - 1; !st.RecoveryPending && (last < 0 || m.switches[last].Generation != m.number) {
		rt.Fatalf("the history does not name the switch to %d", m.number)
	}
	if behind := m.now.Before(m.newest); st.ClockBehind != behind {
		rt.Fatalf("status says that the clock is behind: %v", st.ClockBehind)
	}
	m.verify(rt, "")
}

func (m *model) verify(rt *rapid.T, name string) {
	if report, _, err := m.repo().Verify(ctx, name, false); err != nil || len(report.Errors()) != 0 {
		rt.Fatalf("verify %s: %+v, %v", name, report, err)
	}
}

// shownTree is the tree of a generation, seen from outside.
type shownTree struct {
	number int
	items  map[string]string // what its index names and exists: it may be redacted
	files  map[string]string // all files, by path
	times  map[string]time.Time
}

// trees reads production and the trees that it was, wherever a crash has left
// them.
func (m *model) trees() map[int]shownTree {
	out := map[int]shownTree{}
	number, _ := generation.Identity(m.production())
	dirs := []string{m.production()}
	list, err := os.ReadDir(filepath.Join(m.dir, "generations"))
	must(m.t, err)
	for _, d := range list {
		// An exchange brings the old tree back under the new one's name.
		if _, ok := generation.ParseNumber(strings.TrimPrefix(d.Name(), generation.NextPrefix)); ok {
			dirs = append(dirs, filepath.Join(m.dir, "generations", d.Name()))
		}
	}
	for _, dir := range dirs {
		n, err := generation.Identity(dir)
		if _, have := out[n]; err != nil || n == 0 || n > number || have {
			continue // never production, or production itself
		}
		tree := shownTree{number: n, files: m.filesIn(dir), times: map[string]time.Time{}}
		for p := range tree.files {
			fi, err := os.Stat(filepath.Join(dir, p))
			must(m.t, err)
			tree.times[p] = fi.ModTime()
		}
		tree.items, _ = m.index(dir)
		out[n] = tree
	}
	return out
}
