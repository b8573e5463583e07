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

// Entry is a line of the history: what it says and, of a line that was read,
// its text. A line is written again as it was, with fields that this version
// does not know.
type Entry struct {
	Event
	Text []byte
}

// Entries reads the sound lines of a file of a history, of which this version
// knows all. A checkpoint is no entry.
func Entries(data []byte) []Entry {
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

// Encode returns the data of a history with these lines.
func Encode(entries []Entry) ([]byte, error) {
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

// Repaired is what Repair made of the lines of a history.
type Repaired struct {
	Entries []Entry
	Made    []int // generations whose lines were made anew
	Back    []int // generations to which production went back, as the switch after it proves
	Gaps    []int // generations of which it is not known what came before
	Moved   int   // lines that were put back in place
	Dropped int   // lines that were there twice
}

// Repair makes lines a history whose chain is whole. base is what came before
// them, all of it whole; nil for nothing. proved returns the switches that
// something else than these lines proves, and tip is the switch that comes next,
// as production's manifest records it; nil for none. Lines that note what is not
// known are of now and of who, and have the grace that is configured.
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

// straighten puts lines that are out of place back, and drops those that are
// there twice.
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
				kept[i] = e // it knows more
			}
			continue
		}
		at[e.Generation] = len(kept)
		kept = append(kept, e)
	}
	// The line that breaks the order is the later one or the one before it:
	// that whose neighbour continues the chain without it.
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

// settleRelinks puts the lines of changes that another program made to where
// they continue the chain, and drops those that are there twice.
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
			return entries, 0, 0 // it has no place: each is true where it is
		}
	}
	return out, moved, dropped
}

// insert puts a switch where it was made: between those to earlier and to
// later generations, where it continues the chain, else before the first to a
// later one.
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

// place finds where from lo to hi a switch continues the chain (1), or where the
// next one follows it also (2); 0 is nowhere. Among lines that are no switches
// it stands by its time; but a line of kind clock says that times before it may
// be too late, so one that does not fit behind it stands before it.
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

// fill adds the switches whose line the history lacks, in the order of their
// generations. It returns those generations.
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

// bridge notes where the chain stays broken. That production went back to a
// generation is derived from the switch after it; what nothing tells becomes a
// gap.
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
		e.Message = fmt.Sprintf("the line was lost; that production went back, the manifest of generation %d tells",
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

// GapBefore is the line that says what the history does not tell, with note as
// its rest.
func GapBefore(f Flaw, note Head, grace int64) Event {
	note.Kind, note.Generation, note.From = KindGap, f.Generation, f.From
	note.Message = "what was production before this generation, neither the history nor a manifest tells"
	if f.From != 0 {
		note.Message = fmt.Sprintf("how generation %d came to be, neither the history nor a manifest tells", f.From)
	}
	return Event{note, &Gap{grace}}
}
