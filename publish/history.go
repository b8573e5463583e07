package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
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

// journal is the history on disk.
func (r *Repo) journal() journal.Log {
	return journal.Log{Path: r.historyPath(), Limit: maxRecord, Step: r.step}
}

// readHistory reads the history. A damaged line that is not the last is an
// error: it is evidence, and windows are counted from it.
func (r *Repo) readHistory() (*journal.History, error) {
	h, err := r.writtenHistory()
	if err != nil {
		return nil, err
	}
	return h, r.legible(r.historyPath(), h)
}

// legible refuses a file of the history with damaged lines, or with such as this
// version does not know, or that cannot be the one behind the closed files.
func (r *Repo) legible(path string, h *journal.History) error {
	hint := "run publish recover: it keeps the file as " + r.short(asideName(path)) +
		" and makes damaged lines anew from the manifests"
	switch {
	case len(h.Bad) > 0:
		return &Error{Path: fmt.Sprintf("%s:%d", path, h.Bad[0]), Fact: "the line is damaged", Hint: hint}
	case h.Newer > 0:
		return newer(fmt.Sprintf("%s:%d", path, h.Newer))
	case h.Stray != "":
		return &Error{Path: path, Fact: "is not the file that comes after " + r.short(h.Stray),
			Hint: "run publish recover: it puts the lines of both into one history"}
	}
	return nil
}

// writtenHistory reads the history, whatever is wrong with it.
func (r *Repo) writtenHistory() (*journal.History, error) {
	h, err := r.journal().Read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Path: r.historyPath(), Fact: "the history is missing",
			Hint: "run publish recover: it starts a new one from the manifests"}
	}
	return h, err
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
	if err := r.upgrade(); err != nil {
		return err
	}
	return r.journal().Append(h, e)
}

// closeBytes is how long the file of the history is, in bytes beside its
// checkpoint, when it is closed: reading as much takes some 20 ms, and a
// checkpoint is a small part of it.
const closeBytes = 1 << 20

// closeHistory closes the file of the history, if the command has made it long
// enough. It is the last that a command does, and nothing but time depends on
// it: if it fails the history is as long as it is, and the next command tries.
func (r *Repo) closeHistory(ctx context.Context, s *state) {
	if !s.history.Long(r.closeBytes) {
		return
	}
	if err := r.tryClose(ctx, s); err != nil {
		r.opt.Warn(fmt.Sprintf("%s: is long, and was not closed; it will be tried again: %v", r.historyPath(), err))
	}
}

func (r *Repo) tryClose(ctx context.Context, s *state) error {
	live, err := r.site.Live(ctx)
	if err != nil {
		return err
	}
	last, _ := s.history.Last()
	if last.Generation != live || len(r.flaws(s.history, s.tip())) > 0 {
		return nil // recovery comes first
	}
	keep, err := r.remembered(s.current)
	if err != nil {
		return err
	}
	return r.journal().Close(s.history, keep)
}

// remembered returns the generations that the history keeps at hand: those of
// trees, and those that dropped what production carries.
func (r *Repo) remembered(current *generation.Tree) ([]int, error) {
	list, err := os.ReadDir(r.path("generations"))
	if err != nil {
		return nil, err
	}
	var out []int
	for _, d := range list {
		if n, ok := generation.ParseNumber(strings.TrimPrefix(d.Name(), generation.NextPrefix)); ok {
			out = append(out, n)
		}
	}
	if current != nil {
		out = append(out, current.Generation)
		out = append(out, dropped(current.Manifest)...)
	}
	return out, nil
}

// dropped returns which generations dropped what a generation carries.
func dropped(m *generation.Manifest) []int {
	seen := map[int]bool{}
	for _, c := range m.Carried {
		seen[c.Dropped] = true
	}
	return slices.Collect(maps.Keys(seen))
}

// switchEvent is the switch to the generation that a manifest begins with.
func switchEvent(m *generation.Head) Event {
	return Event{Head: journal.Head{Time: m.Time, Kind: EventKind(m.Kind), Generation: m.Generation, From: m.From,
		Origin: m.Origin, Who: m.Who, Message: m.Message},
		Body: &journal.Switch{TreeID: m.TreeID, Seal: m.Borne(), Added: m.Added, Removed: m.Removed, Changed: m.Changed,
			Grace:   m.Grace,
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

// note is an event that is no switch, without its body.
func (r *Repo) note(s *state, kind EventKind, message string) Event {
	e := Event{Head: journal.Head{Time: s.now, Kind: kind, Who: r.who(), Message: message}}
	if s.current != nil {
		e.Generation, e.From, e.Origin = s.current.Generation, s.current.From, s.current.Origin
	}
	return e
}
