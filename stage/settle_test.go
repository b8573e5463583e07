package stage

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"example.com/publish/stage/lock"
	"example.com/publish/stage/oci"
)

// What has to be hashed is hashed without the lock, and staging is read again under it only
// if it has changed since. When all is known, it is read under the lock.
func TestSettle(t *testing.T) {
	s := newStage(t)
	s.Format = oci.Format{}
	layer := layoutBySHA512(t, s, "the layer")
	now := stat(t, layer).ModTime().Add(2 * time.Second)
	var held []bool // whether the lock was, when files were read
	s.Progress = func(string, int64) func(int64) {
		unlock, err := lock.Acquire(t.Context(), s.Lock, lock.Options{Verb: "test", Now: now})
		if held = append(held, err != nil); err == nil {
			unlock()
		}
		return nil
	}
	for i, want := range [][]bool{{false}, {true}} {
		held = nil
		got, unlock, err := s.Settle(t.Context(), "test", Checks{Now: now})
		must(t, err)
		if _, err := lock.Acquire(t.Context(), s.Lock, lock.Options{Verb: "test", Now: now}); err == nil {
			t.Fatal("the lock is free")
		}
		unlock()
		if len(got.Report.Findings) != 0 || len(got.Rows) != 5 || !slices.Equal(held, want) {
			t.Errorf("%d: held %v, %+v, %v", i, held, got.Report, got.Rows)
		}
	}
	// What came in between is found under the lock.
	must(t, os.WriteFile(layer, []byte("another l"), 0o644))
	s.Progress = func(string, int64) func(int64) {
		s.Progress = nil
		must(t, os.WriteFile(layer, []byte("a third l"), 0o644))
		return nil
	}
	got, unlock, err := s.Settle(t.Context(), "test", Checks{Now: now.Add(time.Hour)})
	must(t, err)
	unlock()
	if f := got.Report.Errors(); len(f) != 1 || f[0].Code != "hash-mismatch" {
		t.Errorf("%v", f)
	}
	// So is what an index says now.
	index := filepath.Join(s.Dir, "acme", "app", "index.json")
	must(t, os.WriteFile(layer, []byte("the layer"), 0o644))
	s.Progress = func(string, int64) func(int64) {
		s.Progress = nil
		must(t, os.WriteFile(index, []byte(`{"schemaVersion":2,"manifests":[]}`), 0o644))
		return nil
	}
	got, unlock, err = s.Settle(t.Context(), "test", Checks{Now: now.Add(time.Hour)})
	must(t, err)
	unlock()
	if len(got.Catalog.Images) != 0 || len(got.Strays) != 3 {
		t.Errorf("%v, %v", got.Catalog.Images, got.Strays)
	}
	// An error leaves the lock free.
	must(t, os.RemoveAll(s.Dir))
	if _, _, err := s.Settle(t.Context(), "test", Checks{Now: now}); err == nil {
		t.Error("there is no staging")
	}
	if unlock, err = lock.Acquire(t.Context(), s.Lock, lock.Options{Verb: "test", Now: now}); err != nil {
		t.Fatal(err)
	}
	unlock()
}

// A manifest and a config that were read and checked by their digest are not read again
// to be hashed.
func TestManifestIsReadOnce(t *testing.T) {
	s := newStage(t)
	s.Format = oci.Format{}
	layer := layoutBySHA512(t, s, "the layer")
	size := func(name ...string) int64 { return stat(t, append([]string{s.Dir, "acme", "app"}, name...)...).Size() }
	want := size("oci-layout") + size("index.json") + int64(len("the layer"))
	manifest := filepath.Join(s.Dir, "acme", "app", "blobs", "sha256")
	for i, now := range []time.Time{stat(t, layer).ModTime().Add(2 * time.Second), stat(t, layer).ModTime()} {
		if i == 1 { // they are so young that somebody may still be writing them
			must(t, os.RemoveAll(s.Hashes))
			names, err := os.ReadDir(manifest)
			must(t, err)
			for _, n := range names {
				fi, err := n.Info()
				must(t, err)
				want += fi.Size()
			}
		}
		got, err := s.Validate(t.Context(), Checks{Now: now})
		must(t, err)
		if len(got.Report.Findings) != 0 || got.Report.HashedBytes != want {
			t.Errorf("%d: %d bytes were read, want %d: %v", i, got.Report.HashedBytes, want, got.Report.Findings)
		}
	}
}
