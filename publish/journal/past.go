package journal

import (
	"container/heap"
	"time"
)

// past is what all lines so far say together, as far as verbs ask. It is
// computed line by line, so a checkpoint can stand for the lines before it.
type past struct {
	Chain chain  `json:"chain"`
	Flaws []Flaw `json:"flaws,omitempty"`

	// What a checkpoint left out: of the generations up to Cut only those in
	// Complete are known. Cut is 0 where nothing was left out.
	Cut      int    `json:"cut"`
	Complete ranges `json:"complete"`
	SaidOf   int    `json:"said_of"` // the production of which Said has all that lines before the checkpoint said
	Fewer    bool   `json:"fewer"`   // there are older promotes than those in Promotes

	// the generations that some switch names: those of Chain.Made, and those of relinks whose own line is lost
	Named  ranges    `json:"named"`
	Top    int       `json:"top"`    // the highest number that a line is about
	Reach  int       `json:"reach"`  // the highest number that a line names at all
	Newest time.Time `json:"newest"` // the latest time that a line says
	Last   Made      `json:"last"`   // the newest switch; Kind is "" for none

	First map[int]*Made `json:"first"` // the first switch to each generation
	// whether the last switch to a generation was recorded by recovery, of those that have several
	Recovered map[int]bool   `json:"recovered,omitempty"`
	Health    map[int]string `json:"health,omitempty"` // what the last health check of a generation said
	Changes   []Change       `json:"changes"`          // all switches, in order

	Hold     Head          `json:"hold"` // Kind is "" for none
	Pins     map[int]*Head `json:"pins,omitempty"`
	Promotes []came        `json:"promotes"`        // content that came from staging or by adoption, in order
	Adopted  ranges        `json:"adopted"`         // generations
	Turns    []Head        `json:"turns,omitempty"` // reverts and relinks, in order

	Freed ranges `json:"freed"` // generations that a gc said it deletes
	// carried files that a gc said it deletes: production at the last time
	Said     map[string]int `json:"said,omitempty"`
	Revoked  bool           `json:"revoked"`  // something was revoked
	Redacted int            `json:"redacted"` // Tombstones of the last redact; -1 before the first

	Clocks int               `json:"clocks"` // lines of kind clock
	Open   opens             `json:"open,omitempty"`
	Ended  map[int]time.Time `json:"ended,omitempty"` // when a gc first found ended what a generation dropped
}

// Made is a switch, without what it changed.
type Made struct {
	Head
	TreeID    string `json:"tree_id,omitempty"`
	Seal      string `json:"seal,omitempty"`
	Grace     int64  `json:"grace_seconds"`
	Health    string `json:"health,omitempty"` // "", or pending
	Recovered bool   `json:"recovered,omitempty"`
}

// Change is a switch as windows are counted from it.
type Change struct {
	Generation int `json:"generation"`
	// which generations production left with it, 0 excepted: From, and what was live by the line before
	Left  []int     `json:"left"`
	Time  time.Time `json:"time"`
	Grace int64     `json:"grace_seconds"` // as recorded
	First bool      `json:"first"`         // the first switch to Generation
	// when a gc, by a clock that was wrong, may have deleted what Generation dropped; zero for never
	Ended time.Time `json:"-"`
}

// came is a promote or an adoption.
type came struct {
	Generation int       `json:"generation"`
	Time       time.Time `json:"time"`
}

func newPast() *past {
	p := &past{Redacted: -1}
	p.init()
	return p
}

// init makes the maps that are missing.
func (p *past) init() {
	need(&p.First)
	need(&p.Recovered)
	need(&p.Health)
	need(&p.Pins)
	need(&p.Said)
	need(&p.Ended)
}

func need[K comparable, V any](m *map[K]V) {
	if *m == nil {
		*m = map[K]V{}
	}
}

// add appends a line.
func (p *past) add(e *Event) {
	if e.Kind == KindClock {
		p.correct(e.Time)
	}
	if e.Time.After(p.Newest) {
		p.Newest = e.Time
	}
	revoked, unnamed := e.Revocation()
	p.Revoked = p.Revoked || len(revoked)+len(unnamed) > 0
	p.Top = max(p.Top, e.Generation)
	p.Reach = max(p.Reach, e.Generation, e.From)
	if s := e.Switch(); s != nil {
		p.addSwitch(e.Head, s)
		return
	}
	switch b := e.Body.(type) {
	case *Health:
		p.Health[e.Generation] = b.Result
	case *Freed:
		for _, n := range b.Generations {
			p.Freed.add(n)
		}
		for _, i := range b.Items {
			if i.Path == "" {
				p.Freed.add(i.Generation)
			} else {
				p.Said[i.Path] = e.Generation
			}
		}
	case *Redact:
		p.Redacted = b.Tombstones
	}
	switch e.Kind {
	case KindGC:
		p.collected(e.Time)
	case KindHold:
		p.Hold = e.Head
	case KindUnhold:
		p.Hold = Head{}
	case KindPin:
		pin := e.Head
		p.Pins[e.Generation] = &pin
	case KindUnpin:
		delete(p.Pins, e.Generation)
	case KindGap:
		p.Chain.Told = true
	}
}

func (p *past) addSwitch(h Head, s *Switch) {
	live, n := p.Last.Generation, h.Generation
	if f, broken := p.Chain.add(&h, s.Recovered, false); broken {
		p.Flaws = append(p.Flaws, f)
	}
	m := Made{h, s.TreeID, s.Seal, s.Grace, s.Health, s.Recovered}
	p.Last = m
	c := Change{Generation: n, Time: h.Time, Grace: s.Grace, First: !p.Named.has(n)}
	// If the line is lost with which production left a generation, it had left
	// it by now.
	for _, left := range []int{h.From, live} {
		if left != n && left != 0 && (len(c.Left) == 0 || c.Left[0] != left) {
			c.Left = append(c.Left, left)
		}
	}
	p.Changes = append(p.Changes, c)
	if c.First {
		p.Named.add(n)
		p.First[n] = &m
	} else {
		p.Recovered[n] = s.Recovered
	}
	heap.Push(&p.Open, open{n, h.Time, s.Grace})
	switch h.Kind {
	case KindAdopt:
		p.Adopted.add(n)
		p.Promotes = append(p.Promotes, came{n, h.Time})
	case KindPromote:
		p.Promotes = append(p.Promotes, came{n, h.Time})
	case KindRevert, KindRelink:
		p.Turns = append(p.Turns, h)
	}
}
