package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/durable/durabletest"
)

// logIn returns an empty history in a new directory.
func logIn(t *rapid.T, base string) Log {
	dir, err := os.MkdirTemp(base, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := Log{Path: filepath.Join(dir, "history"), Limit: 1 << 30}
	if err := os.WriteFile(l.Path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	return l
}

// fast returns a new directory, in memory if possible.
func fast(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "publish-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// all returns the events of all files, oldest first.
func (l Log) everything(t *rapid.T) (out []Event) {
	h, err := l.Read()
	if err != nil {
		t.Fatal(err)
	}
	parts := [][]Event{h.Events}
	l.Closed(h, func(path string, h *History, err error) bool {
		if err != nil || len(h.Bad) > 0 || h.Torn {
			t.Fatalf("%s: %v %+v", path, err, h.Sealed)
		}
		parts = append(parts, h.Events)
		return true
	})
	slices.Reverse(parts)
	return slices.Concat(parts...)
}

// A history whose files are closed now and then gives the same answers as a single
// file, and loses no line, even if commands are killed while they close it.
func TestLog(t *testing.T) {
	base := fast(t)
	injected := errors.New("injected")
	rapid.Check(t, func(t *rapid.T) {
		l := logIn(t, base)
		d := &drawn{}
		for range rapid.IntRange(0, 8).Draw(t, "commands") {
			h, err := l.Read()
			if err != nil || len(h.Bad) > 0 || h.Torn || h.Newer > 0 || h.Stray != "" {
				t.Fatalf("%v: %+v", err, h)
			}
			for range rapid.IntRange(0, 8).Draw(t, "lines") {
				if err := l.Append(h, d.next(t)); err != nil {
					t.Fatal(err)
				}
			}
			stop := rapid.SampledFrom([]string{"", "", "never", "after-segment", "after-checkpoint"}).Draw(t, "stop")
			if stop == "never" || !h.Long(1) {
				continue
			}
			l := l
			l.Step = func(step string) error {
				if step == stop {
					return injected
				}
				return nil
			}
			keep := rapid.SliceOfN(rapid.IntRange(1, d.top+1), 0, 3).Draw(t, "keep")
			if err := l.Close(h, keep); (stop == "") != (err == nil) || err != nil && !errors.Is(err, injected) {
				t.Fatal(err)
			}
			if stop == "after-segment" && rapid.Bool().Draw(t, "copy") { // by something that does not know of links
				data, err := os.ReadFile(l.segment(h.sequence))
				if err = errors.Join(err, os.Remove(l.segment(h.sequence)), os.WriteFile(l.segment(h.sequence), data,
					0o600)); err != nil {
					t.Fatal(err)
				}
			}
			if stop == "" {
				same(t, h, d.events)
			}
		}
		if diff := cmp.Diff(d.events, l.everything(t), cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		h, err := l.Read()
		if err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(l.Path); err != nil || fi.Mode().Perm() != 0o640 {
			t.Fatalf("%v: %v", fi.Mode(), err)
		}
		if missing := l.Missing(h); len(missing) > 0 {
			t.Fatal(missing)
		}
		same(t, h, d.events)
		if w, err := l.Inspect(false); err != nil || w.broken() || w.Newer != "" {
			t.Fatalf("%+v %v", w, err)
		}
	})
}

// After any damage to one of its files, a history can be repaired. The result has
// every line that is left. Its chain is whole if other evidence proves the lost
// switches.
func TestWreck(t *testing.T) {
	base := fast(t)
	rapid.Check(t, func(t *rapid.T) {
		l := logIn(t, base)
		d := &drawn{}
		h, err := l.Read()
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(0, 4).Draw(t, "files") {
			for range rapid.IntRange(1, 6).Draw(t, "lines") {
				if err := l.Append(h, d.next(t)); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Close(h, []int{1, d.top}); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(0, 5).Draw(t, "lines") {
			if err := l.Append(h, d.next(t)); err != nil {
				t.Fatal(err)
			}
		}
		flawed := len(h.Flaws(nil, func(int) bool { return false })) > 0
		own := damage(t, l, h)
		left := map[string]int{}
		files, err := filepath.Glob(l.Path + "*")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			data, _ := os.ReadFile(name)
			for _, e := range readEntries(data) {
				left[string(e.Text)]++
			}
		}

		rescue := func() (done bool) {
			w, err := l.Inspect(false)
			if err != nil || w.Newer != "" {
				t.Fatalf("%v: %s", err, w.Newer)
			}
			proved := func(made func(int) bool) (out []Event) {
				for _, e := range d.events {
					if e.Kind.Switch() && e.Kind != KindRelink && made(e.Generation) {
						out = append(out, e)
					}
				}
				return out
			}
			for _, c := range w.Closed {
				fixed := Repaired{Entries: c.Entries}
				if !c.Unknown {
					fixed = Repair(c.Base, c.Entries, func([]Entry) []Event { return proved(c.Made) }, c.Next, d.now,
						"x", time.Hour)
				}
				if err := l.RestoreClosed(w, c, fixed.Entries); err != nil {
					t.Fatal(err)
				}
			}
			broken := !w.Whole()
			if !broken {
				h, err := l.Read()
				if err != nil {
					t.Fatal(err)
				}
				broken = len(h.Flaws(nil, func(int) bool { return false })) > 0
			}
			if !broken && len(w.Closed) == 0 {
				h, err := l.Read()
				if err == nil && h.Torn {
					err = l.Cut(h)
				}
				if err != nil {
					t.Fatal(err)
				}
				return true
			}
			entries := w.Entries
			if broken {
				entries = Repair(w.Base, entries,
					func([]Entry) []Event { return proved(func(int) bool { return true }) }, nil, d.now, "x",
					time.Hour).Entries
			}
			if _, err := l.Restore(w, entries, []int{1, d.top},
				func(path string) string { return path + ".damaged" }); err != nil {
				t.Fatal(err)
			}
			return false
		}
		if !rescue() && !flawed && !rescue() {
			t.Fatal("a second recovery finds something")
		}
		after, err := l.Read()
		if err != nil || len(after.Bad) > 0 || after.Torn || after.Stray != "" || len(l.Missing(after)) > 0 {
			t.Fatalf("%v: %+v", err, after)
		}
		have := map[string]int{}
		for _, e := range l.everything(t) {
			text, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			have[string(text)]++
		}
		for text := range left {
			if !flawed && have[text] == 0 {
				t.Fatalf("lost is %s", text)
			}
		}
		if flaws := after.Flaws(nil, func(int) bool { return false }); !flawed && len(flaws) > 0 {
			t.Fatalf("%v", flaws)
		}
		last, _ := after.Last()
		if want, _ := h.Last(); !flawed && !own && last.Generation != want.Generation {
			t.Fatalf("the newest switch is to %d, and was to %d", last.Generation, want.Generation)
		}
	})
}

// damage damages one of the files, and reports whether it is the one that lines are
// appended to: nothing proves the last lines of that.
func damage(t *rapid.T, l Log, h *History) (own bool) {
	path := l.Path
	if h.sequence > 1 && rapid.Bool().Draw(t, "closed") {
		path = l.segment(rapid.IntRange(1, h.sequence-1).Draw(t, "file"))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(bytes.Lines(data))
	switch rapid.SampledFrom([]string{"gone", "empty", "line", "bit", "torn"}).Draw(t, "damage") {
	case "gone":
		err = os.Remove(path)
	case "empty":
		err = os.Truncate(path, 0)
	case "line":
		if len(lines) > 0 {
			i := rapid.IntRange(0, len(lines)-1).Draw(t, "line")
			err = os.WriteFile(path, bytes.Join(slices.Delete(lines, i, i+1), nil), 0o644)
		}
	case "bit":
		if len(data) > 0 {
			err = os.WriteFile(path, durabletest.Flipped(data, uint(rapid.IntRange(0, len(data)-1).Draw(t, "at"))), 0o644)
		}
	case "torn":
		err = os.Truncate(path, int64(rapid.IntRange(0, len(data)).Draw(t, "at")))
	}
	if err != nil {
		t.Fatal(err)
	}
	return path == l.Path
}

// FuzzCheckpoint gets the texts of a checkpoint and of the line after it.
func FuzzCheckpoint(f *testing.F) {
	h := Parse(nil)
	for _, e := range []Event{
		{Head{Time: epoch, Kind: KindPromote, Generation: 1, Origin: 1}, &Switch{Grace: 60, Health: "pending"}},
		{Head{Time: epoch, Kind: KindPin, Generation: 1}, &Pin{}},
		{Head{Time: epoch, Kind: KindGC, Generation: 1},
			&Freed{Generations: []int{7}, Items: []FreedItem{{Path: "x"}}}},
		{Head{Time: epoch, Kind: KindRelink, Generation: 3, From: 2, Origin: 1}, &Switch{Recovered: true}},
	} {
		h.add(e)
	}
	text, err := json.Marshal(&checkpoint{Kind: kindCheckpoint, Time: epoch, Sequence: 2,
		Segments: []segment{{Number: 1, SHA256: sum64}}, Past: h.trimmed([]int{1})})
	if err != nil {
		f.Fatal(err)
	}
	line, err := json.Marshal(Event{Head{Time: epoch, Kind: KindPromote, Generation: 4, From: 3, Origin: 4}, &Switch{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text), string(line))
	f.Fuzz(func(t *testing.T, text, line string) {
		h := Parse(slices.Concat(durable.Line([]byte(text)), durable.Line([]byte(line))))
		h.Last()
		h.Hold()
		h.LastPromote()
		h.Redacted()
		h.Turned(0)
		h.Flaws(nil, func(int) bool { return true })
		for n := range 5 {
			h.Made(n)
			h.Before(n)
			h.Health(n)
			h.Pin(n)
			h.FreedAll([]FreedItem{{Path: "x"}}, n)
			h.Know(n)
		}
		for range h.Changes() {
		}
		if h.sequence < 2 || h.Newer > 0 {
			return
		}
		again, err := json.Marshal(&checkpoint{Kind: kindCheckpoint, Sequence: h.sequence, Segments: h.segments,
			Past: h.trimmed([]int{1, 4})})
		if err != nil {
			return // a time that JSON can carry in one direction only
		}
		if _, err := readCheckpoint(again); err != nil && h.p.Top >= 0 {
			t.Errorf("%v: %s", err, again)
		}
	})
}
