package journal

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"example.com/publish/stage/durable"
)

// Entry is a line of the history: what it says and, of a line that was read,
// its text. A line is written again as it was, with fields that this version
// does not know.
type Entry struct {
	Event
	Text []byte
}

// Entries reads the sound lines of a history, of which this version knows all.
func Entries(data []byte) []Entry {
	var out []Entry
	ReadSealed(data, func(text []byte) bool {
		var e Event
		if json.Unmarshal(text, &e) != nil {
			return false
		}
		out = append(out, Entry{e, text})
		return true
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
			if text, err = e.Marshal(); err != nil {
				return nil, err
			}
		}
		out = append(out, durable.Line(text)...)
	}
	return out, nil
}

// Straighten puts lines that are out of place back, and drops those that are
// there twice.
func Straighten(entries []Entry) (out []Entry, moved, dropped int) {
	at := map[int]int{} // the index in out of the line that makes a generation
	var astray, kept []Entry
	for _, e := range entries {
		if !e.Kind.Switch() || e.Kind == Relink {
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
		if !e.Kind.Switch() || e.Kind == Relink {
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
	slices.SortStableFunc(astray, func(a, b Entry) int { return cmp.Compare(a.Generation, b.Generation) })
	for _, e := range astray {
		out = insertEntry(out, e)
	}
	return out, len(astray), dropped
}

// SettleRelinks puts the lines of changes that another program made to where
// they continue the chain, and drops those that are there twice.
func SettleRelinks(entries []Entry) (out []Entry, moved, dropped int) {
	var astray []Entry
	live := 0
	for _, e := range entries {
		if e.Kind == Relink && e.From != live {
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
func insertEntry(entries []Entry, e Entry) []Entry {
	lo, hi := 0, len(entries)
	for i, o := range entries {
		if !o.Kind.Switch() || o.Kind == Relink {
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
func place(entries []Entry, e Entry, lo, hi int) (at, best int) {
	live := 0
	for i := 0; i <= hi; i++ {
		if i >= lo && live == e.From {
			score := 1
			next := slices.IndexFunc(entries[i:], func(o Entry) bool { return o.Kind.Switch() })
			if next < 0 || entries[i+next].From == e.Generation {
				score = 2
			}
			later := i > 0 && !entries[i-1].Kind.Switch() && !entries[i-1].Time.After(e.Time) &&
				(entries[i-1].Kind != Clock || i < len(entries) && !entries[i].Time.Before(e.Time))
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

// Fill adds the switches whose line the history lacks, in the order of their
// generations. It returns those generations.
func Fill(entries []Entry, switches []Event) (out []Entry, made []int) {
	have := map[int]bool{}
	for _, e := range entries {
		if e.Kind.Switch() && e.Kind != Relink {
			have[e.Generation] = true
		}
	}
	switches = slices.DeleteFunc(slices.Clone(switches), func(e Event) bool { return have[e.Generation] })
	slices.SortFunc(switches, func(a, b Event) int { return cmp.Compare(a.Generation, b.Generation) })
	for _, e := range switches {
		made = append(made, e.Generation)
		entries = insertEntry(entries, Entry{Event: e})
	}
	return entries, made
}

// Bridge notes where the chain stays broken. That production went back to a
// generation is derived from the switch after it; what nothing tells becomes a
// gap, with note as the rest of its line.
func Bridge(entries []Entry, tip *Event, note Event) (out []Entry, back, gaps []int) {
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
	}, tip, true, func(i int, f Flaw) {
		if i < 0 {
			i = len(entries)
		}
		if f.Kind != Moved {
			gaps = append(gaps, f.Generation)
			add = append(add, before{i, GapBefore(f, note)})
			return
		}
		e := note
		live = 0
		for _, o := range entries[:i] {
			if o.Kind.Switch() {
				live = o.Generation
			}
		}
		k := slices.IndexFunc(entries, func(o Entry) bool {
			return o.Kind.Switch() && o.Kind != Relink && o.Generation == f.From
		})
		made := entries[k].Event
		e.Kind, e.Generation, e.From, e.Origin, e.TreeID, e.Recovered, e.Who = Relink, f.From, live, made.Origin, made.TreeID, true, "unknown"
		e.Message = fmt.Sprintf("the line was lost; that production went back, the manifest of generation %d tells", f.Generation)
		if i < len(entries) {
			e.Time, e.Grace = entries[i].Time, entries[i].Grace
		}
		back = append(back, f.From)
		add = append(add, before{i, e})
	})
	for i := len(add) - 1; i >= 0; i-- {
		entries = slices.Insert(entries, add[i].i, Entry{Event: add[i].e})
	}
	return entries, back, gaps
}

// GapBefore is the line that says what the history does not tell, with note as
// its rest.
func GapBefore(f Flaw, note Event) Event {
	note.Kind, note.Generation, note.From = Gap, f.Generation, f.From
	note.Message = "what was production before this generation, neither the history nor a manifest tells"
	if f.From != 0 {
		note.Message = fmt.Sprintf("how generation %d came to be, neither the history nor a manifest tells", f.From)
	}
	return note
}
