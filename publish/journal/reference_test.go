package journal

import (
	"maps"
	"slices"
	"time"
)

// reference gives the same answers as History, by reading every line each time.
type reference struct {
	events []Event // times corrected
	ended  map[int]time.Time
}

func referenceOf(written []Event) *reference {
	r := &reference{events: slices.Clone(written)}
	var limit time.Time
	clocks := 0
	for i := len(r.events) - 1; i >= 0; i-- {
		e := &r.events[i]
		if !limit.IsZero() && e.Time.After(limit) {
			e.Time = limit
		}
		if e.Kind == KindClock {
			limit, clocks = e.Time, clocks+1
		}
	}
	if clocks == 0 {
		return r
	}
	r.ended = map[int]time.Time{}
	type window struct {
		generation int
		begin      time.Time
		grace      time.Duration
	}
	var open []window
	for i, e := range r.events {
		at := written[i].Time
		switch {
		case e.Kind.Switch():
			open = append(open, window{e.Generation, at, time.Duration(e.Switch().Grace) * time.Second})
		case e.Kind == KindClock:
			for k := range open {
				if open[k].begin.After(at) {
					open[k].begin = at
				}
			}
		case e.Kind == KindGC:
			still := open[:0]
			for _, w := range open {
				if at.Before(w.begin.Add(w.grace)) {
					still = append(still, w)
				} else if _, ok := r.ended[w.generation]; !ok {
					r.ended[w.generation] = e.Time
				}
			}
			open = still
		}
	}
	return r
}

func madeOf(e Event) Made {
	s := e.Switch()
	return Made{e.Head, s.TreeID, s.Seal, s.Grace, s.Health, s.Recovered}
}

func (r *reference) last() (Made, bool) {
	for _, e := range slices.Backward(r.events) {
		if e.Kind.Switch() {
			return madeOf(e), true
		}
	}
	return Made{}, false
}

func (r *reference) made(n int) (Made, bool) {
	for _, e := range r.events {
		if e.Kind.Switch() && e.Generation == n {
			return madeOf(e), true
		}
	}
	return Made{}, false
}

func (r *reference) before(origin int) (int, bool) {
	made, ok := r.made(origin)
	if !ok || made.From == 0 {
		return 0, false
	}
	from, ok := r.made(made.From)
	return from.Origin, ok
}

func (r *reference) health(n int) string {
	for _, e := range slices.Backward(r.events) {
		if e.Kind == KindHealth && e.Generation == n {
			return e.Body.(*Health).Result
		}
	}
	return ""
}

func (r *reference) hold() (Head, bool) {
	for _, e := range slices.Backward(r.events) {
		switch e.Kind {
		case KindHold:
			return e.Head, true
		case KindUnhold:
			return Head{}, false
		}
	}
	return Head{}, false
}

func (r *reference) pin(n int) (Head, bool) {
	for _, e := range slices.Backward(r.events) {
		switch {
		case e.Kind == KindPin && e.Generation == n:
			return e.Head, true
		case e.Kind == KindUnpin && e.Generation == n:
			return Head{}, false
		}
	}
	return Head{}, false
}

func (r *reference) newest() (t time.Time) {
	for _, e := range r.events {
		if e.Time.After(t) {
			t = e.Time
		}
	}
	return t
}

func (r *reference) top() (top int) {
	for _, e := range r.events {
		top = max(top, e.Generation)
	}
	return top
}

func (r *reference) adopted(n int) bool {
	return slices.ContainsFunc(r.events, func(e Event) bool { return e.Kind == KindAdopt && e.Generation == n })
}

func (r *reference) lastPromote() (time.Time, bool) {
	for _, e := range slices.Backward(r.events) {
		if (e.Kind == KindPromote || e.Kind == KindAdopt) && r.health(e.Generation) != "failed" {
			return e.Time, true
		}
	}
	return time.Time{}, false
}

func (r *reference) turned(was int) (Head, bool) {
	for _, e := range r.events {
		if e.Generation > was && (e.Kind == KindRevert || e.Kind == KindRelink) || e.Kind == KindRelink &&
			e.From >= was {
			return e.Head, true
		}
	}
	return Head{}, false
}

func (r *reference) redacted() (int, bool) {
	for _, e := range slices.Backward(r.events) {
		if e.Kind == KindRedact {
			return e.Body.(*Redact).Tombstones, true
		}
	}
	return 0, false
}

func (r *reference) freed(n int) bool {
	for _, e := range r.events {
		if f, ok := e.Body.(*Freed); ok && slices.Contains(f.Generations, n) {
			return true
		}
	}
	return false
}

func (r *reference) freedAll(items []FreedItem, n int) bool {
	said := map[FreedItem]bool{}
	for _, e := range r.events {
		if f, ok := e.Body.(*Freed); ok {
			for _, i := range f.Items {
				said[FreedItem{Generation: i.Generation, Path: i.Path}] = i.Path == "" || e.Generation == n
			}
		}
	}
	return !slices.ContainsFunc(items,
		func(i FreedItem) bool { return !said[FreedItem{Generation: i.Generation, Path: i.Path}] })
}

// flaws walks the chain from its beginning.
func (r *reference) flaws(tip *Event, lost func(int) bool) (out []Flaw) {
	made, recovered := map[int]bool{}, map[int]bool{}
	var past []Event
	top, told := 0, false
	follows := func(from int) bool {
		for i := len(past); ; i-- {
			live := 0
			if i > 0 {
				live = past[i-1].Generation
			}
			if live == from {
				return true
			}
			if i == 0 || !past[i-1].Switch().Recovered || past[i-1].Kind == KindRelink {
				return false
			}
		}
	}
	add := func(e Event) {
		f := Flaw{Generation: e.Generation, From: e.From}
		switch own := e.Kind != KindRelink; {
		case own && made[e.Generation]:
			f.Kind = Twice
			out = append(out, f)
			return
		case own && e.Generation < top:
			f.Kind = Misplaced
			out = append(out, f)
		case !told && !follows(e.From):
			if made[e.From] {
				f.Kind = Moved
			}
			out = append(out, f)
		}
		if e.Kind != KindRelink {
			made[e.Generation] = true
			top = max(top, e.Generation)
		}
		past, told = append(past, e), false
	}
	for _, e := range r.events {
		switch {
		case e.Kind == KindGap:
			told = true
		case e.Kind.Switch():
			add(e)
			recovered[e.Generation] = e.Switch().Recovered
		}
	}
	out = slices.DeleteFunc(out, func(f Flaw) bool {
		return f.Kind == Lost && recovered[f.Generation] && lost(f.From)
	})
	if tip != nil && !made[tip.Generation] { // its line is still to come: nothing tells that it was recovered
		add(*tip)
	}
	return out
}

// ends returns the windows as package publish computes them.
type ends struct {
	dropped, recorded, retired map[int]time.Time
	known                      []int
}

func (w *ends) add(c Change, grace time.Duration) {
	end := c.Time.Add(max(time.Duration(c.Grace)*time.Second, grace))
	if c.First {
		w.dropped[c.Generation] = end
		w.recorded[c.Generation] = c.Time.Add(time.Duration(c.Grace) * time.Second)
		if !c.Ended.IsZero() && c.Ended.Before(w.recorded[c.Generation]) {
			w.recorded[c.Generation] = c.Ended
		}
	}
	for _, n := range c.Left {
		w.retired[n] = end
	}
}

func (w *ends) end(n int) (time.Time, bool) {
	i, _ := slices.BinarySearch(w.known, n)
	if i == len(w.known) {
		return time.Time{}, false
	}
	return w.dropped[w.known[i]], true
}

func newEnds() *ends {
	return &ends{dropped: map[int]time.Time{}, recorded: map[int]time.Time{}, retired: map[int]time.Time{}}
}

func endsOf(h *History, grace time.Duration) *ends {
	w := newEnds()
	for c := range h.Changes() {
		w.add(c, grace)
	}
	w.known = slices.Sorted(maps.Keys(w.dropped))
	return w
}

func (r *reference) ends(grace time.Duration) *ends {
	w := newEnds()
	live := 0
	for _, e := range r.events {
		if !e.Kind.Switch() {
			continue
		}
		c := Change{Generation: e.Generation, Time: e.Time, Grace: e.Switch().Grace}
		_, again := w.dropped[e.Generation]
		c.First, c.Ended = !again, r.ended[e.Generation]
		for _, n := range []int{e.From, live} {
			if n != e.Generation {
				c.Left = append(c.Left, n)
			}
		}
		w.add(c, grace)
		live = e.Generation
	}
	w.known = slices.Sorted(maps.Keys(w.dropped))
	return w
}
