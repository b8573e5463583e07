package journal

import (
	"fmt"
	"iter"
)

// Each switch of the history names the generation that was production before
// it, so the switches form a chain: from 0, nothing, to what production is. A
// history that lost lines, or has them twice or in another order, breaks it.
// Lines that are no switches are in no chain: nobody misses a gc.

// Flaw is a place where the chain is broken.
type Flaw struct {
	Kind       FlawKind
	Generation int // that the line at the place is about
	From       int // which generation the line says was before
}

// FlawKind is how the chain is broken.
type FlawKind int

// The kinds of Flaws.
const (
	Lost      FlawKind = iota // no line makes the generation that was before
	Moved                     // the line that makes the generation before was not the last
	Misplaced                 // the line stands behind lines of later generations
	Twice                     // an earlier line makes the same generation
)

func (f Flaw) String() string {
	switch f.Kind {
	case Lost:
		if f.From == f.Generation {
			return fmt.Sprintf("the switch to generation %d is missing: its tree is there", f.From)
		}
		if f.From == 0 {
			return fmt.Sprintf("what was production before generation %d is not recorded", f.Generation)
		}
		return fmt.Sprintf("the switch to generation %d is missing: generation %d came after it", f.From, f.Generation)
	case Moved:
		return fmt.Sprintf("how production went back to generation %d is missing: generation %d came after it", f.From, f.Generation)
	case Misplaced:
		return fmt.Sprintf("the switch to generation %d stands behind later ones", f.Generation)
	}
	return fmt.Sprintf("the switch to generation %d is there twice", f.Generation)
}

// Flaws returns where the chain is broken. tip is the switch that production's
// manifest records; nil for none. A production that the history does not name
// yet has to continue the chain: a command that was killed behind its switch
// leaves one line to write.
func (h *History) Flaws(tip *Event) []Flaw {
	var out []Flaw
	walk(func(yield func(int, *Event) bool) {
		for i := range h.Events {
			if !yield(i, &h.Events[i]) {
				return
			}
		}
	}, tip, false, func(_ int, f Flaw) { out = append(out, f) })
	return out
}

// walk follows the chain and calls broken with each flaw and the place of its
// line; that of the tip is -1. If it is not strict, it passes over lines that
// follows excuses.
func walk(events iter.Seq2[int, *Event], tip *Event, strict bool, broken func(i int, f Flaw)) {
	made := map[int]bool{}
	var past []*Event // the switches so far
	top, told := 0, false
	add := func(i int, e *Event) {
		f := Flaw{Generation: e.Generation, From: e.From}
		switch own := e.Kind != Relink; {
		case own && made[e.Generation]:
			f.Kind = Twice
			broken(i, f)
			return
		case own && e.Generation < top:
			f.Kind = Misplaced
			broken(i, f)
		case !told && !follows(past, e.From, strict):
			if made[e.From] {
				f.Kind = Moved
			}
			broken(i, f)
		}
		if e.Kind != Relink {
			made[e.Generation] = true
			top = max(top, e.Generation)
		}
		past, told = append(past, e), false
	}
	for i, e := range events {
		switch {
		case e.Kind == Gap:
			told = true
		case e.Kind.Switch():
			add(i, e)
		}
	}
	if tip != nil && !made[tip.Generation] {
		add(-1, tip)
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
		if strict || i == 0 || !past[i-1].Recovered || past[i-1].Kind == Relink {
			return false
		}
	}
}
