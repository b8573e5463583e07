package journal

import (
	"fmt"
	"slices"
)

// Each switch of the history names the generation that was production before
// it, so the switches form a chain: from 0, nothing, to what production is. A
// history that lost lines, or has them twice or in another order, breaks it.
// Lines that are no switches are in no chain: nobody misses a gc.

// Flaw is a place where the chain is broken.
type Flaw struct {
	Kind       FlawKind `json:"kind"`
	Generation int      `json:"generation"` // that the line at the place is about
	From       int      `json:"from"`       // which generation the line says was before
}

// FlawKind is how the chain is broken.
type FlawKind int

// The kinds of flaws.
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
		return fmt.Sprintf("how production went back to generation %d is missing: generation %d came after it", f.From,
			f.Generation)
	case Misplaced:
		return fmt.Sprintf("the switch to generation %d stands behind later ones", f.Generation)
	}
	return fmt.Sprintf("the switch to generation %d is there twice", f.Generation)
}

// chain is what the switches so far say together. A relink, which another
// program made, is a link of the chain and makes no generation.
type chain struct {
	Made ranges `json:"made"` // the generations that were made
	Top  int    `json:"top"`  // the highest of them
	// Ends are the generations from which the next switch may come. The last is
	// what was production then. Before it stands what was production before a
	// switch that recovery recorded: up to layout 1, it took a promote that was
	// abandoned for one.
	Ends []int `json:"ends"`
	Told bool  `json:"told"` // the line before is a gap: whatever comes continues the chain
}

// live is what was production then; 0 for none.
func (c *chain) live() int {
	if n := len(c.Ends); n > 0 {
		return c.Ends[n-1]
	}
	return 0
}

// judge returns the flaw that a switch is at this place. In a strict judgement
// only what was production continues the chain.
func (c *chain) judge(e *Head, strict bool) (Flaw, bool) {
	f := Flaw{Generation: e.Generation, From: e.From}
	switch own := e.Kind != KindRelink; {
	case own && c.Made.has(e.Generation):
		f.Kind = Twice
	case own && e.Generation < c.Top:
		f.Kind = Misplaced
	case c.Told || c.follows(e.From, strict):
		return f, false
	case c.Made.has(e.From):
		f.Kind = Moved
	}
	return f, true
}

func (c *chain) follows(from int, strict bool) bool {
	if strict || len(c.Ends) == 0 {
		return c.live() == from
	}
	return slices.Contains(c.Ends, from)
}

// add appends a switch, which is recovered or not, and returns its flaw.
func (c *chain) add(e *Head, recovered, strict bool) (f Flaw, broken bool) {
	f, broken = c.judge(e, strict)
	if broken && f.Kind == Twice {
		return f, true
	}
	if e.Kind == KindRelink || !recovered {
		c.Ends = c.Ends[:0:0]
	} else if len(c.Ends) == 0 {
		c.Ends = []int{0}
	}
	if c.Ends, c.Told = append(c.Ends, e.Generation), false; e.Kind != KindRelink {
		c.Made.add(e.Generation)
		c.Top = max(c.Top, e.Generation)
	}
	return f, broken
}

// clone returns a chain that can be continued without changing this one.
func (c *chain) clone() *chain {
	out := *c
	out.Made, out.Ends = slices.Clone(c.Made), slices.Clone(c.Ends)
	return &out
}
