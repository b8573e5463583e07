package publish

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"slices"
)

// Each switch of the history names the generation that was production before
// it, so the switches form a chain: from 0, nothing, to what production is. A
// history that lost lines, or has them twice or in another order, breaks it.
// Lines that are no switches are in no chain: nobody misses a gc.

// entry is a line of the history: what it says and, of a line that was read,
// its text. A line is written again as it was, with fields that this version
// does not know.
type entry struct {
	Event
	text []byte
}

// flaw is a place where the chain is broken.
type flaw struct {
	kind       flawKind
	generation int // that the line at the place tells of
	from       int // which generation the line says was before
}

type flawKind int

const (
	flawLost  flawKind = iota // no line makes the generation that was before
	flawMoved                 // the line that makes the generation before was not the last
	flawOrder                 // the line stands behind lines of later generations
	flawTwice                 // an earlier line makes the same generation
)

func (f flaw) String() string {
	switch f.kind {
	case flawLost:
		if f.from == f.generation {
			return fmt.Sprintf("the switch to generation %d is missing: its tree is there", f.from)
		}
		if f.from == 0 {
			return fmt.Sprintf("what was production before generation %d is not recorded", f.generation)
		}
		return fmt.Sprintf("the switch to generation %d is missing: generation %d came after it", f.from, f.generation)
	case flawMoved:
		return fmt.Sprintf("how production went back to generation %d is missing: generation %d came after it", f.from, f.generation)
	case flawOrder:
		return fmt.Sprintf("the switch to generation %d stands behind later ones", f.generation)
	}
	return fmt.Sprintf("the switch to generation %d is there twice", f.generation)
}

// flaws returns where the chain is broken. tip is production's manifest; nil
// for none. A production that the history does not name yet has to continue the
// chain: a command that was killed behind its switch leaves one line to write.
func (h *History) flaws(tip *Head) []flaw {
	var out []flaw
	walk(func(yield func(int, *Event) bool) {
		for i := range h.Events {
			if !yield(i, &h.Events[i]) {
				return
			}
		}
	}, tip, false, func(_ int, f flaw) { out = append(out, f) })
	return out
}

// entries are the lines of the history, without their texts.
func (h *History) entries() []entry {
	out := make([]entry, len(h.Events))
	for i, e := range h.Events {
		out[i].Event = e
	}
	return out
}

// walk follows the chain and calls broken with each flaw and the place of its
// line; that of the tip is -1. If it is not strict, it passes over lines that
// follows excuses.
func walk(events iter.Seq2[int, *Event], tip *Head, strict bool, broken func(i int, f flaw)) {
	made := map[int]bool{}
	var past []*Event // the switches so far
	top, told := 0, false
	add := func(i int, e *Event) {
		f := flaw{generation: e.Generation, from: e.From}
		switch own := e.Kind != KindRelink; {
		case own && made[e.Generation]:
			f.kind = flawTwice
			broken(i, f)
			return
		case own && e.Generation < top:
			f.kind = flawOrder
			broken(i, f)
		case !told && !follows(past, e.From, strict):
			if made[e.From] {
				f.kind = flawMoved
			}
			broken(i, f)
		}
		if e.Kind != KindRelink {
			made[e.Generation] = true
			top = max(top, e.Generation)
		}
		past, told = append(past, e), false
	}
	for i, e := range events {
		switch {
		case e.Kind == KindGap:
			told = true
		case e.Kind.Switch():
			add(i, e)
		}
	}
	if tip != nil && !made[tip.Generation] {
		add(-1, &Event{Kind: EventKind(tip.Kind), Generation: tip.Generation, From: tip.From})
	}
}

// follows reports whether a switch from a generation continues the chain. Up to
// layout 1, recovery took a promote that was abandoned for a switch: such lines
// are passed over.
func follows(past []*Event, from int, strict bool) bool {
	for i := len(past); ; i-- {
		live := 0
		if i > 0 {
			live = past[i-1].Generation
		}
		if live == from {
			return true
		}
		if strict || i == 0 || !past[i-1].Recovered || past[i-1].Kind == KindRelink {
			return false
		}
	}
}

// straighten puts lines that are out of place back, and drops those that are
// there twice.
func straighten(entries []entry) (out []entry, moved, dropped int) {
	at := map[int]int{} // the index in out of the line that makes a generation
	var astray, kept []entry
	for _, e := range entries {
		if !e.Kind.Switch() || e.Kind == KindRelink {
			kept = append(kept, e)
			continue
		}
		if i, twice := at[e.Generation]; twice {
			if dropped++; kept[i].Recovered && !e.Recovered {
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
			before := 0
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
	slices.SortStableFunc(astray, func(a, b entry) int { return cmp.Compare(a.Generation, b.Generation) })
	for _, e := range astray {
		out = insertEntry(out, e)
	}
	return out, len(astray), dropped
}

// settleRelinks puts the lines of changes that another program made to where
// they continue the chain, and drops those that are there twice.
func settleRelinks(entries []entry) (out []entry, moved, dropped int) {
	var astray []entry
	live := 0
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
		if slices.ContainsFunc(out, func(o entry) bool { return bytes.Equal(o.text, e.text) }) {
			dropped++
		} else if i, score := place(out, e, 0, len(out)); score == 2 {
			out = slices.Insert(out, i, e)
			moved++
		} else {
			return entries, 0, 0 // it has no place: each is true where it is
		}
	}
	return out, moved, dropped
}

// insertEntry puts a switch where it was made: between those to earlier and to
// later generations, where it continues the chain, else before the first to a
// later one.
func insertEntry(entries []entry, e entry) []entry {
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
	i, score := place(entries, e, lo, hi)
	if score == 0 {
		i = hi
	}
	return slices.Insert(entries, i, e)
}

// place finds where from lo to hi a switch continues the chain (1), or where the
// next one follows it also (2); 0 is nowhere. Among lines that are no switches
// it stands by its time; but a line of kind clock says that times before it may
// be too late, so one that does not fit behind it stands before it.
func place(entries []entry, e entry, lo, hi int) (at, best int) {
	live := 0
	for i := 0; i <= hi; i++ {
		if i >= lo && live == e.From {
			score := 1
			next := slices.IndexFunc(entries[i:], func(o entry) bool { return o.Kind.Switch() })
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

// fill adds the switches of which the history lacks the line, from the heads of
// the generations that were switched to.
func fill(entries []entry, heads map[int]Head, switched map[int]bool) (out []entry, made []int) {
	have := map[int]bool{}
	for _, e := range entries {
		if e.Kind.Switch() && e.Kind != KindRelink {
			have[e.Generation] = true
		}
	}
	for n := range switched {
		if _, ok := heads[n]; ok && !have[n] {
			made = append(made, n)
		}
	}
	slices.Sort(made)
	for _, n := range made {
		m := heads[n]
		entries = insertEntry(entries, entry{Event: Event{Time: m.Time, Kind: EventKind(m.Kind), Generation: n, From: m.From, Origin: m.Origin, TreeID: m.TreeID, Seal: m.Borne(),
			Who: m.Who, Message: m.Message, Added: m.Added, Removed: m.Removed, Changed: m.Changed, Grace: m.Grace, Recovered: true, Revoked: m.Revoked, Unnamed: m.Unnamed}})
	}
	return entries, made
}

// bridge notes where the chain stays broken. That production went back to a
// generation is derived from the switch after it; what nothing tells becomes a
// gap, with note as the rest of its line.
func bridge(entries []entry, tip *Head, note Event) (out []entry, back, gaps []int) {
	type before struct {
		i int
		e Event
	}
	var add []before
	live := 0 // the last switch before a place
	walk(func(yield func(int, *Event) bool) {
		for i := range entries {
			if !yield(i, &entries[i].Event) {
				return
			}
		}
	}, tip, true, func(i int, f flaw) {
		if i < 0 {
			i = len(entries)
		}
		if f.kind != flawMoved {
			gaps = append(gaps, f.generation)
			add = append(add, before{i, gapBefore(f, note)})
			return
		}
		e := note
		live = 0
		for _, o := range entries[:i] {
			if o.Kind.Switch() {
				live = o.Generation
			}
		}
		k := slices.IndexFunc(entries, func(o entry) bool {
			return o.Kind.Switch() && o.Kind != KindRelink && o.Generation == f.from
		})
		made := entries[k].Event
		e.Kind, e.Generation, e.From, e.Origin, e.TreeID, e.Recovered, e.Who = KindRelink, f.from, live, made.Origin, made.TreeID, true, "unknown"
		e.Message = fmt.Sprintf("the line was lost; that production went back, the manifest of generation %d tells", f.generation)
		if i < len(entries) {
			e.Time, e.Grace = entries[i].Time, entries[i].Grace
		}
		back = append(back, f.from)
		add = append(add, before{i, e})
	})
	for i := len(add) - 1; i >= 0; i-- {
		entries = slices.Insert(entries, add[i].i, entry{Event: add[i].e})
	}
	return entries, back, gaps
}

// gapBefore is the line that says what the history does not tell, with note as
// its rest.
func gapBefore(f flaw, note Event) Event {
	note.Kind, note.Generation, note.From = KindGap, f.generation, f.from
	note.Message = "what was production before this generation, neither the history nor a manifest tells"
	if f.from != 0 {
		note.Message = fmt.Sprintf("how generation %d came to be, neither the history nor a manifest tells", f.from)
	}
	return note
}

// flaws returns where the chain of the history is broken. That a recovery of
// layout 1 found no manifest before the lines that it made is no flaw. A kept
// tree below production that no line made is one, though the chain may be
// closed: lost are the switch to it, and the one back.
func (r *Repo) flaws(h *History, tip *Head) []flaw {
	made, recovered := map[int]bool{}, map[int]bool{}
	for _, e := range h.Events {
		if e.Kind.Switch() {
			made[e.Generation] = true
			recovered[e.Generation] = e.Recovered
		}
	}
	out := slices.DeleteFunc(h.flaws(tip), func(f flaw) bool {
		return f.kind == flawLost && recovered[f.generation] && !r.tells(f.from)
	})
	if tip == nil {
		return out
	}
	kept, err := r.kept(tip.Generation)
	if err != nil {
		return out // whoever needs the trees tells
	}
	for _, n := range kept {
		if n < tip.Generation && !made[n] {
			if id, err := r.whose(r.path("generations", number(n))); err == nil && id == n {
				out = append(out, flaw{kind: flawLost, generation: n, from: n})
			}
		}
	}
	return out
}

// tells reports whether something is left from which the line of generation n
// can be made.
func (r *Repo) tells(n int) bool {
	if n > 0 && gone(r.manifestPath(n)) {
		id, err := r.whose(r.path("generations", number(n)))
		return err == nil && id == n
	}
	return n > 0
}

// whole refuses to go on with a history that lost what recover can make anew:
// windows are counted from it. What nothing is left of stops nobody.
func (r *Repo) whole(s *state) error {
	for _, f := range r.flaws(s.history, s.tip()) {
		if f.kind == flawMoved || f.kind == flawLost && !r.tells(f.from) {
			continue
		}
		return &Error{Path: r.historyPath(), Fact: f.String(),
			Hint: "run publish recover: it keeps the file as " + r.short(asideName(r.historyPath())) + " and makes what is missing anew from the manifests"}
	}
	return nil
}

// tip is the head of production's manifest; nil when there is none.
func (s *state) tip() *Head {
	if s.current == nil {
		return nil
	}
	return &s.current.Head
}
