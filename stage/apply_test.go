package stage

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// prepared is an Apply of three documents, one of them a removal, stopped when
// it had renamed the first of them this many times.
func prepared(t *testing.T, placed int) *Stage {
	t.Helper()
	s := newStage(t)
	must(t, s.Apply([]catalog.Document{{Path: "streams/v1/b.json", Data: []byte("old")},
		{Path: "c", Data: []byte("gone")}}))
	u, err := s.upload()
	must(t, err)
	must(t, s.writeIntents(u, []catalog.Document{
		{Path: "new/a.json", Data: []byte("a")}, {Path: "streams/v1/b.json", Data: []byte("b")}, {Path: "c"},
	}))
	apply := filepath.Join(s.Dir, Incoming, applying)
	must(t, durable.RenameNew(u.path(), apply))
	for i, p := range []string{"new/a.json", "streams/v1/b.json"}[:placed] {
		must(t, os.MkdirAll(filepath.Join(s.Dir, "new"), 0o755))
		must(t, os.Rename(filepath.Join(apply, string(rune('0'+i))), filepath.Join(s.Dir, p)))
	}
	return s
}

func TestApplyIsEnded(t *testing.T) {
	for placed := range 3 {
		s := prepared(t, placed)
		unlock, err := s.Exclusive(context.Background(), "test")
		must(t, err)
		unlock()
		if string(read(t, filepath.Join(s.Dir, "new/a.json"))) != "a" ||
			string(read(t, filepath.Join(s.Dir, "streams/v1/b.json"))) != "b" || exists(filepath.Join(s.Dir, "c")) {
			t.Errorf("%d placed: %v", placed, contents(t, s.Dir))
		}
		clean(t, s)
	}
}

// What another program has written since counts.
func TestApplyYields(t *testing.T) {
	for placed := range 2 {
		s := prepared(t, placed)
		must(t, os.WriteFile(filepath.Join(s.Dir, "streams/v1/b.json"), []byte("theirs"), 0o644))
		unlock, err := s.Exclusive(context.Background(), "test")
		must(t, err)
		unlock()
		if string(read(t, filepath.Join(s.Dir, "streams/v1/b.json"))) != "theirs" ||
			exists(filepath.Join(s.Dir, "new/a.json")) != (placed > 0) || !exists(filepath.Join(s.Dir, "c")) {
			t.Errorf("%d placed: %v", placed, contents(t, s.Dir))
		}
		clean(t, s)
	}
}

// A failure before the first document is in its place is one for good.
func TestApplyFails(t *testing.T) {
	s := newStage(t)
	must(t, os.MkdirAll(filepath.Join(s.Dir, "a/folder"), 0o755))
	err := s.Apply([]catalog.Document{{Path: "a/folder", Data: []byte("x")}, {Path: "b", Data: []byte("x")}})
	if err == nil {
		t.Fatal("a folder was replaced by a file")
	}
	clean(t, s)
	unlock, err := s.Exclusive(context.Background(), "test")
	must(t, err)
	unlock()
	if exists(filepath.Join(s.Dir, "b")) {
		t.Error("what failed was done later on")
	}
}

func TestApplyFollowsNoLink(t *testing.T) {
	s := newStage(t)
	elsewhere := t.TempDir()
	must(t, os.Symlink(elsewhere, filepath.Join(s.Dir, "streams")))
	for _, docs := range [][]catalog.Document{
		{{Path: "streams/v1/a.json", Data: []byte("x")}},
		{{Path: "streams/v1/a.json", Data: []byte("x")}, {Path: "streams/b.json", Data: []byte("x")}},
	} {
		if err := s.Apply(docs); err == nil {
			t.Error("a document went through a link")
		}
	}
	if got := contents(t, elsewhere); len(got) > 0 {
		t.Errorf("outside: %v", got)
	}
	clean(t, s)
}

// An intent that a builder made up does not lead out of staging.
func TestApplyBelievesNoPath(t *testing.T) {
	for _, list := range []string{
		`[{"path":"../../escaped"},{"path":"x"}]`, `[{"path":"/tmp/escaped"}]`, `{`, ``,
		`[{"path":"../../.publish/hashes","remove":true}]`,
	} {
		s := newStage(t)
		apply := filepath.Join(s.Dir, Incoming, applying)
		must(t, os.MkdirAll(apply, 0o755))
		must(t, os.WriteFile(filepath.Join(apply, intents), []byte(list), 0o644))
		must(t, os.WriteFile(filepath.Join(apply, "0"), []byte("x"), 0o644))
		unlock, err := s.Exclusive(context.Background(), "test")
		must(t, err)
		unlock()
		if exists(filepath.Join(filepath.Dir(s.Dir), "escaped")) || !exists(s.Hashes) {
			t.Errorf("%s: was followed", list)
		}
		clean(t, s)
	}
}
