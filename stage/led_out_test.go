package stage

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
)

// A builder puts a link into the place of a folder after reset has listed
// staging, and before it moves what has to go.
func TestResetIsNotLedOut(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "alpha", ""))
	v, base := promoted(t, s, &Base{})
	repo, out := filepath.Dir(s.Dir), t.TempDir()
	folder := filepath.Join(s.Dir, "notes/2025")
	must(t, os.MkdirAll(folder, 0o755))
	for _, dir := range []string{folder, out} {
		must(t, os.WriteFile(filepath.Join(dir, "page.html"), []byte(dir), 0o644))
	}
	want := contents(t, out)
	s.Progress = func(step string, _ int64) func(int64) {
		if step == "reset" {
			must(t, os.Rename(folder, filepath.Join(repo, "aside")))
			must(t, os.Symlink(out, folder))
		}
		return nil
	}
	_, _, err := s.Reset(context.Background(), base.Source, v.Rows, filepath.Join(repo, "trash"))
	if diff := cmp.Diff(want, contents(t, out)); diff != "" {
		t.Errorf("outside staging: %s", diff)
	}
	if err == nil {
		t.Error("no error")
	}
}

// A builder swaps a folder and a link all the time. Where the writes of one
// document, and those of two, fall does not matter: none comes out of staging.
func TestApplyIsNotLedOut(t *testing.T) {
	s := newPlain(t)
	out := t.TempDir()
	must(t, os.WriteFile(filepath.Join(out, "a"), []byte("mine"), 0o644))
	want := contents(t, out)
	folder, aside := filepath.Join(s.Dir, "folder"), filepath.Join(s.Dir, "aside")
	var swaps sync.WaitGroup
	for range 200 {
		must(t, os.RemoveAll(aside))
		must(t, os.RemoveAll(folder))
		must(t, os.Mkdir(folder, 0o755))
		swaps.Go(func() {
			for range 20 {
				if os.Rename(folder, aside) == nil {
					_ = os.Symlink(out, folder)
					_ = os.Remove(folder)
					_ = os.Rename(aside, folder)
				}
			}
		})
		for _, docs := range [][]catalog.Document{
			{{Path: "folder/b", Data: []byte("new")}},
			{{Path: "folder/a", Data: []byte("new")}, {Path: "folder/c", Data: []byte("new")}},
			{{Path: "folder/a"}},
		} {
			unlock, err := s.Exclusive(context.Background(), "test")
			if err != nil {
				continue // the intent of the last one meets the link
			}
			_ = s.apply(docs) // it may be refused
			unlock()
		}
		swaps.Wait()
	}
	if diff := cmp.Diff(want, contents(t, out)); diff != "" {
		t.Errorf("outside staging: %s", diff)
	}
}

// A builder leaves what looks like an old upload, and puts a link into the place
// of the directory of uploads after the sweep has listed it: here when it asks
// for the time.
func TestSweepIsNotLedOut(t *testing.T) {
	s := newPlain(t)
	out := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(out, "old/folder"), 0o755))
	must(t, os.WriteFile(filepath.Join(out, "old/folder/file"), nil, 0o644))
	want := contents(t, out)
	incoming := filepath.Join(s.Dir, Incoming)
	must(t, os.MkdirAll(filepath.Join(incoming, "old"), 0o755))
	now := s.Now
	s.Now = func() time.Time {
		if exists(filepath.Join(incoming, "old")) && os.Rename(incoming, filepath.Join(s.Dir, "aside")) == nil {
			must(t, os.Symlink(out, incoming))
		}
		return now().Add(2 * abandoned)
	}
	s.sweep()
	if diff := cmp.Diff(want, contents(t, out)); diff != "" {
		t.Errorf("outside staging: %s", diff)
	}
	if exists(filepath.Join(s.Dir, "aside/old")) {
		t.Error("the old upload stays")
	}
}
