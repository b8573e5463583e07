package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// resumed returns the history that the next writer has: from the summary alone, and from
// lines where older is given.
func resumed(t interface{ Fatal(...any) }, h *History, keep []int, older func() ([][]byte, error)) *History {
	text, err := h.Summary(keep)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Resume(text, older)
	if err != nil {
		t.Fatal(err, string(text))
	}
	return out
}

// A history that each writer resumes from the summary of the one before gives the same
// answers as one with all lines, and for what is kept it needs no line.
func TestResume(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &drawn{}
		h := Parse(nil)
		var lines [][]byte
		var keep []int
		asked := false
		for range rapid.IntRange(1, 60).Draw(t, "lines") {
			line, err := h.Add(d.next(t))
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line)
			if rapid.IntRange(0, 3).Draw(t, "resume") == 0 {
				continue
			}
			keep = rapid.SliceOfN(rapid.IntRange(1, d.top+1), 0, 3).Draw(t, "keep")
			before := lines[:len(lines):len(lines)]
			h = resumed(t, h, keep, func() ([][]byte, error) { asked = true; return before, nil })
			if last, ok := h.Last(); ok {
				keep = append(keep, last.Generation)
			}
			asked = false
		}
		r := referenceOf(d.events)
		for _, n := range keep {
			m, _ := h.Made(n)
			want, _ := r.made(n)
			turn, _ := h.Turned(n)
			wantTurn, _ := r.turned(n)
			h.Know(n)
			got, ends := endsOf(h, time.Hour), r.ends(time.Hour)
			if diff := cmp.Diff(want, m) + cmp.Diff(wantTurn, turn); diff != "" || h.Health(n) != r.health(n) ||
				!got.retired[n].Equal(ends.retired[n]) || !h.Knows(n) {
				t.Fatalf("generation %d: %s", n, diff)
			}
		}
		if asked && !d.damaged {
			t.Fatalf("the summary lacks something about %v", keep)
		}
		same(t, h, d.events)
		if err := h.Older(); err != nil {
			t.Fatal(err)
		}
	})
}

// Without the lines, a summary of a summary is the same, byte for byte, and what was left
// out is not taken for known.
func TestSummaryIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &drawn{}
		h := Parse(nil)
		for range rapid.IntRange(0, 60).Draw(t, "lines") {
			if _, err := h.Add(d.next(t)); err != nil {
				t.Fatal(err)
			}
		}
		keep := rapid.SliceOfN(rapid.IntRange(1, d.top+1), 0, 4).Draw(t, "keep")
		one, err := h.Summary(keep)
		if err != nil {
			t.Fatal(err)
		}
		again := resumed(t, h, keep, nil)
		for n := range d.top + 2 { // no question changes it
			again.Made(n)
			again.Know(n)
			again.Turned(n)
			again.Before(n)
		}
		two, err := again.Summary(keep)
		if err != nil || !bytes.Equal(one, two) {
			t.Fatalf("%v\n%s\n%s", err, one, two)
		}
		r := referenceOf(d.events)
		for n := 1; n <= d.top; n++ {
			if !again.Knows(n) {
				if _, ok := again.Made(n); ok {
					t.Fatalf("generation %d is known and not known", n)
				}
				continue
			}
			m, _ := again.Made(n)
			if want, _ := r.made(n); cmp.Diff(want, m) != "" || again.Health(n) != r.health(n) {
				t.Fatalf("generation %d: %s", n, cmp.Diff(want, m))
			}
		}
	})
}

// ordinary returns a history of promotes, of which some failed and were reverted.
func ordinary(t testing.TB, generations int) (h *History, lines [][]byte) {
	h = Parse(nil)
	add := func(e Event) {
		line, err := h.Add(e)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	for n := 1; n <= generations; n++ {
		head := Head{Time: epoch.Add(time.Duration(n) * time.Hour), Kind: KindPromote, Generation: n, From: n - 1, Origin: n,
			Who: "builder@build-7.example.org", Message: "nightly images of today"}
		if n%10 == 0 {
			head.Kind, head.Origin = KindRevert, n-2
		}
		add(Event{head, &Switch{TreeID: sum64, Seal: sum64, Grace: 7200, Health: HealthPending,
			Added: []string{"debian:13:amd64/20261127"}}})
		head.Kind = KindHealth
		add(Event{head, &Health{HealthOK}})
		head.Kind = KindGC
		add(Event{head, &Freed{Generations: []int{max(1, n-200)}, Items: []FreedItem{{Path: fmt.Sprint("a/", n)}}}})
	}
	return h, lines
}

func last(n, of int) (out []int) {
	for i := range n {
		out = append(out, of-i)
	}
	return out
}

// A summary is as long as what is kept, however much happened.
func TestSummaryIsSmall(t *testing.T) {
	for kept, limit := range map[int]int{0: 8 << 10, 10: 20 << 10, 100: 120 << 10} {
		sizes := map[int]int{}
		for _, generations := range []int{500, 5000} {
			h, _ := ordinary(t, generations)
			text, err := h.Summary(last(kept, generations))
			if err != nil {
				t.Fatal(err)
			}
			sizes[generations] = len(text)
			t.Logf("%d kept of %d: %d bytes", kept, generations, len(text))
		}
		if sizes[5000] > limit || sizes[5000] > sizes[500]+sizes[500]/20+64 {
			t.Errorf("%d kept: %v bytes", kept, sizes)
		}
	}
}

// Who missed more reverts than a summary has reads the lines, once.
func TestTurnedLongAgo(t *testing.T) {
	h, lines := ordinary(t, 500)
	asked := 0
	r := resumed(t, h, nil, func() ([][]byte, error) { asked++; return lines, nil })
	if e, ok := r.Turned(499); !ok || e.Generation != 500 || asked > 0 {
		t.Fatal(e, ok, asked)
	}
	if e, ok := r.Turned(360); !ok || e.Generation != 370 || asked > 0 {
		t.Fatal(e, ok, asked)
	}
	for range 2 {
		if e, ok := r.Turned(3); !ok || e.Generation != 10 || asked != 1 {
			t.Fatal(e, ok, asked)
		}
	}
	// With no lines to read, somebody turned since all the same.
	if e, ok := resumed(t, h, nil, nil).Turned(3); !ok || e.Generation < 350 {
		t.Fatal(e, ok)
	}
}

// What cannot be read is not known, and said.
func TestOlderFails(t *testing.T) {
	h, lines := ordinary(t, 50)
	broken := errors.New("no connection")
	flipped := slices.Clone(lines)
	flipped[8] = bytes.ToUpper(flipped[8])
	for name, older := range map[string]func() ([][]byte, error){
		"fails":         func() ([][]byte, error) { return nil, broken },
		"fails half":    func() ([][]byte, error) { return lines[20:], broken },
		"lacks one":     func() ([][]byte, error) { return lines[:len(lines)-1], nil },
		"has too many":  func() ([][]byte, error) { return append(slices.Clone(lines), lines[0]), nil },
		"has a bad one": func() ([][]byte, error) { return flipped, nil },
	} {
		r := resumed(t, h, []int{49}, older)
		if r.Older() != nil || !r.Knows(49) || !r.Knows(50) {
			t.Errorf("%s: asked for what is known", name)
		}
		if r.Knows(20) || r.Older() == nil || !r.Knows(49) {
			t.Errorf("%s: %v", name, r.Older())
		}
		if m, ok := r.Made(49); !ok || m.TreeID != sum64 {
			t.Errorf("%s: %v", name, m)
		}
		if _, err := r.Summary([]int{49}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestResumeRefuses(t *testing.T) {
	h, _ := ordinary(t, 30)
	if _, err := h.Add(Event{Head{Time: epoch, Kind: KindPin, Generation: 29}, &Pin{}}); err != nil {
		t.Fatal(err)
	}
	text, err := h.Summary([]int{29})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Add(Event{Head{Time: epoch, Kind: KindPin, Generation: -7}, &Pin{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Summary([]int{29}); err == nil {
		t.Error("Summary makes what Resume refuses")
	}
	for name, bad := range map[string]string{
		"nothing":           "",
		"null":              "null",
		"no object":         "[]",
		"empty":             "{}",
		"no past":           `{"version":1,"lines":0}`,
		"a newer version":   strings.Replace(string(text), `"version":1`, `"version":2`, 1),
		"a far generation":  strings.Replace(string(text), `"reach":30`, `"reach":99999999999`, 1),
		"a negative count":  strings.Replace(string(text), `"lines":91`, `"lines":-1`, 1),
		"a set too large":   strings.Replace(string(text), `"named":"1-30"`, `"named":"1-9000000000"`, 1),
		"a set of others":   strings.Replace(string(text), `"named":"1-30"`, `"named":"1-28"`, 1),
		"a set from zero":   strings.Replace(string(text), `"named":"1-30"`, `"named":"0-30"`, 1),
		"another's details": strings.Replace(string(text), `"first":{"`, `"first":{"7`, 1),
		"a pin of none":     strings.Replace(string(text), `"pins":{"29":{`, `"pins":{"28":null,"29":{`, 1),
		"cut":               string(text[:len(text)/2]),
		"a hold of a pin":   strings.Replace(string(text), `"kind":""`, `"kind":"pin"`, 1),
	} {
		if bad == string(text) {
			t.Errorf("%s: the test changes nothing: %s", name, text)
		}
		if _, err := Resume([]byte(bad), nil); err == nil {
			t.Errorf("%s is taken for a summary", name)
		}
	}
	if _, err := Resume(text, nil); err != nil {
		t.Error(err)
	}
}

// FuzzSummary resumes from any bytes, and asks everything.
func FuzzSummary(f *testing.F) {
	h, _ := ordinary(f, 12)
	text, err := h.Summary([]int{11})
	if err != nil {
		f.Fatal(err)
	}
	line, err := json.Marshal(Event{Head{Time: epoch, Kind: KindPromote, Generation: 13, From: 12, Origin: 13}, &Switch{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text), string(line))
	f.Fuzz(func(t *testing.T, text, line string) {
		h, err := Resume([]byte(text), nil)
		if err != nil {
			return
		}
		if e, ok := eventOf([]byte(line)); ok {
			if _, err := h.Add(e); err != nil {
				return
			}
		}
		h.Last()
		h.Hold()
		h.LastPromote()
		h.Flaws(nil, func(int) bool { return true })
		for n := range 15 {
			h.Made(n)
			h.Before(n)
			h.Pin(n)
			h.Turned(n)
			h.Know(n)
		}
		for range h.Changes() {
		}
		one, err := h.Summary([]int{1, 11})
		if err != nil {
			return // a time that JSON can carry in one direction only
		}
		again, err := Resume(one, nil)
		if err != nil {
			return // a line of a generation that cannot be
		}
		if two, err := again.Summary([]int{1, 11}); err != nil || !bytes.Equal(one, two) {
			t.Errorf("%v\n%s\n%s", err, one, two)
		}
	})
}
