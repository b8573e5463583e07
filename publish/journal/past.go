package journal

import (
	"container/heap"
	"time"
)

// past is the summary of all lines so far: all that commands need to know. It is
// updated line by line, so a checkpoint can hold it in place of the lines.
type past struct {
	Chain chain  `json:"chain"`
	Flaws []Flaw `json:"flaws,omitempty"`

	// A checkpoint leaves details out: of the generations up to Cut, it has only
	// the details of those in Complete. Cut is 0 if nothing was left out.
	Cut      int    `json:"cut"`
	Complete ranges `json:"complete"`
	SaidOf   int    `json:"said_of"` // Said is complete only for gcs while this generation was production
	Fewer    bool   `json:"fewer"`   // there are older promotes than those in Promotes

	// the generations that some switch names: those of Chain.Made, and those of relinks whose own line is lost
	Named  ranges    `json:"named"`
	Top    int       `json:"top"`    // the highest Generation of any line
	Reach  int       `json:"reach"`  // the highest Generation or From of any line
	Newest time.Time `json:"newest"` // the latest time of any line
	Last   Made      `json:"last"`   // the newest switch; Kind is "" for none

	First map[int]*Made `json:"first"` // the first switch to each generation
	// of generations with several switches: whether recovery recorded the last of them
	Recovered map[int]bool   `json:"recovered,omitempty"`
	Health    map[int]string `json:"health,omitempty"` // the last result of the health check of a generation
	Changes   []Change       `json:"changes"`          // all switches, in order

	Hold     Head          `json:"hold"` // Kind is "" for none
	Pins     map[int]*Head `json:"pins,omitempty"`
	Promotes []came        `json:"promotes"`        // content that came from staging or by adoption, in order
	Adopted  ranges        `json:"adopted"`         // generations
	Turns    []Head        `json:"turns,omitempty"` // reverts and relinks, in order
	since    int           // Turns has all that came after this generation or a later one

	Freed ranges `json:"freed"` // generations that a gc recorded as deleted
	// carried files that a gc recorded as deleted, with the generation that was production at the last such gc
	Said     map[string]int `json:"said,omitempty"`
	Revoked  bool           `json:"revoked"`  // something was revoked
	Redacted int            `json:"redacted"` // Tombstones of the last redact; -1 before the first

	Clocks int               `json:"clocks"` // lines of kind clock
	Open   opens             `json:"open,omitempty"`
	Ended  map[int]time.Time `json:"ended,omitempty"` // by generation: the first gc at which its window had ended
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

// Change is what windows need to know of a switch.
type Change struct {
	Generation int `json:"generation"`
	// the generations that it retired: From, and what was live according to the line before; never 0
	Left  []int     `json:"left"`
	Time  time.Time `json:"time"`
	Grace int64     `json:"grace_seconds"` // as recorded
	First bool      `json:"first"`         // the first switch to Generation
	// the time of a gc that may have deleted what Generation dropped, because its clock was wrong; zero for none
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

// init makes maps of those that are nil.
func (p *past) init() {
	need(&p.First)
	need(&p.Recovered)
	need(&p.Health)
	need(&p.Pins)
	need(&p.Said)
	need(&p.Ended)
	heap.Init(&p.Open)
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
	// Both may differ if a line is lost: then production had left both by now.
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
