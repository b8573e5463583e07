package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// snapshot makes one in a new directory beside staging.
func snapshot(t *testing.T, s *Stage, base *Base) *Snapshot {
	t.Helper()
	dst, err := os.MkdirTemp(filepath.Dir(s.Dir), "generation-")
	must(t, err)
	batch, err := durable.NewBatch(dst)
	must(t, err)
	defer batch.Close()
	snap, err := s.Snapshot(context.Background(), dst, base, batch)
	must(t, err)
	t.Cleanup(func() { must(t, snap.Close()) })
	must(t, batch.Flush())
	return snap
}

func validate(t *testing.T, snap *Snapshot) (*Valid, *Report) {
	t.Helper()
	v, r, err := snap.Validate(context.Background(), Checks{Now: time.Now()})
	must(t, err)
	return v, r
}

// promoted is a valid snapshot, and the base that it makes for the next.
func promoted(t *testing.T, s *Stage, base *Base) (*Valid, *Base) {
	t.Helper()
	v, r := validate(t, snapshot(t, s, base))
	if v == nil {
		t.Fatalf("findings %+v", r.Findings)
	}
	src, err := tree.OpenSource(v.Dir)
	must(t, err)
	t.Cleanup(func() { _ = src.Close() })
	return v, &Base{Source: src, Rows: tree.NewRows(v.Rows)}
}

func stat(t *testing.T, parts ...string) os.FileInfo {
	t.Helper()
	fi, err := os.Lstat(filepath.Join(parts...))
	must(t, err)
	return fi
}

func TestSnapshotShares(t *testing.T) {
	for _, share := range []bool{true, false} {
		s := newStage(t)
		s.Share = share
		add(t, s, built(t, "alpha", ""))
		root := "images/" + sum(squashfs("alpha")) + ".squashfs"
		foreign := filepath.Join(s.Dir, "page.html")
		must(t, os.WriteFile(foreign, []byte("page"), 0o644))
		v, _ := promoted(t, s, &Base{})
		if diff := cmp.Diff(contents(t, s.Dir), contents(t, v.Dir)); diff != "" {
			t.Error(diff)
		}
		if got := os.SameFile(stat(t, s.Dir, root), stat(t, v.Dir, root)); got != share {
			t.Errorf("share %v: one file is %v", share, got)
		}
		for _, p := range []string{"page.html", "streams/v1/index.json", "streams/v1/images.json"} {
			if os.SameFile(stat(t, s.Dir, p), stat(t, v.Dir, p)) {
				t.Errorf("%s: is shared, and others may write to it", p)
			}
		}
		f, err := os.OpenFile(foreign, os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteString("evil")
		must(t, errors.Join(err, f.Close()))
		if got := string(read(t, filepath.Join(v.Dir, "page.html"))); got != "page" {
			t.Errorf("a write in place reached the snapshot: %s", got)
		}
		// The cache outlives the links that the snapshot made.
		if sum, sealed, ok := tree.OpenCache(s.Hashes).Lookup(root, tree.StatOf(stat(t, s.Dir, root))); !ok ||
			!sealed || sum == "" {
			t.Error("the cache has forgotten a sealed file")
		}
	}
}

func TestSnapshotLeavesOut(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "alpha", ""))
	want := contents(t, s.Dir)
	for _, p := range []string{"images/orphan.squashfs", "images/upload.squashfs.part", "images/.x.squashfs.Ab3dEf"} {
		must(t, os.WriteFile(filepath.Join(s.Dir, p), []byte("x"), 0o644))
	}
	v, _ := promoted(t, s, &Base{})
	if diff := cmp.Diff(want, contents(t, v.Dir)); diff != "" {
		t.Error(diff)
	}
}

// The new tree is what staging holds, whatever the base has lost and whatever
// the spare has, and with a spare nothing is linked that is there.
func TestSnapshotOfASpare(t *testing.T) {
	path := func(name string) string { return "images/" + sum(squashfs(name)) + ".squashfs" }
	change := map[string]struct {
		change func(t *testing.T, s *Stage, base *Base)
		left   int // files of staging that are left out
	}{
		"nothing": {func(*testing.T, *Stage, *Base) {}, 0},
		"no index names some of it any more": {func(t *testing.T, s *Stage, _ *Base) {
			_, err := s.Remove(context.Background(), "", path("beta"))
			must(t, err)
		}, 2},
		"the base has lost some of it": {func(t *testing.T, s *Stage, base *Base) {
			must(t, os.Remove(filepath.Join(base.Source.Dir, path("beta"))))
		}, 0},
		"the base is where links do not lead": {func(t *testing.T, s *Stage, base *Base) {
			if stat(t, "/dev/shm").Sys().(*syscall.Stat_t).Dev == stat(t, s.Dir).Sys().(*syscall.Stat_t).Dev {
				t.Skip("one file system")
			}
			dir, err := os.MkdirTemp("/dev/shm", "publish-test-")
			must(t, err)
			t.Cleanup(func() { os.RemoveAll(dir) })
			must(t, os.CopyFS(dir, os.DirFS(base.Source.Dir)))
			base.Source, err = tree.OpenSource(dir)
			must(t, err)
		}, 0},
	}
	spares := map[string]func(t *testing.T, spare string){
		"no spare": nil,
		"a spare":  func(t *testing.T, spare string) {},
		"a spare with much else": func(t *testing.T, spare string) {
			for _, p := range []string{"streams/v1/index.json", "streams/v1/old.json", "images/old", "old/images/x",
				".publish-generation", ".publish-tree"} {
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(spare, p)), 0o755))
				must(t, os.WriteFile(filepath.Join(spare, p), []byte("old"), 0o444))
			}
		},
		"a spare with a file of somebody's": func(t *testing.T, spare string) {
			p := filepath.Join(spare, path("gamma"))
			must(t, os.Remove(p))
			must(t, os.WriteFile(p, squashfs("gamma"), 0o444))
		},
		"a spare that is a link": func(t *testing.T, spare string) {
			must(t, os.Rename(spare, spare+"-2"))
			must(t, os.Symlink(spare+"-2", spare))
		},
		"a spare that is a file": func(t *testing.T, spare string) {
			must(t, os.RemoveAll(spare))
			must(t, os.WriteFile(spare, nil, 0o644))
		},
	}
	for name, c := range change {
		for with, prepare := range spares {
			t.Run(name+", "+with, func(t *testing.T) {
				s := newStage(t)
				for _, name := range []string{"alpha", "beta", "gamma", "delta"} {
					add(t, s, built(t, name, ""))
				}
				_, base := promoted(t, s, &Base{})
				spare := filepath.Join(filepath.Dir(s.Dir), "spare")
				if prepare != nil {
					linkTree(t, base.Source.Dir, spare)
					prepare(t, spare)
					base.Former = func(ctx context.Context) (*tree.Former, error) {
						return tree.NewFormer(ctx, spare, base.Source, nil), nil
					}
				}
				c.change(t, s, base)
				add(t, s, built(t, "epsilon", ""))
				want := contents(t, s.Dir)
				cat, err := ReadCatalog(t.Context(), s.Dir, s.Format)
				must(t, err)
				orphans, _, err := s.Orphans(context.Background(), cat)
				must(t, err)
				if len(orphans) != c.left {
					t.Fatalf("orphans %v", orphans)
				}
				for _, o := range orphans {
					delete(want, o.Path)
				}
				v, _ := promoted(t, s, base)
				if diff := cmp.Diff(want, contents(t, v.Dir)); diff != "" {
					t.Error(diff)
				}
				rows := map[string]tree.Row{}
				for _, row := range v.Rows {
					rows[row.Path] = row
					if data := read(t, filepath.Join(v.Dir, row.Path)); row.Size != int64(len(data)) ||
						row.SHA256 != sum(data) {
						t.Errorf("%+v", row)
					}
				}
				if len(rows) != len(want) {
					t.Errorf("%d rows, %d files", len(rows), len(want))
				}
				if name == "nothing" && !os.SameFile(stat(t, v.Dir, path("gamma")),
					stat(t, base.Source.Dir, path("gamma"))) {
					t.Error("a file of the base is not its file")
				}
				if left, err := filepath.Glob(v.Dir + ".*"); err != nil || len(left) > 0 {
					t.Errorf("left: %v, %v", left, err)
				}
			})
		}
	}
}

// Nothing that is the base's very tree touches the spare.
func TestSnapshotSameLeavesTheSpare(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "alpha", ""))
	v, base := promoted(t, s, &Base{})
	base.TreeID, base.Named = v.TreeID, named(v.Catalog)
	base.Former = func(context.Context) (*tree.Former, error) { return nil, errors.New("the spare was asked for") }
	if again, _ := promoted(t, s, base); !again.Same {
		t.Error("not the same")
	}
}

// linkTree makes a tree of hard links.
func linkTree(t *testing.T, from, to string) {
	t.Helper()
	for p := range contents(t, from) {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(to, p)), 0o755))
		must(t, os.Link(filepath.Join(from, p), filepath.Join(to, p)))
	}
}

// What the base has with the same bytes is linked from it, and the rest gets
// a time that no client mistakes for the former.
func TestSnapshotAgainstBase(t *testing.T) {
	s := newPlain(t)
	write := func(name, text string, age time.Duration) {
		p := filepath.Join(s.Dir, name)
		must(t, os.WriteFile(p, []byte(text), 0o644))
		must(t, os.Chtimes(p, time.Time{}, time.Now().Add(-age)))
	}
	write("same", "same", time.Hour)
	write("changes", "one", time.Hour)
	first, base := promoted(t, s, &Base{})
	// The base was made in the future: a clock was set back.
	future := time.Now().Add(time.Hour).Truncate(time.Second)
	must(t, os.Chtimes(filepath.Join(first.Dir, "changes"), time.Time{}, future))
	write("changes", "two", 2*time.Hour)
	write("new", "new", 2*time.Hour)
	second, base2 := promoted(t, s, base)
	if !os.SameFile(stat(t, first.Dir, "same"), stat(t, second.Dir, "same")) {
		t.Error("the same bytes were copied")
	}
	if got := stat(t, second.Dir, "changes").ModTime(); got.Before(future.Add(time.Second)) {
		t.Errorf("changed bytes have the time %v, the former %v", got, future)
	}
	if first.TreeID == second.TreeID {
		t.Error("one tree id for two trees")
	}
	// Touched and not changed: the base's time stays.
	write("changes", "two", 0)
	third, _ := promoted(t, s, base2)
	if third.TreeID != second.TreeID || !stat(t, third.Dir, "changes").ModTime().Equal(stat(t, second.Dir,
		"changes").ModTime()) {
		t.Error("a touched file is another one")
	}
}

func TestSnapshotFindsWhatChanged(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "alpha", ""))
	root := "images/" + sum(squashfs("alpha")) + ".squashfs"
	p := filepath.Join(s.Dir, root)
	// Another tool replaces content in place, of the same size, and the time with it.
	fi := stat(t, p)
	must(t, os.Remove(p))
	must(t, os.WriteFile(p, squashfs("alphx"), 0o644))
	must(t, os.Chtimes(p, time.Time{}, fi.ModTime()))
	v, r := validate(t, snapshot(t, s, &Base{}))
	if v != nil || !cmp.Equal(codes(r), []string{"error hash-mismatch " + root,
		"error combined-mismatch streams/v1/images.json"}) {
		t.Errorf("findings %v", codes(r))
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, append(data, text...), 0o644))
}

// A tree that is the base's costs no clone, and nothing else passes for it.
func TestSnapshotSame(t *testing.T) {
	page := func(text string) func(*testing.T, *Stage) {
		return func(t *testing.T, s *Stage) {
			must(t, os.WriteFile(filepath.Join(s.Dir, "page.html"), []byte(text), 0o644))
		}
	}
	for name, c := range map[string]struct {
		change func(*testing.T, *Stage)
		same   bool
	}{
		"nothing":       {func(*testing.T, *Stage) {}, true},
		"written again": {page("page"), true},
		"other bytes":   {page("else"), false},
		"a file less": {func(t *testing.T, s *Stage) { must(t, os.Remove(filepath.Join(s.Dir, "page.html"))) },
			false},
		"a file more": {func(t *testing.T, s *Stage) {
			must(t, os.WriteFile(filepath.Join(s.Dir, "new.html"), nil, 0o644))
		}, false},
		"an image more": {func(t *testing.T, s *Stage) { add(t, s, built(t, "beta", "")) }, false},
		"other index": {func(t *testing.T, s *Stage) {
			appendTo(t, filepath.Join(s.Dir, "streams/v1/index.json"), "\n")
		}, false},
		"no index at all": {func(t *testing.T, s *Stage) { must(t, os.RemoveAll(filepath.Join(s.Dir, "streams"))) },
			false},
	} {
		s := newStage(t)
		add(t, s, built(t, "alpha", ""))
		page("page")(t, s)
		first, base := promoted(t, s, &Base{})
		base.TreeID, base.Named = first.TreeID, named(first.Catalog)
		c.change(t, s)
		snap := snapshot(t, s, base)
		if snap.Same != c.same {
			t.Errorf("%s: same is %v", name, snap.Same)
			continue
		}
		if !c.same {
			continue
		}
		if v, r := validate(t, snap); v == nil || v.TreeID != first.TreeID || !cmp.Equal(v.Rows, first.Rows) {
			t.Errorf("%s: %+v, %+v", name, v, r)
		}
		if _, err := os.Lstat(filepath.Join(snap.Dir, "images")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: it was cloned: %v", name, err)
		}
	}
}

func TestEmptyTree(t *testing.T) {
	v, r := validate(t, snapshot(t, newPlain(t), &Base{}))
	if diff := cmp.Diff([]string{"error empty-tree "}, codes(r)); v != nil || diff != "" {
		t.Error(diff)
	}
	v, r = validate(t, snapshot(t, newStage(t), &Base{}))
	if diff := cmp.Diff([]string{"error no-index streams/v1/index.json"}, codes(r)); v != nil || diff != "" {
		t.Error(diff)
	}
}

func TestReset(t *testing.T) {
	s := newStage(t)
	repo := filepath.Dir(s.Dir)
	add(t, s, built(t, "alpha", ""))
	must(t, os.WriteFile(filepath.Join(s.Dir, "page"), []byte("page"), 0o644))
	v, base := promoted(t, s, &Base{})
	want := contents(t, s.Dir)
	root := "images/" + sum(squashfs("alpha")) + ".squashfs"
	for name, harm := range map[string]func(){
		"added":         func() { add(t, s, built(t, "beta", "")) },
		"removed":       func() { must(t, os.Remove(filepath.Join(s.Dir, root))) },
		"page changed":  func() { must(t, os.WriteFile(filepath.Join(s.Dir, "page"), []byte("new"), 0o644)) },
		"index damaged": func() { must(t, os.Truncate(filepath.Join(s.Dir, "streams/v1/images.json"), 10)) },
		"all gone": func() {
			must(t, durable.RemoveAll(s.Dir))
			must(t, os.Mkdir(s.Dir, 0o755))
		},
		"cache gone": func() { must(t, os.Truncate(s.Hashes, 0)) },
		"folder for a file": func() {
			must(t, os.Remove(filepath.Join(s.Dir, "page")))
			must(t, os.MkdirAll(filepath.Join(s.Dir, "page/x"), 0o755))
			must(t, os.WriteFile(filepath.Join(s.Dir, "page/x/y"), nil, 0o644))
		},
		"file for a folder": func() {
			must(t, durable.RemoveAll(filepath.Join(s.Dir, "images")))
			must(t, os.WriteFile(filepath.Join(s.Dir, "images"), nil, 0o644))
		},
		"link for a folder": func() {
			must(t, durable.RemoveAll(filepath.Join(s.Dir, "images")))
			must(t, os.Symlink("/etc", filepath.Join(s.Dir, "images")))
		},
	} {
		trash := filepath.Join(repo, "trash", name)
		must(t, os.MkdirAll(filepath.Dir(trash), 0o755))
		harm()
		after := contents(t, s.Dir)
		_, _, err := s.Reset(context.Background(), base.Source, v.Rows, trash)
		must(t, err)
		if diff := cmp.Diff(want, contents(t, s.Dir)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		// What staging had and has no more is in the trash.
		for p, sum := range after {
			if want[p] == sum || sum == "-> /etc" {
				continue
			}
			if got := contents(t, trash)[p]; got != sum {
				t.Errorf("%s: %s: is lost (%v)", name, p, got)
			}
		}
		clean(t, s)
		added, dropped, err := s.Reset(context.Background(), base.Source, v.Rows, filepath.Join(repo, "trash/again"))
		must(t, err)
		if added+dropped > 0 {
			t.Errorf("%s: a second reset moved %d and %d", name, added, dropped)
		}
		if fi := stat(t, s.Dir, "page"); fi.Mode() != 0o644 || os.SameFile(fi, stat(t, v.Dir, "page")) {
			t.Errorf("%s: a mutable file is shared, or cannot be written to: %v", name, fi.Mode())
		}
		valid(t, s)
	}
	// A generation that has rotted is not taken for what it was.
	must(t, os.Remove(filepath.Join(s.Dir, root)))
	s.Share = false
	must(t, os.Chmod(filepath.Join(v.Dir, root), 0o644))
	must(t, os.WriteFile(filepath.Join(v.Dir, root), squashfs("alphx"), 0o644))
	if _, _, err := s.Reset(context.Background(), base.Source, v.Rows, filepath.Join(repo, "trash/rot")); err == nil {
		t.Error("bytes that are not those of the manifest came into staging")
	}
	if exists(filepath.Join(s.Dir, root)) {
		t.Error("they did come")
	}
}
