package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
)

var errNewer = generation.ErrNewer

// newer is the error for a record at path that a newer version wrote.
func newer(path string) error {
	return &Error{Path: path, Err: errNewer, Hint: "use a newer publish; nothing was changed"}
}

func (r *Repo) historyPath() string { return r.path(".publish", "history") }

// journal returns the history on disk.
func (r *Repo) journal() journal.Log {
	return journal.Log{Path: r.historyPath(), Limit: maxRecord, Step: r.step}
}

// readHistory reads the history. A damaged line that is not the last one is an error:
// windows are computed from it, and it must not be lost.
func (r *Repo) readHistory() (*journal.History, error) {
	if r.shared != nil {
		ctx := context.Background()
		p, err := r.shared.pointer(ctx, time.Hour)
		if err != nil {
			return nil, err
		}
		return r.shared.history(ctx, p)
	}
	h, err := r.writtenHistory()
	if err != nil {
		return nil, err
	}
	return h, r.legible(r.historyPath(), h)
}

// legible returns an error for a file of the history that has damaged lines, that has
// lines this version does not know, or that does not continue the closed files.
func (r *Repo) legible(path string, h *journal.History) error {
	hint := "run publish recover: it keeps the file as " + r.short(asideName(path)) +
		" and rebuilds damaged lines from the manifests"
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

// writtenHistory reads the history, even if it is damaged.
func (r *Repo) writtenHistory() (*journal.History, error) {
	h, err := r.journal().Read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Path: r.historyPath(), Fact: "the history is missing",
			Hint: "run publish recover: it starts a new one from the manifests"}
	}
	return h, err
}

// short returns a path relative to the repository, for a sentence that already names
// the repository.
func (r *Repo) short(path string) string {
	if rel, err := filepath.Rel(r.Dir, path); err == nil {
		return rel
	}
	return path
}

// log appends one event and flushes it.
func (r *Repo) log(h *journal.History, e journal.Event) error {
	if r.shared != nil {
		return r.shared.note(context.Background(), h, e)
	}
	if err := r.upgrade(); err != nil {
		return err
	}
	return r.journal().Append(h, e)
}

// closeBytes is the size at which the file of the history is closed, in bytes without
// its checkpoint. Reading so much takes about 20 ms, and a checkpoint is a small part
// of it.
const closeBytes = 1 << 20

// closeHistory closes the file of the history if it has become long enough. It is the
// last step of a command, and only speed depends on it. If it fails, the next command
// tries again.
func (r *Repo) closeHistory(ctx context.Context, s *state) {
	if r.shared != nil || !s.history.Long(r.closeBytes) {
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
	if last.Generation != live || len(flaws(r.store, s.history, s.tip())) > 0 {
		return nil // recovery comes first
	}
	keep, err := r.remembered(s.current)
	if err != nil {
		return err
	}
	return r.journal().Close(s.history, keep)
}

// remembered returns the generations that the history keeps in memory: those that have
// trees, and those that dropped a file which production carries.
func (r *Repo) remembered(current *generation.Tree) ([]int, error) {
	out, err := r.store.Numbers()
	if err != nil {
		return nil, err
	}
	if current != nil {
		out = append(out, current.Generation)
		out = append(out, dropped(current.Manifest)...)
	}
	return out, nil
}

// dropped returns the generations that dropped the files which m carries.
func dropped(m *generation.Manifest) []int {
	seen := map[int]bool{}
	for _, c := range m.Carried {
		seen[c.Dropped] = true
	}
	return slices.Collect(maps.Keys(seen))
}

// switchEvent returns the event of the switch to a generation, from the head of its
// manifest.
func switchEvent(m *generation.Head) journal.Event {
	return journal.Event{
		Head: journal.Head{Time: m.Time, Kind: journal.Kind(m.Kind), Generation: m.Generation, From: m.From,
			Origin: m.Origin, Who: m.Who, Message: m.Message},
		Body: &journal.Switch{TreeID: m.TreeID, Seal: m.Borne(), Added: m.Added, Removed: m.Removed, Changed: m.Changed,
			Grace: m.Grace, Revoked: revokedEvent(m.Revoked), Unnamed: unnamedEvent(m.Unnamed)}}
}

// revokedEvent and unnamedEvent convert the manifest's types to those of the history.
// revokedBy converts them back.
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

func revokedBy(e *journal.Event) (revoked []Revoked, unnamed []Named) {
	r, u := e.Revocation()
	for _, v := range r {
		revoked = append(revoked, Revoked(v))
	}
	for _, v := range u {
		unnamed = append(unnamed, Named(v))
	}
	return revoked, unnamed
}

// tipOf is the switch that production's manifest records; nil if m is nil.
func tipOf(m *generation.Head) *journal.Event {
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

// note returns an event that is not a switch, without its body.
func (r *Repo) note(s *state, kind journal.Kind, message string) journal.Event {
	e := journal.Event{Head: journal.Head{Time: s.now, Kind: kind, Who: r.who(), Message: message}}
	if s.current != nil {
		e.Generation, e.From, e.Origin = s.current.Generation, s.current.From, s.current.Origin
	}
	return e
}
