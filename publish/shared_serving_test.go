package publish

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket/buckettest"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// follow opens a follower whose copies are in a directory of the test.
func (m *machine) follow(t *testing.T) *Follower {
	t.Helper()
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	f := m.repo().Follow()
	t.Cleanup(f.Close)
	return f
}

// A follower shows what it has adopted until it adopts something else, and keeps no copy
// of what production has forgotten.
func TestFollower(t *testing.T) {
	m := newMachine(t, newStore(), "ada")
	f := m.follow(t)
	live, err := f.Look(ctx)
	if err != nil || live != (Live{}) {
		t.Fatalf("before the first promote: %v, %v", live, err)
	}
	if _, _, err := f.Open(ctx); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("before the first promote: %v", err)
	}
	if _, err := f.Repo().load(ctx); err == nil {
		t.Fatal("a follower that has adopted nothing shows a state")
	}
	m.put(map[string]string{"a/1": "one"})
	m.promote()
	adopt := func(n int) *generation.View {
		t.Helper()
		live, err := f.Look(ctx)
		if err != nil || live.Generation != n {
			t.Fatalf("%v, %v, want %d", live, err, n)
		}
		v, opened, err := f.Open(ctx)
		if err != nil || opened != live || v.Generation != n {
			t.Fatalf("%v, %v", opened, err)
		}
		f.Adopt()
		t.Cleanup(func() { _ = v.Close() })
		return v
	}
	one := adopt(1)
	m.put(map[string]string{"a/2": "two"})
	m.promote()
	if s, err := f.Repo().load(ctx); err != nil || s.current.Generation != 1 {
		t.Fatalf("before the next one is adopted: %v", err)
	}
	adopt(2)
	if s, err := f.Repo().load(ctx); err != nil || s.current.Generation != 2 {
		t.Fatalf("%v", err)
	}
	kept, err := f.OpenKept(ctx, 1)
	if err != nil || one.Proved() != nil {
		t.Fatal(err, one.Proved())
	}
	defer kept.Close()
	if _, err := f.OpenKept(ctx, 7); err == nil {
		t.Fatal("generation 7 is kept")
	}

	m.store.Advance(3 * time.Hour)
	if _, err := m.repo().GC(ctx, false); err != nil {
		t.Fatal(err)
	}
	m.put(map[string]string{"a/3": "three"})
	m.promote()
	adopt(3)
	if err := kept.Proved(); !errors.Is(err, generation.ErrMoved) {
		t.Errorf("a generation that is kept no more: %v", err)
	}
	if _, err := f.OpenKept(ctx, 1); err == nil {
		t.Error("generation 1 is kept")
	}
	list, err := os.ReadDir(filepath.Join(f.dir, "trees"))
	if err != nil || len(list) != 2 {
		t.Errorf("copies: %v, %v", list, err)
	}
	f.Close()
	if !gone(f.dir) {
		t.Error("the copies are still there")
	}
}

// The copies of servers that were killed go, and those of others stay.
func TestSweepScratch(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-2 * time.Hour)
	make := func(name string, at time.Time) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(path, 0o700), durable.WriteFile(filepath.Join(path, "lock"), nil, 0o600),
			os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	killed, young, other := make("publish-serve-a", old), make("publish-serve-b", time.Now()), make("other", old)
	held := make("publish-serve-c", old)
	unlock, err := lock.Acquire(context.Background(), filepath.Join(held, "lock"), lock.Options{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	link := filepath.Join(dir, "publish-serve-d")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	sweepScratch(dir)
	for path, stays := range map[string]bool{killed: false, young: true, other: true, held: true, link: true} {
		if gone(path) == stays {
			t.Errorf("%s: stays: %v", path, !stays)
		}
	}
}

// Reading continues at any offset, and asks for no more than is expected.
func TestObjectReader(t *testing.T) {
	m := newMachine(t, newStore(), "ada")
	m.put(map[string]string{"a/1": "0123456789"})
	m.promote()
	s, err := m.repo().load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.current.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for row := range v.All() {
		if row.Size != 10 {
			continue
		}
		c, err := v.Content(ctx, row)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if n, err := c.Seek(0, io.SeekEnd); n != 10 || err != nil {
			t.Error(n, err)
		}
		if _, err := c.Seek(-1, io.SeekStart); err == nil {
			t.Error("before the beginning")
		}
		m.store.Counts()
		for _, from := range []int64{7, 0, 3, 10} {
			if _, err := c.Seek(from, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if from < 10 {
				if err := c.Far.Expect(from, 10-from); err != nil {
					t.Fatal(err)
				}
			}
			if data, err := io.ReadAll(c); string(data) != "0123456789"[from:] || err != nil {
				t.Errorf("from %d: %q, %v", from, data, err)
			}
		}
		if got, _ := m.store.Counts(); got["get"] != 3 {
			t.Errorf("%v requests", got)
		}
		m.store.Fault = func(buckettest.Request) buckettest.Fault { return buckettest.NeverSent }
		if err := c.Far.Expect(0, 10); !errors.Is(err, generation.ErrAway) {
			t.Errorf("%v", err)
		}
		return
	}
	t.Fatal("there is no such row")
}
