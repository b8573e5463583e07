package journal

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// drawn makes random histories, line by line, such as commands, crashes, other
// programs and lost lines leave.
type drawn struct {
	live, top int
	now       time.Time
	origins   map[int]int
	events    []Event
	damaged   bool // a line is out of place, or names what never was
}

func (d *drawn) next(t *rapid.T) Event {
	if d.origins == nil {
		d.origins, d.now = map[int]int{0: 0}, epoch
	}
	d.now = d.now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 60, 3600, 7200}).Draw(t, "seconds")) * time.Second)
	e := Event{Head: Head{Time: d.now, Generation: d.live, From: 0, Origin: d.origins[d.live],
		Who: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "who")}}
	some := func(label string) int {
		n := rapid.IntRange(0, d.top+1).Draw(t, label)
		d.damaged = d.damaged || n > d.top
		return n
	}
	e.Kind = rapid.SampledFrom([]Kind{KindPromote, KindPromote, KindPromote, KindPromote, KindRevert, KindRevert,
		KindAutoRevert, KindRelink, KindRevoke, KindAdopt,
		KindHealth, KindHealth, KindGC, KindGC, KindGC, KindHold, KindUnhold, KindPin, KindPin, KindUnpin, KindClock,
		KindGap, KindRedact, KindPrune}).Draw(t, "kind")
	odd := rapid.IntRange(0, 19).Draw(t, "odd") == 0
	switch {
	case e.Kind.Switch():
		s := &Switch{TreeID: fmt.Sprint("t", len(d.events)),
			Grace:  rapid.SampledFrom([]int64{0, 60, 7200, 7200, 1 << 40}).Draw(t, "grace"),
			Health: rapid.SampledFrom([]string{"", "pending"}).Draw(t, "check"), Recovered: rapid.IntRange(0, 4).Draw(t,
				"recovered") == 0}
		e.Generation, e.From, e.Body = d.top+1+rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "abandoned"), d.live, s
		e.Origin = e.Generation
		if e.Kind == KindRelink && d.top > 0 {
			e.Generation = rapid.IntRange(1, d.top).Draw(t, "to")
			if _, made := d.origins[e.Generation]; !made {
				d.damaged = true
			}
		}
		if e.Kind == KindRevert || e.Kind == KindRelink {
			e.Origin = d.origins[some("origin")]
		}
		if odd {
			d.damaged = true
			e.From = some("from")
			e.Generation = max(1, some("generation"))
		}
		d.live, d.top = e.Generation, max(d.top, e.Generation)
		d.origins[e.Generation] = e.Origin
	case e.Kind == KindHealth:
		if odd {
			e.Generation = some("checked")
		}
		e.Body = &Health{rapid.SampledFrom([]string{"ok", "failed"}).Draw(t, "result")}
	case e.Kind == KindPin, e.Kind == KindUnpin:
		e.Generation = some("pinned")
		e.Body = &Pin{}
	case e.Kind == KindGC && !odd:
		f := &Freed{}
		for range rapid.IntRange(0, 3).Draw(t, "trees") {
			n := some("tree")
			f.Generations, f.Items = append(f.Generations, n), append(f.Items, FreedItem{Generation: n})
		}
		for range rapid.IntRange(0, 3).Draw(t, "files") {
			f.Items = append(f.Items, FreedItem{Path: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "file")})
		}
		if odd {
			e.Generation = some("production")
		}
		e.Body = f
	case e.Kind == KindPrune:
		e.Body = &Prune{}
	case e.Kind == KindRedact:
		e.Body = &Redact{Tombstones: len(d.events)}
	case e.Kind == KindClock:
		d.now = d.now.Add(-time.Duration(rapid.SampledFrom([]int{0, 1, 3600, 86400}).Draw(t, "ahead")) * time.Second)
		e.Time = d.now
	case e.Kind == KindGap:
		e.Generation, e.From, e.Body = d.top+1, d.live, &Gap{}
		d.damaged = true
	}
	d.events = append(d.events, e)
	return e
}

// same compares every answer of a history with that of the reference.
func same(t *rapid.T, h *History, events []Event) {
	r := referenceOf(events)
	compare := func(what string, got, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", what, diff)
		}
	}
	type answer struct {
		Answer any
		OK     bool
	}
	both := func(a any, ok bool) answer { return answer{a, ok} }
	compare("last", both(h.Last()), both(r.last()))
	compare("hold", both(h.Hold()), both(r.hold()))
	compare("newest", h.Newest(), r.newest())
	compare("top", h.Top(), r.top())
	compare("redacted", both(h.Redacted()), both(r.redacted()))
	compare("promoted", both(h.LastPromote()), both(r.lastPromote()))
	for _, left := range []bool{true, false} {
		lost := func(n int) bool { return left == (n%2 == 0) }
		compare("flaws", h.Flaws(nil, lost), r.flaws(nil, lost))
		for _, n := range []int{r.top(), r.top() + 1} {
			tip := &Event{Head: Head{Kind: KindPromote, Generation: n, From: r.top()}, Body: &Switch{}}
			compare("flaws with a tip", h.Flaws(tip, lost), r.flaws(tip, lost))
		}
	}
	for n := range r.top() + 2 {
		at := func(what string) string { return fmt.Sprintf("%s %d", what, n) }
		compare(at("made"), both(h.Made(n)), both(r.made(n)))
		_, made := r.made(n)
		compare(at("named"), h.Named(n), made)
		compare(at("before"), both(h.Before(n)), both(r.before(n)))
		compare(at("health"), h.Health(n), r.health(n))
		compare(at("pin"), both(h.Pin(n)), both(r.pin(n)))
		compare(at("adopted"), h.Adopted(n), r.adopted(n))
		compare(at("freed"), h.Freed(n), r.freed(n))
		compare(at("turned"), both(h.Turned(n)), both(r.turned(n)))
		for _, path := range []string{"x", "y", "z"} {
			for _, items := range [][]FreedItem{{{Path: path}}, {{Generation: 2}, {Path: path}}} {
				compare(at("freed all"), h.FreedAll(items, n), r.freedAll(items, n))
			}
		}
	}
	for n := range r.top() + 2 {
		h.Know(n)
	}
	for _, grace := range []time.Duration{0, time.Hour, 1000 * time.Hour} {
		got, want := endsOf(h, grace), r.ends(grace)
		for n := range r.top() + 2 {
			at := func(what string) string { return fmt.Sprintf("%s %d, grace %s", what, n, grace) }
			compare(at("end of"), both(got.end(n)), both(want.end(n)))
			compare(at("recorded for"), got.recorded[n], want.recorded[n])
			if n > 0 {
				compare(at("retired"), got.retired[n], want.retired[n])
			}
		}
	}
}

// The summary of a history gives the same answers as reading every line each time.
func TestAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &drawn{}
		h := Parse(nil)
		for range rapid.IntRange(0, 60).Draw(t, "lines") {
			h.add(d.next(t))
		}
		same(t, h, d.events)
	})
}

// closed returns a history that has a checkpoint instead of its lines. The
// checkpoint keeps the details of these generations.
func closed(t *rapid.T, h *History, keep []int, older func() (*past, bool)) *History {
	text, err := json.Marshal(&checkpoint{Kind: kindCheckpoint, Time: h.Newest(), Sequence: 2,
		Segments: []segment{{Number: 1, SHA256: sum64}}, Past: h.trimmed(keep)})
	if err != nil {
		t.Fatal(err)
	}
	if !isCheckpoint(text) {
		t.Fatalf("it begins with %s", text[:30])
	}
	c, err := readCheckpoint(text)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return &History{p: c.Past, older: older}
}

func pastOf(events []Event) *past {
	p := newPast()
	for i := range events {
		p.add(&events[i])
	}
	return p
}

const sum64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// A history with a checkpoint gives the same answers as one with all lines. For
// generations that the checkpoint keeps, it needs no closed files.
func TestAnswersBehindACheckpoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &drawn{}
		h := Parse(nil)
		asked := false
		keep := []int{}
		for range rapid.IntRange(1, 60).Draw(t, "lines") {
			h.add(d.next(t))
			if rapid.IntRange(0, 9).Draw(t, "close") > 0 {
				continue
			}
			keep = rapid.SliceOfN(rapid.IntRange(1, d.top+1), 0, 3).Draw(t, "keep")
			before := d.events[:len(d.events):len(d.events)]
			h = closed(t, h, keep, func() (*past, bool) {
				asked = true
				return pastOf(before), true
			})
			if last, ok := h.Last(); ok {
				keep = append(keep, last.Generation)
			}
			asked = false
		}
		r := referenceOf(d.events)
		for _, n := range keep {
			m, _ := h.Made(n)
			want, _ := r.made(n)
			before, _ := h.Before(m.Origin)
			wantBefore, _ := r.before(want.Origin)
			h.Know(n)
			got, ends := endsOf(h, time.Hour), r.ends(time.Hour)
			end, _ := got.end(n)
			wantEnd, _ := ends.end(n)
			if diff := cmp.Diff(want, m); diff != "" || before != wantBefore || h.Health(n) != r.health(n) ||
				!end.Equal(wantEnd) ||
				!got.retired[n].Equal(ends.retired[n]) || !got.recorded[n].Equal(ends.recorded[n]) {
				t.Fatalf("generation %d: %s; %d and %d, %s and %s, %s and %s", n, diff, before, wantBefore, end,
					wantEnd, got.retired[n], ends.retired[n])
			}
		}
		if asked && !d.damaged {
			t.Fatalf("the checkpoint lacks something about %v", keep)
		}
		same(t, h, d.events)
	})
}

// If lines before the checkpoint are lost, what the checkpoint keeps is still known,
// and no window becomes shorter.
func TestAnswersWithoutOldLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &drawn{}
		h := Parse(nil)
		add := func(lines int) {
			for range rapid.IntRange(0, lines).Draw(t, "lines") {
				h.add(d.next(t))
			}
		}
		add(40)
		keep := rapid.SliceOfN(rapid.IntRange(1, d.top+1), 0, 3).Draw(t, "keep")
		var left []Event
		for _, e := range d.events {
			if rapid.Bool().Draw(t, "left") {
				left = append(left, e)
			}
		}
		h = closed(t, h, keep, func() (*past, bool) { return pastOf(left), false })
		add(10)
		r := referenceOf(d.events)
		// Of a generation that is not kept, the lost lines alone may tell when it was retired last.
		cut, complete := h.p.Cut, slices.Clone(h.p.Complete)
		kept := func(n int) bool { return n > cut || complete.has(n) }
		h.all()
		// A switch of which the line is lost is taken to have been as long ago as the
		// next; that the grace was longer then, nothing tells.
		const grace = 200 * 365 * 24 * time.Hour
		got, want := endsOf(h, grace), r.ends(grace)
		for n := range d.top + 2 {
			if d.damaged {
				break
			}
			if m, ok := h.Made(n); ok && h.p.Complete.has(n) {
				if want, _ := r.made(n); cmp.Diff(want, m) != "" {
					t.Fatalf("generation %d: %s", n, cmp.Diff(want, m))
				}
			}
			end, ok := got.end(n)
			if want, _ := want.end(n); ok && end.Before(want) {
				t.Fatalf("what generation %d dropped goes at %s, not %s", n, end, want)
			}
			if end, ok := got.retired[n]; n > 0 && kept(n) && ok && end.Before(want.retired[n]) {
				t.Fatalf("generation %d goes at %s, not %s", n, end, want.retired[n])
			}
		}
		last, _ := h.Last()
		wantLast, _ := r.last()
		hold, held := h.Hold()
		wantHold, wantHeld := r.hold()
		if cmp.Diff(last, wantLast)+cmp.Diff(hold, wantHold) != "" || held != wantHeld ||
			!h.Newest().Equal(r.newest()) || h.Top() != r.top() {
			t.Fatalf("%+v, %+v", last, hold)
		}
		for n := range d.top + 2 {
			_, pinned := h.Pin(n)
			if _, want := r.pin(n); pinned != want || h.Freed(n) != r.freed(n) {
				t.Fatalf("generation %d: pinned %v, freed %v", n, pinned, h.Freed(n))
			}
		}
	})
}
