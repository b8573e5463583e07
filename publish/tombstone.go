package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

func (r *Repo) tombstonePath() string { return r.path(".publish", "tombstones") }

// graveyard reads the tombstones. It ignores a torn last line, because the revoke that
// wrote it never succeeded. Any other damage is an error: otherwise revoked content
// could come back.
func (r *Repo) graveyard() (*tombstone.Graveyard, error) {
	g, _, err := r.readTombstones()
	return g, err
}

// readTombstones is graveyard, and also returns the state of the file.
func (r *Repo) readTombstones() (*tombstone.Graveyard, journal.Sealed, error) {
	if r.shared != nil {
		return r.shared.tombstones(context.Background(), time.Hour)
	}
	data, err := durable.ReadFile(r.tombstonePath(), maxRecord)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, journal.Sealed{}, err
	}
	g, file := tombstone.Parse(data)
	if len(file.Bad) > 0 {
		return nil, file, &Error{Path: fmt.Sprintf("%s:%d", r.tombstonePath(), file.Bad[0]),
			Fact: "the line is damaged",
			Hint: "run publish recover: it keeps the file as " + r.short(asideName(r.tombstonePath())) +
				" and rebuilds damaged lines from the history"}
	}
	if file.Newer > 0 {
		return nil, file, newer(fmt.Sprintf("%s:%d", r.tombstonePath(), file.Newer))
	}
	return g, file, nil
}

// bury appends a stone. The line is sealed, so that either all of it counts or
// nothing.
func (r *Repo) bury(s tombstone.Stone) error {
	if r.shared != nil {
		return r.shared.bury(context.Background(), s)
	}
	_, file, err := r.readTombstones()
	if err != nil {
		return err
	}
	if err := r.upgrade(); err != nil {
		return err
	}
	path := r.tombstonePath()
	if gone(path) {
		// Make it readable for everybody who may stage.
		if err := durable.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
	}
	if err := writable(path); err != nil {
		return err
	}
	if file.Torn {
		if err := durable.Truncate(path, file.Whole); err != nil {
			return err
		}
	}
	text, err := s.Marshal()
	if err != nil {
		return err
	}
	return durable.AppendLine(path, durable.Line(text))
}

// revoked returns a function that staging calls before it accepts content.
func (r *Repo) revoked() (func(string) (string, bool), error) {
	g, err := r.graveyard()
	if err != nil {
		return nil, err
	}
	return func(sum string) (string, bool) {
		s := g.Over(sum)
		if s == nil {
			return "", false
		}
		return s.Reason(), true
	}, nil
}

// revokedAmong returns the rows that would bring revoked content back.
func (r *Repo) revokedAmong(s *state, rows []tree.Row) ([]tree.Row, *tombstone.Graveyard, error) {
	graves, err := r.graveyard()
	if err != nil {
		return nil, nil, err
	}
	var live []tree.Row
	if s.current != nil {
		live = s.current.Own
	}
	return graves.Among(rows, live), graves, nil
}

// revokedIn refuses a tree that would bring revoked content back. It also refuses a
// version without content that was revoked while the tree was being prepared, that is,
// after the first mark lines of the tombstones. A later promote may have such a
// version again.
func (r *Repo) revokedIn(s *state, v *stage.Valid, mark int) error {
	revoked, graves, err := r.revokedAmong(s, v.Rows)
	if err != nil {
		return err
	}
	if len(revoked) == 0 {
		name, stone := graves.NamedSince(mark, v.Catalog.Images, v.Rows)
		if stone == nil {
			return nil
		}
		return refuse("promote again", "%s was revoked while this promote was being prepared, %s", name, stone.Reason())
	}
	row, more := revoked[0], ""
	if n := len(revoked) - 1; n > 0 {
		more = fmt.Sprintf(" and %d more files", n)
	}
	owner := row.Path
	for _, i := range v.Catalog.Items {
		if i.Path == row.Path {
			owner = fmt.Sprintf("%s (%s%s)", r.format.Ref(i.Of()), filepath.Base(row.Path), more)
		}
	}
	return refuse("take it out of staging, or give --force", "staging names %s, which was revoked %s", owner,
		graves.Over(row.SHA256).Reason())
}

// mendTombstones keeps a copy of a damaged file and rebuilds it from its sound lines.
// Missing ones come from the history.
func (r *Repo) mendTombstones(h *journal.History) (done []string, err error) {
	data, err := durable.ReadFile(r.tombstonePath(), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	g, file := tombstone.Parse(data)
	if len(file.Bad) == 0 && !h.Revoked() {
		return nil, nil
	}
	var lost []tombstone.Stone
	take := func(h *journal.History) {
		for _, e := range slices.Backward(h.Events) {
			s := tombstone.Stone{Time: e.Time, Who: e.Who, Why: e.Message, Before: e.Generation + 1}
			s.Revoked, s.Unnamed = revokedBy(&e)
			if e.Kind == journal.KindRevoke {
				s.Before = e.Generation
			}
			if g.Lacks(s) {
				lost = append(lost, s)
			}
		}
	}
	take(h)
	r.journal().Closed(h, func(_ string, h *journal.History, _ error) bool { take(h); return true })
	slices.Reverse(lost)
	if len(file.Bad) == 0 && len(lost) == 0 {
		return nil, nil
	}
	if data != nil {
		if err := durable.WriteFile(asideName(r.tombstonePath()), data, 0o644); err != nil {
			return nil, err
		}
	}
	var out []byte
	for _, s := range slices.Concat(lost, g.Stones()) {
		text, err := s.Marshal()
		if err != nil {
			return nil, err
		}
		out = append(out, durable.Line(text)...)
	}
	return []string{"rebuilt lost tombstones from the history"}, durable.WriteFile(r.tombstonePath(), out, 0o644)
}
