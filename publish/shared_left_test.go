package publish

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"example.com/publish/stage/plain"
)

var errKilledHere = errors.New("killed")

// killedAt is a promote of a machine that ends at a step, as if it were killed there.
func (m *machine) killedAt(step string) {
	m.t.Helper()
	m.step = stopAt(step)
	_, err := m.repo().Promote(ctx, PromoteOptions{})
	if m.step = nil; !errors.Is(err, errKilledHere) {
		m.t.Fatalf("a promote has no step %s: %v", step, err)
	}
}

// stopAt makes all steps fail from this one on.
func stopAt(step string) func(string) error {
	hit := false
	return func(name string) error {
		if hit = hit || name == step; hit {
			return errKilledHere
		}
		return nil
	}
}

// commits makes so many commits that change nothing.
func (m *machine) commits(n int) {
	m.t.Helper()
	for i := range n {
		do := m.repo().Unhold
		if i%2 == 0 {
			do = m.repo().hold
		}
		if err := do(ctx); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (r *Repo) hold(ctx context.Context) error { return r.Hold(ctx, "a commit") }

// A machine is killed when staging has what others promoted, and the record of that is not
// written. What they take out again meanwhile stays out.
func TestSharedKilledInRebase(t *testing.T) {
	for i, step := range []string{"before-rebase", "rebased", "rebased", "after-rebase"} {
		store := newStore()
		a := newMachine(t, store, "ada")
		a.put(map[string]string{"a/1": "one"})
		a.promote()
		b := newMachine(t, store, "bob")
		b.stageAlso(map[string]string{"b/1": "uno"})
		b.promote()
		a.stageAlso(map[string]string{"a/2": "two"})
		a.killedAt(step)
		b.put(map[string]string{"a/1": "one", "b/2": "due"})
		if b.promote(); i == 1 {
			if did, err := a.repo().Recover(ctx); err != nil || len(did) == 0 {
				t.Fatal(did, err)
			}
			if st, err := a.repo().Status(ctx); err != nil || st.RecoveryPending || st.Staging.Base != 2 {
				t.Fatalf("%+v, %v", st, err)
			}
		}
		a.promote()
		a.wantLive(map[string]string{"a/1": "one", "a/2": "two", "b/2": "due"})
	}
}

// A machine is killed when its commit is made, and nobody has recorded that. What others
// take out again stays out, however many commits that was ago.
func TestSharedKilledLongAgo(t *testing.T) {
	for _, n := range []int{0, 2, 70} {
		store := newStore()
		a := newMachine(t, store, "ada")
		a.put(map[string]string{"a/1": "one"})
		a.promote()
		a.stageAlso(map[string]string{"a/2": "two"})
		a.killedAt("after-swap")
		b := newMachine(t, store, "bob")
		b.commits(n)
		if _, err := b.repo().Remove(ctx, "a/2"); err != nil {
			t.Fatal(err)
		}
		b.promote()
		b.commits(n)
		a.stageAlso(map[string]string{"a/3": "three"})
		a.promote()
		a.wantLive(map[string]string{"a/1": "one", "a/3": "three"})
	}
}

// The same of a stage reset.
func TestSharedKilledInReset(t *testing.T) {
	store := newStore()
	a := newMachine(t, store, "ada")
	a.put(map[string]string{"a/1": "one"})
	a.promote()
	b := newMachine(t, store, "bob")
	b.stageAlso(map[string]string{"b/1": "uno"})
	b.promote()
	a.step = stopAt("reset")
	if _, _, err := a.repo().Reset(ctx); !errors.Is(err, errKilledHere) {
		t.Fatal(err)
	}
	a.step = nil
	b.put(map[string]string{"a/1": "one"})
	b.promote()
	if res := a.promote(); !res.Unchanged {
		t.Fatalf("%+v", res)
	}
	a.wantLive(map[string]string{"a/1": "one"})
}

// In a tree without indexes what staging lacks counts as there, except what was removed: of
// the generation that staging was made from, and not of one that it was reverted to.
func TestSharedKilledInRevert(t *testing.T) {
	for _, step := range []string{"", "after-swap"} {
		a := newMachine(t, newStore(), "ada", func(m *machine) { m.format = plain.Format{} })
		write := func(name string) {
			if err := os.WriteFile(filepath.Join(a.dir, "staging", name), []byte(name), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		write("one")
		write("two")
		a.promote()
		if _, err := a.repo().Remove(ctx, "one"); err != nil {
			t.Fatal(err)
		}
		a.promote()
		a.step = stopAt(step)
		if _, err := a.repo().Revert(ctx, RevertOptions{}); (err == nil) != (step == "") {
			t.Fatal(err)
		}
		a.step = nil
		if _, err := a.repo().Recover(ctx); err != nil {
			t.Fatal(err)
		}
		write("three")
		a.promote()
		list, err := a.repo().List(ctx, "production")
		if err != nil || len(list) != 3 {
			t.Errorf("%q: %+v, %v", step, list, err)
		}
	}
}
