package journal

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"example.com/publish/stage/durable"
)

// Entry is a line of the history: its event and, if it was read from a file, its
// text. encode writes that text unchanged, so fields that this version does not
// know are kept.
type Entry struct {
	Event
	Text []byte
}

// readEntries returns the sound lines of a file of a history, without its
// checkpoint. The caller has checked that this version knows all of them.
func readEntries(data []byte) []Entry {
	var out []Entry
	ReadSealed(data, func(text []byte) bool {
		e, ok := eventOf(text)
		if ok = ok && !isCheckpoint(text); ok {
			out = append(out, Entry{e, text})
		}
		return ok
	})
	return out
}

// encode returns the data of a history with these lines.
func encode(entries []Entry) ([]byte, error) {
	var out []byte
	for _, e := range entries {
		text := e.Text
		if text == nil {
			var err error
			if text, err = json.Marshal(e.Event); err != nil {
				return nil, err
			}
		}
		out = append(out, durable.Line(text)...)
	}
	return out, nil
}

// Repaired is the result of Repair.
type Repaired struct {
	Entries []Entry
	Made    []int // generations whose missing lines were added
	Back    []int // generations that production went back to by a lost line, as the next switch proves
	Gaps    []int // generations for which it is unknown what came before
	Moved   int   // lines that were out of place
	Dropped int   // duplicate lines that were removed
}

// Repair turns lines into a history whose chain is whole. base is the undamaged
// history before them; nil for none. proved returns the switches that other
// evidence, such as manifests, proves. tip is the switch to production that its
// manifest records; nil for none. now, who and grace go into the lines that
// Repair adds.
func Repair(base *History, entries []Entry, proved func([]Entry) []Event, tip *Event, now time.Time, who string,
	grace time.Duration) Repaired {
	if base == nil {
		base = Parse(nil)
	}
	var r Repaired
	var relinked, twice int
	entries, r.Moved, r.Dropped = base.straighten(entries)
	entries, r.Made = base.fill(entries, proved(entries))
	entries, relinked, twice = base.settleRelinks(entries)
	r.Entries, r.Back, r.Gaps = base.bridge(entries, tip, Head{Time: now, Who: who}, int64(grace/time.Second))
	r.Moved, r.Dropped = r.Moved+relinked, r.Dropped+twice
	return r
}

// straighten moves switches that are out of place to where they belong, and
// drops duplicates.
func (h *History) straighten(entries []Entry) (out []Entry, moved, dropped int) {
	at := map[int]int{} // the index in out of the line that makes a generation
	var astray, kept []Entry
	for _, e := range entries {
		if !e.Kind.Switch() || e.Kind == KindRelink {
			kept = append(kept, e)
			continue
		}
		if h.p.Chain.Made.has(e.Generation) {
			dropped++
			continue
		}
		if i, twice := at[e.Generation]; twice {
			if dropped++; kept[i].Switch().Recovered && !e.Switch().Recovered {
				kept[i] = e // the original line has more details than a recovered one
			}
			continue
		}
		at[e.Generation] = len(kept)
		kept = append(kept, e)
	}
	// Of two lines in the wrong order, either may be the one that is out of
	// place. If the later line continues the chain without the earlier one, the
	// earlier one is out of place; else the later one is.
	var path []int // indexes in kept of switches with rising generations
	gone := map[int]bool{}
	for i, e := range kept {
		if !e.Kind.Switch() || e.Kind == KindRelink {
			continue
		}
		for len(path) > 0 && kept[path[len(path)-1]].Generation > e.Generation {
			before := h.p.Chain.Top
			if len(path) > 1 {
				before = kept[path[len(path)-2]].Generation
			}
			if e.From != before {
				break
			}
			gone[path[len(path)-1]] = true
			path = path[:len(path)-1]
		}
		if len(path) > 0 && kept[path[len(path)-1]].Generation > e.Generation {
			gone[i] = true
			continue
		}
		path = append(path, i)
	}
	for i, e := range kept {
		if gone[i] {
			astray = append(astray, e)
		} else {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(astray, func(a, b Entry) int { return cmp.Compare(a.Generation, b.Generation) })
	for _, e := range astray {
		out = h.insert(out, e)
	}
	return out, len(astray), dropped
}

// settleRelinks moves relinks that are out of place to where they continue the
// chain, and drops duplicates.
func (h *History) settleRelinks(entries []Entry) (out []Entry, moved, dropped int) {
	var astray []Entry
	live := h.p.Last.Generation
	for _, e := range entries {
		if e.Kind == KindRelink && e.From != live {
			astray = append(astray, e)
			continue
		}
		if e.Kind.Switch() {
			live = e.Generation
		}
		out = append(out, e)
	}
	for _, e := range astray {
		if slices.ContainsFunc(out, func(o Entry) bool { return bytes.Equal(o.Text, e.Text) }) {
			dropped++
		} else if i, score := h.place(out, e, 0, len(out)); score == 2 {
			out = slices.Insert(out, i, e)
			moved++
		} else {
			return entries, 0, 0 // it fits nowhere: leave all of them where they are
		}
	}
	return out, moved, dropped
}

// insert inserts a switch between those to earlier and those to later
// generations. There it goes where it continues the chain, or else directly
// before the first switch to a later generation.
func (h *History) insert(entries []Entry, e Entry) []Entry {
	lo, hi := 0, len(entries)
	for i, o := range entries {
		if !o.Kind.Switch() || o.Kind == KindRelink {
			continue
		}
		if o.Generation > e.Generation {
			hi = i
			break
		}
		lo = i + 1
	}
	i, score := h.place(entries, e, lo, hi)
	if score == 0 {
		i = hi
	}
	return slices.Insert(entries, i, e)
}

// place finds the best index from lo to hi for a switch. The score best is 2 if
// the switch continues the chain there and the next switch continues it, 1 if
// only the former is true, and 0 if no index fits. Among indexes with the same
// score, the time decides between lines that are not switches. But times before
// a line of kind clock may be too late: a switch goes after such a line only if
// its time fits the line behind it.
func (h *History) place(entries []Entry, e Entry, lo, hi int) (at, best int) {
	live := h.p.Last.Generation
	for i := 0; i <= hi; i++ {
		if i >= lo && live == e.From {
			score := 1
			next := slices.IndexFunc(entries[i:], func(o Entry) bool { return o.Kind.Switch() })
			if next < 0 || entries[i+next].From == e.Generation {
				score = 2
			}
			later := i > 0 && !entries[i-1].Kind.Switch() && !entries[i-1].Time.After(e.Time) &&
				(entries[i-1].Kind != KindClock || i < len(entries) && !entries[i].Time.Before(e.Time))
			if score > best || score == best && later {
				at, best = i, score
			}
		}
		if i < hi && entries[i].Kind.Switch() {
			live = entries[i].Generation
		}
	}
	return at, best
}

// fill adds those of the switches that the history lacks, in the order of their
// generations. made has these generations.
func (h *History) fill(entries []Entry, switches []Event) (out []Entry, made []int) {
	have := map[int]bool{}
	for _, e := range entries {
		if e.Kind.Switch() && e.Kind != KindRelink {
			have[e.Generation] = true
		}
	}
	switches = slices.DeleteFunc(slices.Clone(switches), func(e Event) bool {
		return have[e.Generation] || h.p.Chain.Made.has(e.Generation)
	})
	slices.SortFunc(switches, func(a, b Event) int { return cmp.Compare(a.Generation, b.Generation) })
	for _, e := range switches {
		made = append(made, e.Generation)
		entries = h.insert(entries, Entry{Event: e})
	}
	return entries, made
}

// bridge adds a line wherever the chain is still broken: a relink where the next
// switch proves that production went back to a generation, else a gap.
func (h *History) bridge(entries []Entry, tip *Event, note Head, grace int64) (out []Entry, back, gaps []int) {
	c, live := h.p.Chain.clone(), h.p.Last.Generation
	made := map[int]*Event{} // by these lines
	find := func(n int) (origin int, treeID string) {
		if e := made[n]; e != nil {
			return e.Origin, e.Switch().TreeID
		}
		m, _ := h.Made(n)
		return m.Origin, m.TreeID
	}
	mend := func(f Flaw, at time.Time, grace int64) {
		if f.Kind != Moved {
			gaps = append(gaps, f.Generation)
			out = append(out, Entry{Event: GapBefore(f, note, grace)})
			return
		}
		e := Event{Head: note}
		e.Time, e.Kind, e.Generation, e.From, e.Who = at, KindRelink, f.From, live, "unknown"
		e.Message = fmt.Sprintf("the line was lost; the manifest of generation %d shows that production went back",
			f.Generation)
		s := &Switch{Recovered: true, Grace: grace}
		e.Origin, s.TreeID = find(f.From)
		e.Body = s
		back = append(back, f.From)
		out = append(out, Entry{Event: e})
	}
	for i, e := range entries {
		s := e.Switch()
		if s != nil {
			if f, broken := c.add(&e.Head, s.Recovered, true); broken {
				mend(f, e.Time, s.Grace)
			}
			if live = e.Generation; e.Kind != KindRelink && made[live] == nil {
				made[live] = &entries[i].Event
			}
		} else if e.Kind == KindGap {
			c.Told = true
		}
		out = append(out, e)
	}
	if tip != nil && !c.Made.has(tip.Generation) {
		if f, broken := c.judge(&tip.Head, true); broken {
			mend(f, note.Time, grace)
		}
	}
	return out, back, gaps
}

// GapBefore returns the line of [KindGap] for a flaw. Its other fields come from
// note.
func GapBefore(f Flaw, note Head, grace int64) Event {
	note.Kind, note.Generation, note.From = KindGap, f.Generation, f.From
	note.Message = "neither the history nor a manifest records what was production before this generation"
	if f.From != 0 {
		note.Message = fmt.Sprintf("neither the history nor a manifest records how generation %d was made", f.From)
	}
	return Event{note, &Gap{grace}}
}
