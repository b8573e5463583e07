package journal

import (
	"bytes"
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// checkpoint is the first line of each file except the first. It has the
// checksums of the closed files before it, and a summary of their lines, so
// that commands need not read them.
//
// The summary stays small, however many lines there were. It has what is in
// force (the newest switch, the hold, the pins), sets of numbers, which are
// mostly a few ranges, and all details of the generations that the caller of
// Close names. For details of other generations, History.all reads the closed
// files.
type checkpoint struct {
	Kind     Kind      `json:"kind"` // kindCheckpoint; the first field: see isCheckpoint
	Time     time.Time `json:"time"` // of the newest line
	Sequence int       `json:"sequence"`
	Segments []segment `json:"segments"` // all files before this one, oldest first
	Past     *past     `json:"past"`
}

// kindCheckpoint is not among the kinds of events, because nothing happened.
const kindCheckpoint Kind = "checkpoint"

// segment is a closed file of a history. It is never appended to again.
type segment struct {
	Number int    `json:"number"` // from 1
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`         // of the whole file, lower-case hex
	Lost   bool   `json:"lost,omitempty"` // some of its lines are lost: recovery rewrote it from the others
}

// isCheckpoint reports whether the text of a line claims to be a checkpoint. No
// line of an event begins like this: its first field is the time.
func isCheckpoint(text []byte) bool { return bytes.HasPrefix(text, []byte(`{"kind":"checkpoint",`)) }

var errCheckpoint = errors.New("is not a checkpoint")

// readCheckpoint decodes a checkpoint. It rejects a line that Close and Restore
// could not have written.
func readCheckpoint(text []byte) (*checkpoint, error) {
	c := &checkpoint{}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, err
	}
	p := c.Past
	if c.Kind != kindCheckpoint || c.Sequence < 2 || p == nil || p.Cut < 0 || len(p.Turns) > 0 {
		return nil, errCheckpoint
	}
	for i, s := range c.Segments {
		if s.Number != i+1 || s.Bytes < 0 || len(s.SHA256) != 64 {
			return nil, fmt.Errorf("%w: segment %d", errCheckpoint, i+1)
		}
	}
	if len(c.Segments) != c.Sequence-1 {
		return nil, fmt.Errorf("%w: it has %d segments before file %d", errCheckpoint, len(c.Segments), c.Sequence)
	}
	for n, m := range p.First {
		if m == nil || !p.Complete.has(n) {
			return nil, fmt.Errorf("%w: generation %d", errCheckpoint, n)
		}
	}
	for n, pin := range p.Pins {
		if pin == nil {
			return nil, fmt.Errorf("%w: the pin of %d", errCheckpoint, n)
		}
	}
	p.init()
	p.since = p.Cut + 1
	return c, nil
}

// trimmed returns the summary for a checkpoint: of the details, only those of
// the generations in keep, and of those that closure adds to them.
func (h *History) trimmed(keep []int) *past {
	keep = slices.Clone(keep)
	promotes, fewer := h.newestPromotes()
	for _, c := range promotes {
		keep = append(keep, c.Generation)
	}
	complete := h.closure(keep)
	p := *h.p // a shallow copy: the code below replaces maps and slices, and never writes into them
	p.Promotes, p.Fewer = promotes, fewer
	p.Chain = *h.p.Chain.clone()
	p.Cut, p.Complete, p.Turns, p.since = h.p.Reach, complete, nil, h.p.Reach+1

	p.First = only(h.p.First, complete)
	p.Recovered = only(h.p.Recovered, complete)
	p.Ended = only(h.p.Ended, complete)
	p.Open = slices.DeleteFunc(slices.Clone(h.p.Open), func(w open) bool { return !complete.has(w.Generation) })
	heap.Init(&p.Open)
	p.trimChanges()
	p.Health = only(h.p.Health, complete)
	p.SaidOf = p.Last.Generation
	p.Said = map[string]int{}
	for path, n := range h.p.Said {
		if n == p.SaidOf {
			p.Said[path] = n
		}
	}
	return &p
}

// only returns the entries of a map whose keys are in a set.
func only[T any](m map[int]T, set ranges) map[int]T {
	out := map[int]T{}
	for n, v := range m {
		if set.has(n) {
			out[n] = v
		}
	}
	return out
}

// closure returns the generations whose details a checkpoint keeps: those in
// keep, the live one, and those at flaws of the chain. Each comes with its
// origin, and with the generation that was live before the origin. If the line
// of a generation is lost, the next generation is also kept, because windows
// are then counted from that one.
func (h *History) closure(keep []int) ranges {
	var out ranges
	add := func(n int) (Made, bool) {
		for _, n := range []int{n, h.next(n)} {
			if h.know(n); h.has(n) { // else nobody can tell
				out.add(n)
			}
		}
		return h.Made(n)
	}
	keep = append(slices.Clone(keep), h.p.Last.Generation)
	for _, f := range h.p.Flaws {
		keep = append(keep, f.Generation)
	}
	for _, n := range keep {
		if n < 1 {
			continue
		}
		m, ok := add(n)
		if !ok || m.Origin < 1 {
			continue
		}
		if m, ok := add(m.Origin); ok && m.From > 0 {
			add(m.From)
		}
	}
	return out
}

// next returns the first generation from n on that a switch names; n for none.
func (h *History) next(n int) int {
	if next, ok := h.p.Named.from(n); ok {
		return next
	}
	return n
}

// trimChanges drops the changes that no window of a generation in Complete is
// counted from.
func (p *past) trimChanges() {
	all := p.Changes
	p.Changes = nil
	retired := map[int]bool{} // generations that a later change retired
	for _, c := range slices.Backward(all) {
		needed := c.First && p.Complete.has(c.Generation)
		for _, n := range c.Left {
			if p.Complete.has(n) && !retired[n] {
				retired[n], needed = true, true
			}
		}
		if needed {
			p.Changes = append(p.Changes, c)
		}
	}
	slices.Reverse(p.Changes)
}

// newestPromotes returns the promotes that [History.LastPromote] may still need,
// and whether there are older ones. The first is the newest whose health check
// is unlikely to fail later: it passed, or a newer generation is production.
func (h *History) newestPromotes() (list []came, fewer bool) {
	p := h.p
	for i, c := range slices.Backward(p.Promotes) {
		said := h.Health(c.Generation)
		if h.p != p {
			return h.newestPromotes() // there are more now
		}
		if said == "ok" || said == "" && c.Generation != p.Last.Generation {
			return slices.Clone(p.Promotes[i:]), p.Fewer || i > 0
		}
	}
	return slices.Clone(p.Promotes), p.Fewer
}

// know loads the details of generation n, if the checkpoint left them out.
func (h *History) know(n int) {
	if !h.has(n) {
		h.all()
	}
}

// has reports whether the details of generation n are there already.
func (h *History) has(n int) bool { return n > h.p.Cut || h.p.Complete.has(n) }

// Know loads what Changes needs for the windows of these generations and of the
// files that they dropped. It reports whether that changed the result of Changes.
func (h *History) Know(generations ...int) bool {
	before := h.p
	for _, n := range generations {
		if h.know(n); h.p.Named.has(n) {
			continue
		}
		if next, ok := h.p.Named.from(n); ok {
			h.know(next)
		}
	}
	return h.p != before
}

// all reads the closed files, once, to learn what the checkpoint left out. If
// lines of them are lost, it adds what is left to the checkpoint. A window that
// is counted from incomplete lines must then be too long, never too short.
func (h *History) all() {
	if h.older == nil {
		return
	}
	older := h.older
	h.older = nil
	p, whole := older()
	if whole {
		for i := range h.Events {
			p.add(&h.Events[i])
		}
		h.p = p
		return
	}
	h.lost = h.p
	now := *h.p
	now.Cut, now.since = 0, 0
	now.Changes = nil
	for _, c := range p.Changes {
		if c.First && !h.p.Complete.has(c.Generation) {
			c.Left = nil // production may have left it again, with a line that is lost
			now.Changes = append(now.Changes, c)
		}
	}
	now.Changes = append(now.Changes, h.p.Changes...)
	now.First, now.Health = merged(p.First, h.p.First), merged(p.Health, h.p.Health)
	now.Recovered, now.Ended = merged(p.Recovered, h.p.Recovered), merged(p.Ended, h.p.Ended)
	now.Promotes = append(slices.Clone(p.Promotes), h.p.Promotes...)
	now.Turns = append(slices.Clone(p.Turns), h.p.Turns...)
	h.p = &now
}

// merged returns the entries of two maps. For a key in both, b wins.
func merged[T any](a, b map[int]T) map[int]T {
	out := make(map[int]T, len(a)+len(b))
	for n, v := range a {
		out[n] = v
	}
	for n, v := range b {
		out[n] = v
	}
	return out
}
