package generation

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/tree"
)

// whole checks what must be true after every crash. A tree whose name is a number,
// or that waits for its switch, must have that number, the mark with the seal of its
// manifest, and every file that the manifest lists.
func (w *world) whole() {
	w.t.Helper()
	list, err := os.ReadDir(w.Trees)
	must(w.t, err)
	for _, d := range list {
		n, ok := ParseNumber(strings.TrimPrefix(d.Name(), NextPrefix))
		if !ok {
			continue
		}
		m, err := w.Manifest(n)
		must(w.t, err)
		dir := filepath.Join(w.Trees, d.Name())
		c, err := ReadClaim(dir)
		id, _ := w.ID()
		if err != nil || c != (Claim{Number: n, Marked: true, Repository: id, Seal: m.Seal}) {
			w.t.Errorf("%s: %+v, %v", d.Name(), c, err)
		}
		for row := range m.All() {
			fi, err := os.Lstat(filepath.Join(dir, row.Path))
			if err != nil || fi.Size() != row.Size {
				w.t.Errorf("%s lacks %s", d.Name(), row.Path)
			}
		}
	}
}

func TestSealStopped(t *testing.T) {
	for _, step := range []string{"before-manifest", "after-manifest", "after-next", ""} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			live := w.make(1, nil, map[string]string{"a": "one", "b": "two"})
			before := tree.ID(live.Own)
			d, rows := w.draft(map[string]string{"b": "two", "c": "three"})
			m := &Manifest{Head: Head{Generation: 2, From: 1, Origin: 2, Kind: KindPromote}, Own: rows,
				Carried: []Carried{{Row: live.Own[0], Dropped: 2}}}
			w.stop = step
			_, err := d.Seal(t.Context(), m, live, hours(2))
			if errors.Is(err, errStopped) != (step != "") {
				t.Fatal(err)
			}
			w.stop = ""
			w.whole()
			if now := tree.ID(live.Own); now != before {
				t.Error("what is live has changed")
			}
			for _, row := range live.Own {
				f, err := live.Open(row)
				must(t, err)
				f.Close()
			}
			// The number of a manifest is taken, whatever became of its tree.
			want := 3
			if step == "before-manifest" {
				want = 2
			}
			if n, err := w.Next(1); n != want || err != nil {
				t.Errorf("the next number is %d, %v", n, err)
			}
			litter := w.litterOf(1)
			want = 1
			if len(litter) != want {
				t.Errorf("litter: %v", litter)
			}
			d.Discard()
			d.Discard()
			if step == "after-next" || step == "" {
				return // it is no draft any more
			}
			if litter := w.litterOf(1); len(litter) > 0 {
				t.Errorf("left of a draft that was given up: %v", litter)
			}
		})
	}
}

// litterOf returns the kinds of litter by name, for a history that names the
// generations up to top.
func (w *world) litterOf(top int) map[string]LitterKind {
	w.t.Helper()
	list, err := w.Litter(Known{Reached: func(n int) bool { return n <= top }, Freed: func(int) bool { return false },
		Tried: func(string) bool { return false }, Live: top, Top: top, Abandoned: func() bool { return true }})
	must(w.t, err)
	out := map[string]LitterKind{}
	for _, l := range list {
		out[filepath.Base(l.Path)] = l.Kind
	}
	return out
}

// A carried file is a hard link to the live one; a file that somebody removed cannot
// be carried.
func TestSealCarries(t *testing.T) {
	w := newWorld(t)
	live := w.make(1, nil, map[string]string{"a": "one", "b": "two", "l": "-> a"})
	must(t, os.Remove(filepath.Join(live.Dir, "b")))
	d, rows := w.draft(map[string]string{"c": "three"})
	m := &Manifest{Head: Head{Generation: 2, From: 1, Kind: KindPromote}, Own: rows}
	for _, row := range live.Own {
		m.Carried = append(m.Carried, Carried{Row: row, Dropped: 2})
	}
	lost, err := d.Seal(t.Context(), m, live, hours(2))
	must(t, err)
	if len(lost) != 1 || lost[0].Path != "b" || len(m.Carried) != 2 {
		t.Errorf("lost %v, carried %v", lost, m.Carried)
	}
	next := w.Waiting(2)
	was, err := os.Lstat(filepath.Join(live.Dir, "a"))
	must(t, err)
	if is, err := os.Lstat(filepath.Join(next, "a")); err != nil || !os.SameFile(was, is) {
		t.Error("a was copied", err)
	}
	if to, err := os.Readlink(filepath.Join(next, "l")); to != "a" {
		t.Error(to, err)
	}
	back, err := w.Manifest(2)
	must(t, err)
	if diff := cmp.Diff(m.Carried, back.Carried); diff != "" {
		t.Error(diff)
	}
}

// The file with the number gets a later time like any other, because clients can
// find out by it whether production has changed.
func TestSealTimes(t *testing.T) {
	w := newWorld(t)
	at := func(dir, p string) time.Time {
		t.Helper()
		fi, err := os.Stat(filepath.Join(dir, p))
		must(t, err)
		return fi.ModTime()
	}
	live := w.make(1, nil, map[string]string{"a": "one", "b": "two"})
	ahead := time.Now().Add(time.Hour).Truncate(time.Second)
	must(t, os.Chtimes(filepath.Join(live.Dir, IdentityName), time.Time{}, ahead))
	must(t, os.Chtimes(filepath.Join(live.Dir, "a"), time.Time{}, hours(9)))
	next := w.make(2, live, map[string]string{"a": "other", "b": "two"})
	for p, want := range map[string]time.Time{"a": hours(9).Add(time.Second), IdentityName: ahead.Add(time.Second),
		"b": epoch} {
		if got := at(next.Dir, p); !got.Equal(want) {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
	// A draft that was made when 1 was live has the bytes of 1 again: they are
	// newer than those of 2, which clients know now.
	d, rows := w.draft(map[string]string{"a": "one", "b": "two"})
	d.Since = live.Manifest
	m := &Manifest{Head: Head{Generation: 3, From: 2, Kind: KindPromote}, Own: rows}
	_, err := d.Seal(t.Context(), m, next, hours(3))
	must(t, err)
	if got, want := at(w.Waiting(3), "a"), at(next.Dir, "a").Add(time.Second); !got.Equal(want) {
		t.Errorf("a: %s, want %s", got, want)
	}
}

func TestLitter(t *testing.T) {
	w := newWorld(t)
	for n := range 3 {
		w.make(n+1, nil, map[string]string{"a": "one"})
	}
	other := newWorld(t)
	foreign := other.make(4, nil, map[string]string{"a": "one"})
	must(t, os.Rename(foreign.Dir, w.Dir(4)))
	w.make(5, nil, map[string]string{"a": "one"})
	w.make(6, nil, map[string]string{"a": "one"})
	must(t, os.Rename(w.Dir(6), w.Waiting(6)))
	w.make(7, nil, map[string]string{"a": "one"})
	must(t, os.Rename(w.Dir(7), w.Waiting(8))) // as an exchange leaves the tree that was live
	w.make(9, nil, map[string]string{"a": "one"})
	aside, err := w.Aside(9)
	must(t, err)
	must(t, os.Remove(filepath.Join(w.Dir(2), IdentityName))) // as Aside does where it cannot rename
	for _, name := range []string{".snapshot-x", ".revert-x", "notes", ".hidden"} {
		must(t, os.Mkdir(filepath.Join(w.Trees, name), 0o755))
	}
	abandoned := true
	known := Known{Reached: func(n int) bool { return n <= 3 }, Freed: func(n int) bool { return n <= 2 },
		Tried: func(string) bool { return false }, Live: 3, Top: 3, Abandoned: func() bool { return abandoned }}
	check := func(want map[string]LitterKind) {
		t.Helper()
		list, err := w.Litter(known)
		must(t, err)
		got := map[string]LitterKind{}
		for _, l := range list {
			got[filepath.Base(l.Path)] = l.Kind
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	want := map[string]LitterKind{
		"000002": Half, // 1 is freed as well, and whole: gc's again
		"000004": Foreign, "000005": Unreached, ".next-000006": Unreached, ".next-000008": Returned,
		filepath.Base(aside): Trash, ".snapshot-x": PromoteDraft, ".revert-x": RevertDraft,
	}
	check(want)
	abandoned = false
	delete(want, ".snapshot-x") // its promote is at work
	check(want)
	// Below the highest number that production ever had, an unknown tree means that
	// the history lost a line. But what recovery has tried to remove before is litter.
	known.Top, known.Live = 7, 7
	delete(want, "000005")
	check(want)
	known.Tried = func(name string) bool { return name == "000005" }
	want["000005"] = Unreached
	check(want)

	must(t, os.WriteFile(filepath.Join(w.Manifests, ".tmp-1"), nil, 0o644))
	stale, err := w.StaleManifests(7, 7)
	must(t, err)
	var names []string
	for _, p := range stale {
		names = append(names, filepath.Base(p))
	}
	if diff := cmp.Diff([]string{".tmp-1", "000006"}, names); diff != "" {
		t.Error(diff) // 7 and 9 stay taken
	}
	if trash, err := w.Trash(); err != nil || len(trash) != 1 || trash[0] != aside {
		t.Error(trash, err)
	}
}
