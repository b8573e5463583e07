package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"example.com/publish/stage/durable"
)

// A history need not be a file. Where each line is an object of its own, the newest state
// carries a summary of all lines: what a checkpoint has, see there. Each writer resumes
// from the summary, adds its line, and writes the next summary beside the line:
//
//	h, err := Resume(summary, older)
//	line, err := h.Add(event)
//	summary, err = h.Summary(keep)
//
// The summary stays small, whatever happened before: it is read and written with every
// change of production.

const (
	summaryVersion = 1
	// maxSummary is far above what Summary makes, in bytes.
	maxSummary = 16 << 20
	// maxReach is above every number of a generation: some answers take a step for each.
	maxReach = 1 << 31
	// keptTurns is how many reverts and relinks a summary has. They refuse the promote of
	// a writer that did not see them; who missed more has to read the lines.
	keptTurns = 16
	// keptSaid is how many deleted files a summary names. Beyond, it names none: then a
	// gc that tries again records another line, which does no harm.
	keptSaid = 64
)

// summary is what Summary writes.
type summary struct {
	Version int   `json:"version"`
	Lines   int   `json:"lines"` // that it is the summary of
	Since   int   `json:"since"` // see past.since
	Past    *past `json:"past"`
}

// errSummary is the error of bytes that Summary did not write.
var errSummary = errors.New("is not a summary of a history")

// Summary returns what [Resume] needs to know of the lines so far: all that is in force,
// and the details of the generations in keep, as [Log.Close] keeps them. For the same
// history and the same keep it is the same, byte for byte.
func (h *History) Summary(keep []int) ([]byte, error) {
	if h.Torn || len(h.Bad) > 0 || h.Newer > 0 {
		return nil, errors.New("the history is damaged")
	}
	if h.sequence > 1 {
		return nil, errors.New("the history has closed files")
	}
	p := h.trimmed(keep)
	p.Turns, p.since = h.newestTurns()
	if len(p.Said) > keptSaid {
		p.Said = map[string]int{}
	}
	text, err := json.Marshal(summary{Version: summaryVersion, Lines: h.lines + len(h.Events), Since: p.since, Past: p})
	if err == nil {
		_, err = readSummary(text) // before it is stored
	}
	return text, err
}

// newestTurns returns the turns that a summary keeps, and for which generations these
// answer [History.Turned].
func (h *History) newestTurns() (list []Head, since int) {
	list, since = slices.Clone(h.p.Turns), h.p.since
	if cut := len(list) - keptTurns; cut > 0 {
		for _, e := range list[:cut] {
			since = max(since, after(&e)+1)
		}
	}
	return slices.DeleteFunc(list, func(e Head) bool { return after(&e) < since }), since
}

// after returns the newest generation that a revert or relink came after: that and
// earlier ones were turned away from. See [History.Turned].
func after(e *Head) int {
	if e.Kind == KindRelink {
		return max(e.Generation-1, e.From)
	}
	return e.Generation - 1
}

// Resume returns the history that a summary was made of. older is called at most once,
// for a question about what the summary left out: it returns all lines that the summary
// is of, oldest first, sealed as Add returned them. If it fails, or lines are damaged or
// missing, the answers are those that the rest allows, and Older says why. With older nil,
// what the summary left out is not known: see Knows.
//
// The error is of bytes that Summary did not write.
func Resume(data []byte, older func() (lines [][]byte, err error)) (*History, error) {
	s, err := readSummary(data)
	if err != nil {
		return nil, err
	}
	h := &History{p: s.Past, sequence: 1, first: s.Past.Last, lines: s.Lines}
	h.p.since = s.Since
	if older != nil {
		h.older = func() (*past, bool) {
			lines, err := older()
			p, err2 := foldLines(lines, s.Lines)
			h.olderErr = errors.Join(err, err2)
			return p, h.olderErr == nil
		}
	}
	return h, nil
}

// readSummary decodes a summary, and rejects numbers that contradict each other.
func readSummary(data []byte) (*summary, error) {
	if len(data) > maxSummary {
		return nil, fmt.Errorf("%w: it has %d bytes", errSummary, len(data))
	}
	s := &summary{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%w: %w", errSummary, err)
	}
	p := s.Past
	switch {
	case s.Version > summaryVersion:
		return nil, fmt.Errorf("the summary of the history has version %d, and this program knows %d", s.Version,
			summaryVersion)
	case s.Version < 1 || p == nil || s.Lines < 0 || s.Since < 0 || len(p.Turns) > keptTurns || len(p.Said) > keptSaid:
		return nil, errSummary
	case p.Reach < 0 || p.Reach > maxReach || p.Top > p.Reach || p.Cut != p.Reach:
		return nil, fmt.Errorf("%w: it reaches generation %d", errSummary, p.Reach)
	}
	if err := p.sound(); err != nil {
		return nil, err
	}
	p.init()
	return s, nil
}

// sound returns an error if a summary has what no lines lead to.
func (p *past) sound() error {
	for _, set := range []ranges{p.Complete, p.Named, p.Adopted, p.Chain.Made} {
		if n := len(set); n > 0 && (set[0].lo < 1 || set[n-1].hi > maxReach) {
			return fmt.Errorf("%w: generations %v", errSummary, set)
		}
	}
	if n := len(p.Named); n > 0 && p.Named[n-1].hi > p.Reach {
		return fmt.Errorf("%w: generation %d", errSummary, p.Named[n-1].hi)
	}
	for n, m := range p.First {
		if m == nil || !p.Complete.has(n) || !p.Named.has(n) || m.Generation != n || !m.Kind.Switch() {
			return fmt.Errorf("%w: generation %d", errSummary, n)
		}
	}
	for n, pin := range p.Pins {
		if n < 0 || pin == nil || pin.Kind != KindPin || pin.Generation != n {
			return fmt.Errorf("%w: the pin of %d", errSummary, n)
		}
	}
	for _, c := range p.Changes {
		if !p.Named.has(c.Generation) {
			return fmt.Errorf("%w: the change to %d", errSummary, c.Generation)
		}
	}
	if live := p.Last.Generation; (p.Last.Kind != "") != p.Last.Kind.Switch() || live != 0 && !p.Named.has(live) {
		return fmt.Errorf("%w: the switch to %d", errSummary, live)
	}
	if p.Hold.Kind != "" && p.Hold.Kind != KindHold {
		return fmt.Errorf("%w: the hold is a %s", errSummary, p.Hold.Kind)
	}
	return nil
}

// foldLines reads sealed lines, of which there must be this many.
func foldLines(lines [][]byte, want int) (*past, error) {
	p := newPast()
	var err error
	for i, line := range lines {
		text, ok := durable.Unline(bytes.TrimSuffix(line, []byte{'\n'}))
		e := Event{}
		if ok {
			e, ok = eventOf(text)
		}
		if !ok {
			err = errors.Join(err, fmt.Errorf("line %d is damaged", i+1))
			continue
		}
		p.add(&e)
	}
	if len(lines) != want {
		err = errors.Join(err, fmt.Errorf("there are %d lines instead of %d", len(lines), want))
	}
	return p, err
}

// Older returns why lines before the summary could not be read; nil if nobody asked for
// them yet, or they are all there.
func (h *History) Older() error { return h.olderErr }

// Knows reports whether the answers about generation n are complete: the summary has its
// details, or the lines can be read. It reads them if it must.
func (h *History) Knows(n int) bool {
	h.know(n)
	p := h.p
	if h.lost != nil {
		p = h.lost
	}
	return n > p.Cut || p.Complete.has(n)
}

// Add appends an event in memory, and returns its line: sealed, with its newline. The
// caller stores it, and the next Summary with it.
func (h *History) Add(e Event) (line []byte, err error) {
	e.Time = e.Time.UTC()
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	// What is added is what the line says, so that whoever reads the line knows the same.
	again, ok := eventOf(text)
	if !ok {
		return nil, fmt.Errorf("an event of kind %q cannot be read back", e.Kind)
	}
	h.add(again)
	return durable.Line(text), nil
}
