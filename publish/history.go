package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/retention"
	"example.com/publish/stage/durable"
)

// EventKind is what a line of the history tells.
type EventKind string

// The kinds. Those of switches name the generation that production became.
const (
	KindAdopt      EventKind = "adopt"
	KindPromote    EventKind = "promote"
	KindRevert     EventKind = "revert"
	KindAutoRevert EventKind = "auto-revert" // a health check failed
	KindRelink     EventKind = "relink"      // somebody else pointed production at another kept generation
	KindRevoke     EventKind = "revoke"      // content was taken away at once
	KindRedact     EventKind = "redact"      // revoked content was deleted everywhere
	KindHealth     EventKind = "health"
	KindHold       EventKind = "hold"
	KindUnhold     EventKind = "unhold"
	KindGC         EventKind = "gc"
	KindPrune      EventKind = "prune"
	KindPin        EventKind = "pin" // this and unpin name the generation that they are about
	KindUnpin      EventKind = "unpin"
	KindClock      EventKind = "clock" // the clock is right from here on, though it was ahead: see correctTimes
	KindGap        EventKind = "gap"   // what came between the switch before this line and generation, from included, is not known
)

// Switch reports whether production changed.
func (k EventKind) Switch() bool {
	switch k {
	case KindAdopt, KindPromote, KindRevert, KindAutoRevert, KindRelink, KindRevoke:
		return true
	}
	return false
}

// Event is one line of the history.
type Event struct {
	Time       time.Time `json:"time"` // UTC
	Kind       EventKind `json:"kind"`
	Generation int       `json:"generation"`
	From       int       `json:"from"`
	Origin     int       `json:"origin"`
	TreeID     string    `json:"tree_id,omitempty"`
	Seal       string    `json:"seal,omitempty"` // of a switch: the manifest's, lower-case hex
	Who        string    `json:"who"`
	Message    string    `json:"message"`
	Added      []string  `json:"added"`
	Removed    []string  `json:"removed"`
	Changed    []string  `json:"changed"`
	Grace      int64     `json:"grace_seconds,omitempty"`
	Health     string    `json:"health"` // "", ok or failed
	Recovered  bool      `json:"recovered,omitempty"`
	Freed      *Freed    `json:"freed,omitempty"` // of gc

	// Of prune: what went from staging, and the plan's hash and sums.
	Pruned          []retention.Decision `json:"pruned,omitempty"`
	Orphans         []Orphan             `json:"orphans,omitempty"`
	PlanHash        string               `json:"plan_hash,omitempty"`
	BytesNow        int64                `json:"bytes_now,omitempty"`
	BytesAfterGrace int64                `json:"bytes_after_grace,omitempty"`
	Revoked         []Revoked            `json:"revoked,omitempty"`    // of revoke and redact
	Unnamed         []Named              `json:"unnamed,omitempty"`    // likewise, versions that had no content
	Redacted        *Redaction           `json:"redacted,omitempty"`   // of redact
	Graves          int                  `json:"tombstones,omitempty"` // of redact: lines of tombstones that it is about
}

// History is the append-only record of a repository. Each line is sealed with
// a checksum; a torn last line, left by a crash, is passed over by readers and
// cut off by recovery, which derives it again from the manifest.
type History struct {
	Events []Event
	ended  map[int]time.Time // see correctTimes
	sealed
}

func (r *Repo) historyPath() string { return r.path(".publish", "history") }

// readHistory reads the history, with times corrected. A damaged line that is not the last is an
// error: it is evidence, and windows are counted from it.
func (r *Repo) readHistory() (*History, error) {
	h, err := r.writtenHistory()
	if err != nil {
		return nil, err
	}
	if err := r.legible(h); err != nil {
		return nil, err
	}
	h.ended = correctTimes(h.Events)
	return h, nil
}

// legible refuses a history with damaged lines, or with such as this version
// does not know.
func (r *Repo) legible(h *History) error {
	if len(h.bad) > 0 {
		return &Error{Path: fmt.Sprintf("%s:%d", r.historyPath(), h.bad[0]), Fact: "the line is damaged",
			Hint: "run publish recover: it keeps the file as " + r.short(asideName(r.historyPath())) + " and makes damaged lines anew from the manifests"}
	}
	if h.newer > 0 {
		return newer(fmt.Sprintf("%s:%d", r.historyPath(), h.newer))
	}
	return nil
}

// writtenHistory reads the lines of the history as they were written.
func (r *Repo) writtenHistory() (*History, error) {
	data, err := durable.ReadFile(r.historyPath(), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Path: r.historyPath(), Fact: "the history is missing", Hint: "run publish recover: it starts a new one from the manifests"}
	}
	if err != nil {
		return nil, err
	}
	return parseHistory(data), nil
}

// short is a path below the repository, for a sentence that has named the
// repository already.
func (r *Repo) short(path string) string {
	if rel, err := filepath.Rel(r.Dir, path); err == nil {
		return rel
	}
	return path
}

func parseHistory(data []byte) *History {
	h := &History{}
	h.sealed = readSealed(data, func(text []byte) bool {
		var e Event
		if json.Unmarshal(text, &e) != nil {
			return false
		}
		h.Events = append(h.Events, e)
		return slices.Contains(kinds, e.Kind)
	})
	return h
}

// log appends one event and flushes it.
func (r *Repo) log(h *History, e Event) error {
	text, err := marshalEvent(e)
	if err != nil {
		return err
	}
	if err := r.upgrade(); err != nil {
		return err
	}
	line := durable.Line(text)
	if err := durable.AppendLine(r.historyPath(), line); err != nil {
		return err
	}
	h.whole += int64(len(line))
	h.Events = append(h.Events, e)
	if e.Kind == KindClock {
		h.ended = correctTimes(h.Events)
	}
	return nil
}

func marshalEvent(e Event) ([]byte, error) {
	e.Time = e.Time.UTC()
	e.Added, e.Removed, e.Changed = noNil(e.Added), noNil(e.Removed), noNil(e.Changed)
	return json.Marshal(e)
}

func noNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// last returns the newest switch.
func (h *History) last() (Event, bool) {
	for _, e := range slices.Backward(h.Events) {
		if e.Kind.Switch() {
			return e, true
		}
	}
	return Event{}, false
}

// made returns the switch that made generation n.
func (h *History) made(n int) (Event, bool) {
	for _, e := range h.Events {
		if e.Kind.Switch() && e.Generation == n {
			return e, true
		}
	}
	return Event{}, false
}

// before returns the origin of the content that was live just before the
// content of an origin first was.
func (h *History) before(origin int) (int, bool) {
	made, ok := h.made(origin)
	if !ok || made.From == 0 {
		return 0, false
	}
	from, ok := h.made(made.From)
	return from.Origin, ok
}

// health returns what the health check of generation n said; "" when none was
// recorded.
func (h *History) health(n int) string {
	for _, e := range slices.Backward(h.Events) {
		if e.Kind == KindHealth && e.Generation == n {
			return e.Health
		}
	}
	return ""
}

// hold returns the hold in force.
func (h *History) hold() (Event, bool) {
	for _, e := range slices.Backward(h.Events) {
		switch e.Kind {
		case KindHold:
			return e, true
		case KindUnhold:
			return Event{}, false
		}
	}
	return Event{}, false
}

// newest is the time of the newest line, or the zero time.
func (h *History) newest() time.Time {
	var t time.Time
	for _, e := range h.Events {
		if e.Time.After(t) {
			t = e.Time
		}
	}
	return t
}
