package journal

import (
	"container/heap"
	"time"
)

// past is what all lines so far say together, as far as verbs ask. It is
// computed line by line, so a checkpoint can stand for the lines before it.
type past struct {
	chain chain
	flaws []Flaw

	named  ranges    // the generations that some switch names: those of chain.Made, and those of relinks whose own line is lost
	top    int       // the highest number that any line names
	newest time.Time // the latest time that a line says
	last   Made      // the newest switch; Generation is 0 for none

	first     map[int]*Made  // the first switch to each generation
	recovered map[int]bool   // whether the last switch to a generation was recorded by recovery, of those that have several
	health    map[int]string // what the last health check of a generation said
	changes   []Change       // all switches, in order

	hold     Head // Kind is "" for none
	pins     map[int]*Head
	promotes []came // content that came from staging or by adoption, in order
	adopted  ranges // generations
	turns    []Head // reverts and relinks, in order

	freed    ranges         // generations that a gc said it deletes
	said     map[string]int // carried files that a gc said it deletes: production at the last time
	redacted int            // Tombstones of the last redact; -1 before the first

	clocks int // lines of kind clock
	open   opens
	ended  map[int]time.Time // when a gc first found ended what a generation dropped
}

// Made is a switch, without what it changed.
type Made struct {
	Head
	TreeID    string
	Seal      string
	Grace     int64  // in seconds
	Health    string // "", or pending
	Recovered bool
}

// Change is a switch as windows are counted from it.
type Change struct {
	Generation int
	Left       []int // which generations production left with it, 0 excepted: From, and what was live by the line before
	Time       time.Time
	Grace      int64     // in seconds, as recorded
	First      bool      // the first switch to Generation
	Ended      time.Time // when a gc, by a clock that was wrong, may have deleted what Generation dropped; zero for never
}

// came is a promote or an adoption.
type came struct {
	Generation int       `json:"generation"`
	Time       time.Time `json:"time"`
}

func newPast() *past {
	return &past{first: map[int]*Made{}, recovered: map[int]bool{}, health: map[int]string{}, pins: map[int]*Head{}, said: map[string]int{},
		redacted: -1, ended: map[int]time.Time{}}
}

// add appends a line.
func (p *past) add(e *Event) {
	if e.Kind == KindClock {
		p.correct(e.Time)
	}
	if e.Time.After(p.newest) {
		p.newest = e.Time
	}
	p.top = max(p.top, e.Generation)
	if s := e.Switch(); s != nil {
		p.addSwitch(e.Head, s)
		return
	}
	switch b := e.Body.(type) {
	case *Health:
		p.health[e.Generation] = b.Result
	case *Freed:
		for _, n := range b.Generations {
			p.freed.add(n)
		}
		for _, i := range b.Items {
			if i.Path == "" {
				p.freed.add(i.Generation)
			} else {
				p.said[i.Path] = e.Generation
			}
		}
	case *Redact:
		p.redacted = b.Tombstones
	}
	switch e.Kind {
	case KindGC:
		p.collected(e.Time)
	case KindHold:
		p.hold = e.Head
	case KindUnhold:
		p.hold = Head{}
	case KindPin:
		pin := e.Head
		p.pins[e.Generation] = &pin
	case KindUnpin:
		delete(p.pins, e.Generation)
	case KindGap:
		p.chain.Told = true
	}
}

func (p *past) addSwitch(h Head, s *Switch) {
	live, n := p.last.Generation, h.Generation
	if f, broken := p.chain.add(&h, s.Recovered, false); broken {
		p.flaws = append(p.flaws, f)
	}
	m := Made{h, s.TreeID, s.Seal, s.Grace, s.Health, s.Recovered}
	p.last = m
	c := Change{Generation: n, Time: h.Time, Grace: s.Grace, First: !p.named.has(n)}
	// If the line is lost with which production left a generation, it had left
	// it by now.
	for _, left := range []int{h.From, live} {
		if left != n && left != 0 && (len(c.Left) == 0 || c.Left[0] != left) {
			c.Left = append(c.Left, left)
		}
	}
	p.changes = append(p.changes, c)
	if c.First {
		p.named.add(n)
		p.first[n] = &m
	} else {
		p.recovered[n] = s.Recovered
	}
	heap.Push(&p.open, open{n, h.Time, s.Grace})
	switch h.Kind {
	case KindAdopt:
		p.adopted.add(n)
		p.promotes = append(p.promotes, came{n, h.Time})
	case KindPromote:
		p.promotes = append(p.promotes, came{n, h.Time})
	case KindRevert, KindRelink:
		p.turns = append(p.turns, h)
	}
}
