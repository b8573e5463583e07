package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage/durable"
)

// The words of the history; see package journal.
type (
	EventKind = journal.Kind
	Event     = journal.Event
	Freed     = journal.Freed
	FreedItem = journal.FreedItem
	Redaction = journal.Redaction
)

// The kinds of events.
const (
	KindAdopt      = journal.KindAdopt
	KindPromote    = journal.KindPromote
	KindRevert     = journal.KindRevert
	KindAutoRevert = journal.KindAutoRevert
	KindRelink     = journal.KindRelink
	KindRevoke     = journal.KindRevoke
	KindRedact     = journal.KindRedact
	KindHealth     = journal.KindHealth
	KindHold       = journal.KindHold
	KindUnhold     = journal.KindUnhold
	KindGC         = journal.KindGC
	KindPrune      = journal.KindPrune
	KindPin        = journal.KindPin
	KindUnpin      = journal.KindUnpin
	KindClock      = journal.KindClock
	KindGap        = journal.KindGap
)

var errNewer = generation.ErrNewer

// newer is the error of the record at path.
func newer(path string) error {
	return &Error{Path: path, Err: errNewer, Hint: "use a newer publish; nothing was changed"}
}

func (r *Repo) historyPath() string { return r.path(".publish", "history") }

// readHistory reads the history. A damaged line that is not the last is an
// error: it is evidence, and windows are counted from it.
func (r *Repo) readHistory() (*journal.History, error) {
	h, err := r.writtenHistory()
	if err != nil {
		return nil, err
	}
	if err := r.legible(h); err != nil {
		return nil, err
	}
	return h, nil
}

// legible refuses a history with damaged lines, or with such as this version
// does not know.
func (r *Repo) legible(h *journal.History) error {
	if len(h.Bad) > 0 {
		return &Error{Path: fmt.Sprintf("%s:%d", r.historyPath(), h.Bad[0]), Fact: "the line is damaged",
			Hint: "run publish recover: it keeps the file as " + r.short(asideName(r.historyPath())) + " and makes damaged lines anew from the manifests"}
	}
	if h.Newer > 0 {
		return newer(fmt.Sprintf("%s:%d", r.historyPath(), h.Newer))
	}
	return nil
}

// writtenHistory reads the history, whatever is wrong with it.
func (r *Repo) writtenHistory() (*journal.History, error) {
	data, err := durable.ReadFile(r.historyPath(), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Path: r.historyPath(), Fact: "the history is missing", Hint: "run publish recover: it starts a new one from the manifests"}
	}
	if err != nil {
		return nil, err
	}
	return journal.Parse(data), nil
}

// short is a path below the repository, for a sentence that has named the
// repository already.
func (r *Repo) short(path string) string {
	if rel, err := filepath.Rel(r.Dir, path); err == nil {
		return rel
	}
	return path
}

// log appends one event and flushes it.
func (r *Repo) log(h *journal.History, e Event) error {
	text, err := json.Marshal(e)
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
	h.Append(e, len(line))
	return nil
}

// switchEvent is the switch to the generation that a manifest begins with.
func switchEvent(m *generation.Head) Event {
	return Event{Head: journal.Head{Time: m.Time, Kind: EventKind(m.Kind), Generation: m.Generation, From: m.From, Origin: m.Origin, Who: m.Who, Message: m.Message},
		Body: &journal.Switch{TreeID: m.TreeID, Seal: m.Borne(), Added: m.Added, Removed: m.Removed, Changed: m.Changed, Grace: m.Grace,
			Revoked: revokedEvent(m.Revoked), Unnamed: unnamedEvent(m.Unnamed)}}
}

// revokedEvent and unnamedEvent are what was revoked in the words of the
// history; revokedBy returns them in the words of the manifests and tombstones.
func revokedEvent(list []Revoked) (out []journal.Revoked) {
	for _, v := range list {
		out = append(out, journal.Revoked(v))
	}
	return out
}

func unnamedEvent(list []Named) (out []journal.Named) {
	for _, v := range list {
		out = append(out, journal.Named(v))
	}
	return out
}

func revokedBy(e *Event) (revoked []Revoked, unnamed []Named) {
	r, u := e.Revocation()
	for _, v := range r {
		revoked = append(revoked, Revoked(v))
	}
	for _, v := range u {
		unnamed = append(unnamed, Named(v))
	}
	return revoked, unnamed
}

// tipOf is the switch that production's manifest records; nil for none.
func tipOf(m *generation.Head) *Event {
	if m == nil {
		return nil
	}
	e := switchEvent(m)
	return &e
}

func noNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
