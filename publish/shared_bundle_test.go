package publish

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket/buckettest"
)

// gets counts the requests for content by their keys.
func (m *machine) gets() map[string]int {
	out := map[string]int{}
	m.store.Before = func(_ context.Context, r buckettest.Request) error {
		if r.Op == "get" && strings.HasPrefix(r.Key, "images/") {
			out[r.Key]++
		}
		return nil
	}
	return out
}

// content returns the key of an object with these bytes.
func (m *machine) content(data string) string {
	m.t.Helper()
	for _, key := range m.store.Keys("images/") {
		if string(m.store.Data(key)) == data {
			return key
		}
	}
	m.t.Fatalf("the store has no %q", data)
	return ""
}

// bundle is world.bundle.
func (m *machine) bundle(name, base string) []byte {
	m.t.Helper()
	var buf bytes.Buffer
	if _, err := m.repo().Bundle(ctx, &buf, name, base); err != nil {
		m.t.Fatal(err)
	}
	return buf.Bytes()
}

// onWrite discards what is written, and calls a function before.
type onWrite struct{ do func() }

func (w *onWrite) Write(p []byte) (int, error) {
	w.do()
	return len(p), nil
}

// A bundle out of a store is the one that a disk gives, and asks for each content once. What
// base has is not asked for.
func TestSharedBundle(t *testing.T) {
	m, to := newMachine(t, newStore(), "ada"), newWorld(t, "symlink")
	m.put(map[string]string{"a/1": "one", "b/1": "two", "c/1": "two", "d/1": ""})
	m.promote()
	m.put(map[string]string{"a/1": "one", "b/2": "three"})
	m.promote()
	for _, name := range []string{"1", "production"} {
		gets := m.gets()
		data := m.bundle(name, "")
		for key, n := range gets {
			if n != 1 {
				t.Errorf("%d requests for %s", n, key)
			}
		}
		if len(gets) != 2 {
			t.Errorf("%d contents were asked for, of 2 that are not empty", len(gets))
		}
		did, err := to.repo().ImportBundle(t.Context(), bytes.NewReader(data), false, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := to.promote(); got.TreeID != did.TreeID {
			t.Errorf("the tree is %s, was %s", got.TreeID, did.TreeID)
		}
	}
	gets := m.gets()
	if m.bundle("2", "1"); len(gets) != 1 {
		t.Errorf("with a base: %v", gets)
	}
}

// What is wrong with the objects is said, and no bundle has a good end then.
func TestSharedBundleOfDamage(t *testing.T) {
	export := func(m *machine, begun func()) error {
		_, err := m.repo().Bundle(ctx, &onWrite{sync.OnceFunc(begun)}, "1", "")
		return err
	}
	for name, c := range map[string]struct {
		do   func(*machine) // when the export has begun
		kind Kind
		text string
	}{
		"other bytes": {func(m *machine) { m.store.Set(m.content("one"), []byte("eno"), "x") }, Invalid, "is not what the manifest says"},
		"lost":        {func(m *machine) { m.store.Remove(m.content("one")) }, Invalid, "images/"},
		"deleted by gc": {func(m *machine) {
			m.put(map[string]string{"b/1": "two"})
			m.promote()
			m.store.Advance(24 * time.Hour)
			if _, err := m.repo().GC(ctx, false); err != nil {
				panic(err)
			}
		}, Failed, "generation 1 was deleted while it was exported"},
		"the store is gone": {func(m *machine) {
			m.store.Fault = func(r buckettest.Request) buckettest.Fault {
				if strings.HasPrefix(r.Key, "images/") {
					return buckettest.NeverSent
				}
				return buckettest.None
			}
		}, Failed, "connection reset"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, newStore(), "ada")
			m.put(map[string]string{"a/1": "one"})
			m.promote()
			if err := export(m, func() {}); err != nil {
				t.Fatal(err)
			}
			err := export(m, func() { c.do(m) })
			wantKind(t, err, c.kind)
			if !strings.Contains(err.Error(), c.text) {
				t.Error(err)
			}
		})
	}
}

// contents returns the files below images in staging.
func (m *machine) contents() (out []string) {
	m.t.Helper()
	list, err := filepath.Glob(filepath.Join(m.dir, "staging", "images", "*"))
	if err != nil {
		m.t.Fatal(err)
	}
	for _, path := range list {
		data, err := os.ReadFile(path)
		if err != nil {
			m.t.Fatal(err)
		}
		out = append(out, string(data))
	}
	return out
}

// A bundle is imported into a staging that has no content: what production has counts as
// present, what an older generation has is fetched, and anything else is not to be had.
func TestSharedImportBundle(t *testing.T) {
	from := newWorld(t, "symlink")
	from.put(map[string]string{"a/1": "one", "b/1": "two", "c/1": "old"})
	from.promote()
	from.put(map[string]string{"a/1": "one", "b/1": "two", "c/1": "old", "d/1": "new"})
	from.promote()
	without := from.bundle("2", "1")

	store := newStore()
	other := newMachine(t, store, "ada")
	other.put(map[string]string{"a/1": "one", "c/1": "old"})
	other.promote()
	other.put(map[string]string{"a/1": "one", "b/1": "two"})
	other.promote()
	m := newMachine(t, store, "bob") // joins, and has no content
	gets := m.gets()
	did, err := m.repo().ImportBundle(ctx, bytes.NewReader(without), false, false)
	if err != nil {
		t.Fatal(err)
	}
	if did.Received != 2 || len(gets) != 1 { // the index, and what is new; what generation 1 has is fetched
		t.Errorf("%+v, fetched: %v", did, gets)
	}
	if got := strings.Join(m.contents(), " "); len(m.contents()) != 2 || !strings.Contains(got, "new") ||
		!strings.Contains(got, "old") {
		t.Errorf("staging has %q", got)
	}
	res := m.promote()
	if res.TreeID != did.TreeID {
		t.Errorf("the tree is %s, was %s", res.TreeID, did.TreeID)
	}
	m.wantLive(map[string]string{"a/1": "one", "b/1": "two", "c/1": "old", "d/1": "new"})

	// Content that the store has no longer.
	m = newMachine(t, newStore(), "eve")
	m.put(map[string]string{"x/1": "other"})
	m.promote()
	_, err = m.repo().ImportBundle(ctx, bytes.NewReader(without), false, false)
	wantKind(t, err, NotFound)
	m.wantLive(map[string]string{"x/1": "other"})
	if res := m.promote(); !res.Unchanged {
		t.Error("staging was changed")
	}

	// Staging has something else where the store's would count as present.
	m = newMachine(t, store, "dan")
	at := filepath.Join(m.dir, "staging", filepath.FromSlash(m.content("one")))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte("enough"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := m.repo().ImportBundle(ctx, bytes.NewReader(from.bundle("1", "")), false, false); err != nil {
		t.Fatal(err)
	}
	m.promote()
	m.wantLive(map[string]string{"a/1": "one", "b/1": "two", "c/1": "old"})
}
