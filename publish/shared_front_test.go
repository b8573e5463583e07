package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
)

// What an operator reverted on this machine stays out, also when another machine has
// promoted on top of the revert.
func TestSharedRevertHere(t *testing.T) {
	store := newStore()
	a := newMachine(t, store, "ada")
	a.put(map[string]string{"a/1": "one"})
	a.promote()
	a.stageAlso(map[string]string{"a/2": "bad"})
	a.promote()
	if _, err := a.repo().Revert(ctx, RevertOptions{Message: "does not boot"}); err != nil {
		t.Fatal(err)
	}
	b := newMachine(t, store, "bob")
	b.stageAlso(map[string]string{"b/1": "uno"})
	b.promote()
	for _, more := range []string{"", "c/1"} { // the tree that was reverted, and one with more
		if more != "" {
			a.stageAlso(map[string]string{more: "tre"})
		}
		_, err := a.repo().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Refused)
		if !strings.Contains(err.Error(), "reverted") {
			t.Fatal(err)
		}
	}
	a.wantLive(map[string]string{"a/1": "one", "b/1": "uno"})
	if _, err := a.repo().Remove(ctx, "a/2"); err != nil {
		t.Fatal(err)
	}
	a.promote()
	a.wantLive(map[string]string{"a/1": "one", "b/1": "uno", "c/1": "tre"})
}

// An operator may insist, or go forward again.
func TestSharedRevertHereAgain(t *testing.T) {
	for _, forward := range []bool{false, true} {
		store := newStore()
		a := newMachine(t, store, "ada")
		a.put(map[string]string{"a/1": "one"})
		a.promote()
		a.stageAlso(map[string]string{"a/2": "good after all"})
		a.promote()
		if _, err := a.repo().Revert(ctx, RevertOptions{}); err != nil {
			t.Fatal(err)
		}
		b := newMachine(t, store, "bob")
		if forward {
			if _, err := b.repo().Revert(ctx, RevertOptions{To: 2}); err != nil {
				t.Fatal(err)
			}
		} else {
			b.stageAlso(map[string]string{"b/1": "uno"})
			b.promote()
		}
		a.stageAlso(map[string]string{"c/1": "tre"})
		if _, err := a.repo().Promote(ctx, PromoteOptions{Force: !forward}); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"a/1": "one", "a/2": "good after all", "c/1": "tre"}
		if !forward {
			want["b/1"] = "uno"
		}
		a.wantLive(want)
	}
}

// Status and diff say that others promoted since staging was made.
func TestSharedBehind(t *testing.T) {
	store := newStore()
	a := newMachine(t, store, "ada")
	a.put(map[string]string{"a/1": "one"})
	a.promote()
	b := newMachine(t, store, "bob")
	b.stageAlso(map[string]string{"b/1": "uno"})
	for want := range 2 {
		st, err := a.repo().Status(ctx)
		if err != nil || st.Staging.Base != want {
			t.Fatalf("%+v, %v", st, err)
		}
		d, err := a.repo().Diff(ctx, "production", "staging")
		if err != nil || d.Base != want {
			t.Fatalf("%+v, %v", d, err)
		}
		b.promote()
	}
	a.promote()
	if st, err := a.repo().Status(ctx); err != nil || st.Staging.Base != 0 || !st.Staging.Equal {
		t.Fatalf("%+v, %v", st, err)
	}
}

// The copies of manifests may have no room: a revert needs none.
func TestSharedNoCopies(t *testing.T) {
	store := newStore()
	a := newMachine(t, store, "ada")
	a.put(map[string]string{"a/1": "one"})
	a.promote()
	a.put(map[string]string{"a/2": "two"})
	a.promote()
	r := newMachine(t, store, "bob").repo()
	r.store.Manifests += "/missing"
	if m, err := r.manifest(1); err != nil || m.Generation != 1 {
		t.Fatal(m, err)
	}
}

// An error names its object once.
func TestSharedErrorsNameOnce(t *testing.T) {
	r := newMachine(t, newStore(), "ada").repo()
	const at = "s3://images/p"
	refusal := &bucket.Refusal{Err: errors.New(at + "/a/b: the store says 403 AccessDenied"), Hint: "get rights"}
	r.Config.Production = at
	for _, err := range []error{refusal, fmt.Errorf("a/b: %w", refusal)} {
		got := r.shared.explain(err)
		e := new(Error)
		if !errors.As(got, &e) || e.Error() != at+"/a/b: the store says 403 AccessDenied" || e.Hint != "get rights" ||
			!errors.Is(got, err) {
			t.Errorf("%v", got)
		}
	}
	if got := r.shared.explain(generation.ErrNewer).Error(); !strings.HasPrefix(got, at+": ") {
		t.Error(got)
	}
}

// What a promote and a revert ask the store for, where all is new that can be.
func TestSharedRequests(t *testing.T) {
	store := newStore()
	a := newMachine(t, store, "ada")
	a.put(map[string]string{"a/1": "one"})
	a.promote()
	a.stageAlso(map[string]string{"a/2": "two"})
	var list []string
	store.Before = func(_ context.Context, r buckettest.Request) error {
		list = append(list, fmt.Sprintf("%v %v", r.Op, r.Key))
		return nil
	}
	a.promote()
	// The pointer, twice, the content, the document, manifest, event, pointer.
	if len(list) > 7 {
		t.Errorf("%d requests:\n%s", len(list), strings.Join(list, "\n"))
	}
	list = nil
	if _, err := a.repo().Revert(ctx, RevertOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(list) > 5 {
		t.Errorf("%d requests:\n%s", len(list), strings.Join(list, "\n"))
	}
	list = nil
	if _, err := a.repo().Status(ctx); err != nil || len(list) > 2 {
		t.Errorf("%v, %d requests:\n%s", err, len(list), strings.Join(list, "\n"))
	}
}

// Who knew a production finds another one at its place.
func TestSharedFoundAnew(t *testing.T) {
	store := newStore()
	a := newMachine(t, store, "ada")
	a.put(map[string]string{"a/1": "one"})
	a.promote()
	a.store = newStore()
	newMachine(t, a.store, "eve").put(nil)
	_, err := a.repo().Status(ctx)
	wantKind(t, err, Refused)
	a.store = newStore()
	_, err = a.repo().Status(ctx)
	wantKind(t, err, Failed)
	if !strings.Contains(err.Error(), "has no production") {
		t.Error(err)
	}
}
