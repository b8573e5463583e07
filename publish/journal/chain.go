package journal

import (
	"fmt"
	"slices"
)

// Each switch in the history names the generation that was production before
// it. So the switches form a chain, from 0 (no production yet) to the current
// production. Lines that are missing, duplicated or out of order break the
// chain. Other lines, such as gc, are not part of it: losing one does no harm.

// Flaw is a place where the chain is broken.
type Flaw struct {
	Kind       FlawKind `json:"kind"`
	Generation int      `json:"generation"` // of the line at this place
	From       int      `json:"from"`       // what the line names as production before it
}

// FlawKind is how the chain is broken.
type FlawKind int

// The kinds of flaws.
const (
	Lost      FlawKind = iota // no earlier line makes generation From
	Moved                     // a line makes generation From, but another switch came after it
	Misplaced                 // the line comes after lines of later generations
	Twice                     // an earlier line makes the same generation
)

func (f Flaw) String() string {
	switch f.Kind {
	case Lost:
		if f.From == f.Generation {
			return fmt.Sprintf("the switch to generation %d is missing: its tree is there", f.From)
		}
		if f.From == 0 {
			return fmt.Sprintf("the production before generation %d is not recorded", f.Generation)
		}
		return fmt.Sprintf("the switch to generation %d is missing: generation %d came after it", f.From, f.Generation)
	case Moved:
		return fmt.Sprintf("the switch back to generation %d is missing: generation %d came after it", f.From,
			f.Generation)
	case Misplaced:
		return fmt.Sprintf("the switch to generation %d comes after later ones", f.Generation)
	}
	return fmt.Sprintf("the switch to generation %d is there twice", f.Generation)
}

// chain is the state of the chain after the switches so far. A relink, which
// another program made, is part of the chain but makes no generation.
type chain struct {
	Made ranges `json:"made"` // the generations that were made
	Top  int    `json:"top"`  // the highest of them
	// Ends are the generations that the next switch may name as From. The last
	// one is production. The ones before it were production before a switch that
	// recovery recorded. They are allowed because recovery in layout 1 and
	// earlier recorded an abandoned promote as a switch.
	Ends []int `json:"ends"`
	Told bool  `json:"told"` // the last line is a gap: any switch continues the chain
}

// live returns the generation that is production after these switches; 0 for none.
func (c *chain) live() int {
	if n := len(c.Ends); n > 0 {
		return c.Ends[n-1]
	}
	return 0
}

// judge returns the flaw, if any, of a switch that comes next. If strict is set,
// only the last of Ends continues the chain.
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

// add appends a switch and returns its flaw. recovered says that recovery
// recorded the switch.
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

// clone returns a copy that can be changed without changing the original.
func (c *chain) clone() *chain {
	out := *c
	out.Made, out.Ends = slices.Clone(c.Made), slices.Clone(c.Ends)
	return &out
}
