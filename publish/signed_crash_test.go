package publish

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// signedWorld has three signed generations, of which the first is due, and a staging tree that
// differs.
func signedWorld(t *testing.T, mode string, keys *signers) *world {
	w := newSigned(t, fastDir(t), mode, keys)
	for _, images := range []map[string]string{{"1": "one"}, {"1": "one", "2": "two"}, signedOld} {
		w.shelve(images)
		w.promote()
		w.now = w.now.Add(time.Minute)
	}
	w.shelve(signedNew)
	w.cfg = crashConfig
	return w
}

var (
	signedOld = map[string]string{"2": "two", "3": "three"}
	signedNew = map[string]string{"3": "three", "4": "four"}
)

// wantSigned checks that production is one of some trees, signed as the generation that it is.
func (w *world) wantSigned(t *testing.T, keys *signers, allowed ...map[string]string) {
	t.Helper()
	n, err := w.repo().site.Live(ctx)
	if err != nil {
		t.Fatal(err)
	}
	images, err := keys.wantSigned(in(w.production()), n, w.now.Add(time.Hour))
	if err != nil {
		t.Fatalf("generation %d: %v", n, err)
	}
	if !slices.ContainsFunc(allowed, func(m map[string]string) bool { return maps.Equal(m, images) }) {
		t.Fatalf("generation %d: has %v", n, images)
	}
}

// At every instant production is one whole tree that its signatures are of.
func TestCrashSigned(t *testing.T) {
	keys := newSigners(t)
	both(t, func(t *testing.T, mode string) {
		turn := slices.Index(sites.Names(), mode) // the gate stops each step in one of them
		for verb, after := range map[string]map[string]string{
			"signed promote": signedNew,
			"signed revert":  {"1": "one", "2": "two"},
			"signed revoke":  {"3": "three"},
			"signed sign":    signedOld,
		} {
			t.Run(verb, func(t *testing.T) {
				w := signedWorld(t, mode, keys)
				var steps []string
				w.step = func(name string) error { steps = append(steps, name); return nil }
				must(t, crashVerbs[verb](w.repo()))
				w.wantSigned(t, keys, after)
				if len(steps) < 10 {
					t.Fatal(steps)
				}
				for i, name := range steps {
					if !faults && i%2 != turn {
						continue
					}
					for _, how := range ways(i / 2) {
						t.Run(fmt.Sprintf("%d-%s-%s", i+1, name, how), func(t *testing.T) {
							w := signedWorld(t, mode, keys)
							crash(t, w, verb, i+1, how)
							w.wantSigned(t, keys, signedOld, after)
							if _, err := w.repo().Recover(ctx); err != nil {
								t.Fatal(err)
							}
							w.wantSigned(t, keys, signedOld, after)
							checkRecovered(t, w)
							w.shelve(map[string]string{"5": "five"})
							if res := w.promote(); res.Unchanged {
								t.Fatal("unchanged")
							}
							w.wantSigned(t, keys, map[string]string{"5": "five"})
							checkRecovered(t, w)
						})
					}
				}
			})
		}
	})
}
