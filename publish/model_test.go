package publish

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The model test runs random sequences of commands, crashes and clock steps
// and holds production against a model of a few lines: what it shows, and what
// any client may still ask for.

// model is what must be true of production.
type model struct {
	items  map[string]string    // what production's index names
	paths  map[string]string    // path to bytes of all content that was ever served
	left   map[string]time.Time // when a path left the own rows; absent while it is there
	number int                  // production's generation
	top    time.Time            // the latest that the clock ever was: a gc may have run then
}

// crashed is what an injected crash panics with.
type crashed struct{}

func TestModel(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		base := fastDir(t)
		runs := 0
		rapid.Check(t, func(rt *rapid.T) {
			runs++
			w := &world{t: t, dir: filepath.Join(base, fmt.Sprint(runs)), now: epoch}
			defer os.RemoveAll(w.dir)
			if err := Init(w.dir, InitOptions{Switch: mode}); err != nil {
				rt.Fatal(err)
			}
			m := &model{items: map[string]string{}, paths: map[string]string{}, left: map[string]time.Time{}}
			staged := map[string]string{}
			rt.Repeat(map[string]func(*rapid.T){
				"stage": func(rt *rapid.T) {
					staged = map[string]string{}
					for _, v := range rapid.SliceOfNDistinct(rapid.IntRange(1, 6), 1, 4, rapid.ID).Draw(rt, "versions") {
						staged[fmt.Sprintf("a/%d", v)] = fmt.Sprintf("content %d", v)
					}
					w.put(staged)
				},
				"clock": func(rt *rapid.T) {
					w.now = w.now.Add(time.Duration(rapid.IntRange(-30, 100).Draw(rt, "minutes")) * time.Minute)
				},
				"promote": func(rt *rapid.T) {
					force := rapid.Bool().Draw(rt, "force")
					m.run(rt, w, maps.Clone(staged), func(r *Repo) error {
						_, err := r.Promote(ctx, PromoteOptions{Force: force})
						return err
					}, crashPoint(rt))
				},
				"revert": func(rt *rapid.T) {
					to := rapid.IntRange(0, 8).Draw(rt, "to")
					m.run(rt, w, nil, func(r *Repo) error {
						_, err := r.Revert(ctx, RevertOptions{To: to})
						return err
					}, crashPoint(rt))
				},
				"gc": func(rt *rapid.T) {
					m.run(rt, w, nil, func(r *Repo) error { _, err := r.GC(ctx, false); return err }, crashPoint(rt))
				},
				"prune": func(rt *rapid.T) {
					m.run(rt, w, nil, func(r *Repo) error {
						r.Config.Retention = []RetentionRule{{Match: "*", KeepLast: 1}}
						_, err := r.Prune(ctx, PruneOptions{})
						return err
					}, crashPoint(rt))
				},
				"revoke": func(rt *rapid.T) {
					v := rapid.IntRange(1, 6).Draw(rt, "version")
					key, data := fmt.Sprintf("a/%d", v), fmt.Sprintf("content %d", v)
					was, err := w.repo().graveyard()
					if err != nil {
						rt.Fatal(err)
					}
					number := m.number
					m.run(rt, w, nil, func(r *Repo) error {
						_, err := r.Revoke(ctx, RevokeOptions{What: []string{key}, Why: "leaked"})
						return err
					}, crashPoint(rt))
					now, err := w.repo().graveyard()
					if err != nil {
						rt.Fatal(err)
					}
					if m.number > number || len(now.lines) > len(was.lines) {
						// The promise is taken back. Staging loses what it has until
						// the recovery, so that comes before the builder does.
						if _, err := w.repo().Recover(ctx); err != nil {
							rt.Fatal(err)
						}
						nowhere(t, w, data)
						delete(staged, key)
						for p, have := range m.paths {
							if have == data {
								delete(m.paths, p)
								delete(m.left, p)
							}
						}
					}
				},
				"recover": func(rt *rapid.T) {
					m.run(rt, w, nil, func(r *Repo) error { _, err := r.Recover(ctx); return err }, 0)
				},
				"hold": func(rt *rapid.T) {
					m.run(rt, w, nil, func(r *Repo) error {
						if err := r.Hold(ctx, "test"); err != nil {
							return r.Unhold(ctx)
						}
						return nil
					}, 0)
				},
				"": func(rt *rapid.T) { m.check(rt, w) },
			})
		})
	})
}

// fastDir is a directory in memory where there is one: the model runs
// thousands of commands, each with its flushes.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "publish-model-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// crashPoint draws the step at which to crash; 0 for none.
func crashPoint(rt *rapid.T) int {
	if rapid.IntRange(0, 2).Draw(rt, "crash") > 0 {
		return 0
	}
	return rapid.IntRange(1, 15).Draw(rt, "point")
}

// run runs a command, perhaps into a crash, and brings the model up to date
// with what production resolves to, which is the truth.
func (m *model) run(rt *rapid.T, w *world, staged map[string]string, f func(*Repo) error, point int) {
	before := maps.Clone(m.items)
	n := 0
	w.step = func(string) error {
		if n++; n == point {
			panic(crashed{})
		}
		return nil
	}
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				if _, ok := p.(crashed); !ok {
					panic(p)
				}
				err = errors.New("crashed")
			}
		}()
		return f(w.repo())
	}()
	w.step = nil
	if err != nil && err.Error() != "crashed" {
		switch kindOf(err) {
		case NotFound, Refused, Invalid:
		default:
			rt.Fatalf("unexpected: %v", err)
		}
	}
	number := 0
	if id, err := identity(w.production()); err == nil {
		number = id
	}
	if number < m.number {
		rt.Fatalf("generation %d after %d", number, m.number)
	}
	if number == m.number {
		return
	}
	m.number = number
	m.items = w.items()
	if err == nil && staged != nil && fmt.Sprint(m.items) != fmt.Sprint(staged) {
		rt.Fatalf("promoted %v, production has %v", staged, m.items)
	}
	own := map[string]bool{}
	for _, data := range m.items {
		own[data] = true
	}
	for p, data := range w.served() {
		if p != "index.json" {
			m.paths[p] = data
		}
	}
	was := map[string]bool{}
	for _, data := range before {
		was[data] = true
	}
	for p, data := range m.paths {
		switch {
		case own[data]:
			delete(m.left, p)
		case was[data]:
			m.left[p] = w.now // history's clock may be later, which only keeps it longer
		}
	}
}

func (m *model) check(rt *rapid.T, w *world) {
	if w.now.After(m.top) {
		m.top = w.now
	}
	if m.number == 0 {
		return
	}
	if got := w.items(); fmt.Sprint(got) != fmt.Sprint(m.items) {
		rt.Fatalf("production changed without a switch: %v, was %v", got, m.items)
	}
	served := w.served()
	for p, data := range m.paths {
		left, gone := m.left[p]
		if gone && !m.top.Before(left.Add(2*time.Hour)) {
			continue
		}
		if served[p] != data {
			rt.Fatalf("%s (left %s, now %s): %q, want %q", p, left, w.now, served[p], data)
		}
	}
	// Whatever state a crash left, readers' commands answer.
	if _, err := w.repo().Status(ctx); err != nil {
		rt.Fatal(err)
	}
	if report, _, err := w.repo().Verify(ctx, ""); err != nil || len(report.Errors()) != 0 {
		rt.Fatalf("verify: %+v, %v", report, err)
	}
}
