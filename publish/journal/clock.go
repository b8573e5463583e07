package journal

import (
	"container/heap"
	"time"
)

// A line of kind clock says that the clock is right from here on. If an earlier
// line has a later time, the clock was ahead when that line was written. Its
// real time is unknown, but it is not later than the line of kind clock. So the
// earlier line counts as if it had the time of the line of kind clock.
//
// A gc that ran while the clock was ahead may have deleted files whose windows
// are open again after the correction. So we record, for each gc, which windows
// had ended at that gc, by the times that were known then: those of the lines
// before it, corrected by the lines of kind clock before it.

// open is a window that had not ended at any gc so far.
type open struct {
	Generation int       `json:"generation"`
	Begin      time.Time `json:"begin"`
	Grace      int64     `json:"grace_seconds"`
}

func (w open) end() time.Time { return w.Begin.Add(time.Duration(w.Grace) * time.Second) }

// opens is a heap of open windows, for container/heap. The first to end is on top.
type opens []open

func (o opens) Len() int           { return len(o) }
func (o opens) Less(i, j int) bool { return o[i].end().Before(o[j].end()) }
func (o opens) Swap(i, j int)      { o[i], o[j] = o[j], o[i] }
func (o *opens) Push(x any)        { *o = append(*o, x.(open)) }
func (o *opens) Pop() any {
	last := (*o)[len(*o)-1]
	*o = (*o)[:len(*o)-1]
	return last
}

// collected records which windows had ended at a gc at this time.
func (p *past) collected(at time.Time) {
	for len(p.Open) > 0 && !at.Before(p.Open[0].end()) {
		n := heap.Pop(&p.Open).(open).Generation
		if _, ok := p.Ended[n]; !ok {
			p.Ended[n] = at
		}
	}
}

// correct replaces every time after at, which is the time of a line of kind
// clock, by at.
func (p *past) correct(at time.Time) {
	p.Clocks++
	cut := func(t *time.Time) {
		if t.After(at) {
			*t = at
		}
	}
	cut(&p.Newest)
	cut(&p.Last.Time)
	cut(&p.Hold.Time)
	for _, m := range p.First {
		cut(&m.Time)
	}
	for i := range p.Changes {
		cut(&p.Changes[i].Time)
	}
	for _, pin := range p.Pins {
		cut(&pin.Time)
	}
	for i := range p.Promotes {
		cut(&p.Promotes[i].Time)
	}
	for i := range p.Turns {
		cut(&p.Turns[i].Time)
	}
	for n, t := range p.Ended {
		cut(&t)
		p.Ended[n] = t
	}
	for i := range p.Open {
		cut(&p.Open[i].Begin)
	}
	heap.Init(&p.Open)
}
