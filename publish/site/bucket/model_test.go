package bucket_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
)

// The model test runs processes beside each other that promote, revert, collect and sweep in
// one store. Only one of them runs at a time: each stops at each request, each step and each
// wait, and a scheduler, which follows a seed, chooses who goes on, what becomes of his
// request, who is killed, and who sleeps through many commits. After each step all that
// the pointer names must be there with the right bytes, the numbers must have risen, and each
// generation must be what its line of the history makes of the one before. In the end the
// history must have each promote that succeeded once, and the store nothing that nobody names.

var modelTime = flag.Duration("model", 0, "run the model test for this long, not some seeds once")
var modelSeed = flag.Uint64("seed", 0, "run the model test with this seed only")

const (
	grace = 10 * time.Minute
	paths = 8 // that may be in a tree
)

func TestModel(t *testing.T) {
	total := &tally{}
	defer func() { t.Log(total) }()
	if *modelSeed != 0 {
		runModel(t, *modelSeed, total)
		return
	}
	seeds := uint64(15)
	switch {
	case testing.Short():
		seeds = 8
	case os.Getenv("PUBLISH_TEST_LONG") != "":
		seeds = 20 // make model runs it for minutes, without the race detector
	}
	start := time.Now()
	for seed := uint64(1); seed <= seeds || time.Since(start) < *modelTime; seed++ {
		if *modelTime > 0 && time.Since(start) > *modelTime {
			break
		}
		if runModel(t, seed, total); t.Failed() {
			t.Fatalf("go test -run '^TestModel$' -seed %d", seed)
		}
	}
}

// tally counts what was run.
type tally struct {
	seeds, steps, faults, kills, sleeps, commits, generations, collections, outcomes, waits, refused int
	slept, slept70                                                                                   int
}

func (c *tally) String() string { return fmt.Sprintf("%+v", *c) }

// sim is one run.
type sim struct {
	t      *testing.T
	seed   uint64
	r      *rand.Rand
	store  *buckettest.Memory
	actors []*actor
	parked chan *actor
	fault  buckettest.Fault
	ticks  bool // somebody makes many commits
	tally  *tally
	trace  []string

	check    *bucket.Site
	last     []byte // the pointer
	pointer  *bucket.Pointer
	named    map[string]string // keys that must be there, with their digests; "" for any
	trees    map[int][]string  // paths of the own rows, by generation
	rows     map[string]*generation.Manifest
	switched map[int]time.Time
	lines    []modelLine // of the history, the oldest first
	results  map[string]error
}

// modelLine is a line of the history.
type modelLine struct {
	Op     string   `json:"op"`
	ID     string   `json:"id"`
	Gen    int      `json:"gen"`
	To     int      `json:"to"`
	Add    []string `json:"add"`
	Remove []string `json:"remove"`
}

// actor is a process.
type actor struct {
	id     string
	sim    *sim
	site   *bucket.Site
	ctx    context.Context
	cancel context.CancelCauseFunc
	turn   chan struct{}
	wake   time.Time   // not before
	storm  time.Time   // no request of this process succeeds until then
	frozen func() bool // is asleep as long as it is true; nil: awake
	at     string
	done   bool
	killed bool
	run    func(*actor)
}

type actorKey struct{}

func runModel(t *testing.T, seed uint64, total *tally) {
	s := &sim{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 1)), store: buckettest.New(epoch), parked: make(chan *actor),
		tally: total, trees: map[int][]string{0: nil}, rows: map[string]*generation.Manifest{},
		switched: map[int]time.Time{}, results: map[string]error{}}
	total.seeds++
	s.store.Delay = func() time.Duration { return time.Second * time.Duration(s.r.IntN(14*60)+1) }
	s.store.Before = func(ctx context.Context, r buckettest.Request) error {
		if a, ok := ctx.Value(actorKey{}).(*actor); ok {
			return a.park(r.Op+" "+r.Key, 0)
		}
		return nil
	}
	s.store.Fault = func(buckettest.Request) buckettest.Fault {
		fault := s.fault
		s.fault = buckettest.None
		return fault
	}
	s.check = bucket.New(bucket.Options{Store: &bare{s.store}, Now: s.store.Now, Sleep: s.store.Sleep})
	founder := bucket.New(bucket.Options{Store: s.store, Now: s.store.Now, Sleep: s.store.Sleep})
	if _, err := founder.Found(t.Context(), birth()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.check.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.whole()
	s.start()
	s.schedule()
	s.end()
}

// start starts the processes.
func (s *sim) start() {
	n := 0
	add := func(kind string, many int, f func(*actor)) {
		for range many {
			n++
			s.add(fmt.Sprintf("%s%d", kind, n), f)
		}
	}
	add("promote", 2+s.r.IntN(3), promoting)
	add("revert", s.r.IntN(2), reverting)
	add("gc", 1+s.r.IntN(3), collecting)
	add("orphans", s.r.IntN(2), sweeping)
	if s.ticks = s.r.IntN(4) == 0; s.ticks {
		add("tick", 1, ticking)
	}
}

func (s *sim) add(id string, f func(*actor)) {
	a := &actor{id: id, sim: s, turn: make(chan struct{}), run: f}
	ctx := context.WithValue(s.t.Context(), actorKey{}, a)
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	a.site = bucket.New(bucket.Options{Store: s.store, Workers: 1, Who: id, Now: s.store.Now,
		Step:  func(name string) error { return a.park("step "+name, 0) },
		Sleep: func(_ context.Context, d time.Duration) error { return a.park("sleep", d) }})
	a.site.SetBatch(1 + s.r.IntN(3))
	a.site.SetChance(func(d time.Duration) time.Duration { return time.Duration(s.r.Int64N(int64(d))) })
	s.actors = append(s.actors, a)
	go func() {
		if a.park("start", 0) == nil {
			if _, err := a.site.Join(a.ctx); err == nil {
				f(a)
			}
		}
		a.done = true
		s.parked <- a
	}()
	<-s.parked
}

// park stops the process until the scheduler lets it go on.
func (a *actor) park(at string, d time.Duration) error {
	if a.killed {
		return errKilled
	}
	a.at, a.wake = at, a.sim.store.Now().Add(d)
	a.sim.parked <- a
	<-a.turn
	if a.killed {
		return errKilled
	}
	return nil
}

// schedule runs the processes until all are done.
func (s *sim) schedule() {
	for !s.t.Failed() {
		var ready, asleep []*actor
		left := 0
		next := time.Time{}
		for _, a := range slices.Clone(s.actors) {
			if a.done {
				if a.killed && len(s.actors) < 16 { // somebody starts it again
					a.killed = false
					s.add(fmt.Sprintf("%s again%d", a.id, len(s.actors)), a.run)
				}
				continue
			}
			left++
			if a.frozen != nil && !a.frozen() {
				a.frozen = nil
			}
			switch {
			case a.frozen != nil:
				asleep = append(asleep, a)
			case a.wake.After(s.store.Now()):
				if next.IsZero() || a.wake.Before(next) {
					next = a.wake
				}
			default:
				ready = append(ready, a)
			}
		}
		switch {
		case left == 0:
			return
		case len(ready) > 0:
			s.step(ready[s.r.IntN(len(ready))])
		case !next.IsZero():
			s.advance(next.Sub(s.store.Now()))
		default:
			asleep[0].frozen = nil
		}
		if s.r.IntN(60) == 0 {
			s.advance(time.Second * time.Duration(s.r.IntN(300)))
		}
	}
}

func (s *sim) advance(d time.Duration) {
	s.note("%s pass", d)
	s.store.Advance(d)
	s.whole()
}

// step lets one process go on.
func (s *sim) step(a *actor) {
	s.tally.steps++
	request := !strings.HasPrefix(a.at, "step") && a.at != "sleep" && a.at != "start"
	deletes := strings.Contains(a.at, "delete")
	if s.store.Now().Before(a.storm) && request {
		s.fault = []buckettest.Fault{buckettest.NeverSent, buckettest.Lost, buckettest.Late}[s.r.IntN(3)]
	} else {
		switch n := s.r.IntN(600); {
		case n < 4 && !strings.HasPrefix(a.id, "tick") || n < 30 && deletes:
			s.sleep(a)
			return
		case n < 7 || n < 40 && deletes:
			s.kill(a)
		case n < 70 && deletes && request: // it dies, and its last request does not
			s.fault = buckettest.Late
			defer s.kill(a)
		case n < 9 || n < 60 && a.at == "swap index.json":
			a.storm = s.store.Now().Add(time.Second * time.Duration(s.r.IntN(200)))
			s.fault = []buckettest.Fault{buckettest.Lost, buckettest.Late, buckettest.Twice}[s.r.IntN(3)]
		case (n < 70 || n < 200 && deletes) && request:
			s.tally.faults++
			s.fault = buckettest.Fault(1 + s.r.IntN(int(buckettest.Cut)))
			if s.r.IntN(12) == 0 {
				defer s.kill(a)
			}
		}
	}
	s.note("%s: %s, fault %d, killed %v", a.id, a.at, s.fault, a.killed)
	a.turn <- struct{}{}
	<-s.parked
	s.fault = buckettest.None
	s.whole()
}

// sleep lets a process sleep through two gcs and, where somebody makes so many, 70 commits.
func (s *sim) sleep(a *actor) {
	s.tally.sleeps++
	seq, collections := s.pointer.Seq, s.pointer.Collections
	if s.ticks {
		seq += 70
	}
	a.frozen = func() bool {
		if s.pointer.Seq < seq || s.pointer.Collections < collections+2 {
			return true
		}
		if s.tally.slept++; s.ticks {
			s.tally.slept70++
		}
		return false
	}
	s.note("%s falls asleep at %s", a.id, a.at)
}

func (s *sim) kill(a *actor) {
	if !a.done {
		s.tally.kills++
		a.killed = true
		a.cancel(errKilled)
	}
}

func (s *sim) note(format string, args ...any) {
	s.trace = append(s.trace, s.store.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (s *sim) errorf(format string, args ...any) {
	s.t.Helper()
	if s.t.Failed() {
		return
	}
	s.t.Errorf("seed %d: %s\n%s", s.seed, fmt.Sprintf(format, args...),
		strings.Join(s.trace[max(0, len(s.trace)-60):], "\n"))
}
