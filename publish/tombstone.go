package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

func namesOf(list []Named) catalog.Names {
	out := catalog.Names{}
	for _, v := range list {
		out[catalog.Name{Group: v.Product, Version: v.Version}] = true
	}
	return out
}

// tombstones are the contents of one revoke. Their line is the promise that
// they will be deleted everywhere: until a later line says that this is done,
// every recovery goes on with it. They are never taken back: what --force lets
// in passes them each time.
type tombstones struct {
	Time    time.Time `json:"time"`
	Who     string    `json:"who"`
	Why     string    `json:"why"`
	Before  int       `json:"before"` // generations of lower numbers are redacted
	Revoked []Revoked `json:"revoked"`
	Unnamed []Named   `json:"unnamed,omitempty"` // versions that had no content: no such generation names them any more
	Done    bool      `json:"done,omitempty"`    // all above was deleted everywhere
}

func (t *tombstones) reason() string {
	return fmt.Sprintf("by %s at %s: %s", t.Who, t.Time.UTC().Format(time.RFC3339), t.Why)
}

// graveyard is what .publish/tombstones says: append-only, each line sealed,
// as the history.
type graveyard struct {
	lines []tombstones
	by    map[string]*tombstones // by sha256, the newest
	journal.Sealed
}

func (r *Repo) tombstonePath() string { return r.path(".publish", "tombstones") }

// graveyard reads the tombstones. A torn last line was never promised to
// anybody; any other damage is an error, else revoked content could come back.
func (r *Repo) graveyard() (*graveyard, error) {
	data, err := durable.ReadFile(r.tombstonePath(), maxRecord)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	g := parseTombstones(data)
	if len(g.Bad) > 0 {
		return nil, &Error{Path: fmt.Sprintf("%s:%d", r.tombstonePath(), g.Bad[0]), Fact: "the line is damaged",
			Hint: "run publish recover: it keeps the file as " + r.short(asideName(r.tombstonePath())) + " and makes damaged lines anew from the history"}
	}
	if g.Newer > 0 {
		return nil, newer(fmt.Sprintf("%s:%d", r.tombstonePath(), g.Newer))
	}
	return g, nil
}

func parseTombstones(data []byte) *graveyard {
	g := &graveyard{by: map[string]*tombstones{}}
	g.Sealed = journal.ReadSealed(data, func(text []byte) bool {
		var t tombstones
		ok := json.Unmarshal(text, &t) == nil
		if ok {
			g.add(t)
		}
		return ok
	})
	return g
}

func (g *graveyard) add(t tombstones) {
	g.lines = append(g.lines, t)
	for _, c := range t.Revoked {
		g.by[c.SHA256] = &t
	}
}

// split returns the tombstones whose deletion has ended, and the others.
func (g *graveyard) split() (done *graveyard, pending []tombstones) {
	n := 0
	for i, t := range g.lines {
		if t.Done {
			n = i + 1
		}
	}
	done = &graveyard{by: map[string]*tombstones{}}
	for _, t := range g.lines[:n] {
		done.add(t)
	}
	return done, g.lines[n:]
}

// redacted reports whether a row of generation n is not to be there any more.
// A generation that was made by force after the revoke keeps it.
func (g *graveyard) redacted(n int, row tree.Row) bool {
	t, ok := g.by[row.SHA256]
	return ok && n < t.Before && row.Role != catalog.Link
}

// unnamed are the versions without content that generation n is not to name any
// more.
func (g *graveyard) unnamed(n int) catalog.Names {
	out := catalog.Names{}
	for _, t := range g.lines {
		if n < t.Before {
			maps.Copy(out, namesOf(t.Unnamed))
		}
	}
	return out
}

// names reports whether a tombstone is for a version without content.
func (g *graveyard) names(v Named) bool {
	return slices.ContainsFunc(g.lines, func(t tombstones) bool { return slices.Contains(t.Unnamed, v) })
}

// bury appends tombstones, in one sealed line: all of them or none.
func (r *Repo) bury(t tombstones) error {
	g, err := r.graveyard()
	if err != nil {
		return err
	}
	if err := r.upgrade(); err != nil {
		return err
	}
	path := r.tombstonePath()
	if gone(path) {
		// Readable by all who may stage.
		if err := durable.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
	}
	if err := r.writable(path); err != nil {
		return err
	}
	if g.Torn {
		if err := durable.Truncate(path, g.Whole); err != nil {
			return err
		}
	}
	t.Time, t.Revoked = t.Time.UTC(), noNil(t.Revoked)
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return durable.AppendLine(path, durable.Line(text))
}

// revoked is what staging asks before content comes in.
func (r *Repo) revoked() (func(string) (string, bool), error) {
	g, err := r.graveyard()
	if err != nil {
		return nil, err
	}
	return func(sum string) (string, bool) {
		t, ok := g.by[sum]
		if !ok {
			return "", false
		}
		return t.reason(), true
	}, nil
}

// revokedRows are rows with revoked content, and the tombstones of each.
type revokedRows struct {
	*graveyard
	rows []tree.Row
}

// revokedAmong finds the rows that would bring revoked content back. What
// production has already came by force, and is not asked for again.
func (r *Repo) revokedAmong(s *state, rows []tree.Row) (revokedRows, error) {
	g, err := r.graveyard()
	if err != nil || len(g.by) == 0 {
		return revokedRows{graveyard: g}, err
	}
	have := map[string]bool{}
	if s.current != nil {
		for _, row := range s.current.Own {
			have[row.SHA256] = true
		}
	}
	out := revokedRows{graveyard: g}
	for _, row := range rows {
		if g.by[row.SHA256] != nil && !have[row.SHA256] && row.Role != catalog.Link {
			out.rows = append(out.rows, row)
		}
	}
	return out, nil
}

// revokedIn refuses a tree that would bring revoked content back, or a version
// without content that was revoked while the tree was being prepared: after the
// first mark lines of the tombstones. Later such a name may come again.
func (r *Repo) revokedIn(s *state, v *stage.Valid, mark int) error {
	revoked, err := r.revokedAmong(s, v.Rows)
	if err != nil {
		return err
	}
	if len(revoked.rows) == 0 {
		return revoked.namedIn(v, mark)
	}
	row, more := revoked.rows[0], ""
	if n := len(revoked.rows) - 1; n > 0 {
		more = fmt.Sprintf(" and %d more files", n)
	}
	owner := row.Path
	for _, i := range v.Catalog.Items {
		if i.Path == row.Path {
			owner = fmt.Sprintf("%s/%s (%s%s)", i.Product, i.Version, filepath.Base(row.Path), more)
		}
	}
	return refuse("take it out of staging, or give --force", "staging names %s, which was revoked %s", owner, revoked.by[row.SHA256].reason())
}

// namedIn refuses a tree that names a version without content that is in the
// lines after mark.
func (g *graveyard) namedIn(v *stage.Valid, mark int) error {
	for _, t := range g.lines[min(mark, len(g.lines)):] {
		unnamed := namesOf(t.Unnamed)
		if len(unnamed) == 0 {
			continue
		}
		rows := map[string]tree.Row{}
		for _, row := range v.Rows {
			rows[row.Path] = row
		}
		h := holder{rows: rows}
		for _, i := range v.Catalog.Images {
			if unnamed[i.Of()] && h.hollow(i) {
				return refuse("promote again", "%s was revoked while this promote was being prepared, %s", Named{Product: i.Product, Version: i.Version}, t.reason())
			}
		}
	}
	return nil
}

// mendTombstones sets a damaged file aside and makes it anew: from its sound
// lines, and from the history what they lack.
func (r *Repo) mendTombstones(h *journal.History) (done []string, err error) {
	data, err := durable.ReadFile(r.tombstonePath(), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	g := parseTombstones(data)
	var lost []tombstones
	for _, e := range h.Events {
		t := tombstones{Time: e.Time, Who: e.Who, Why: e.Message, Before: e.Generation + 1}
		t.Revoked, t.Unnamed = revokedBy(&e)
		if e.Kind == KindRevoke {
			t.Before = e.Generation
		}
		if slices.ContainsFunc(t.Revoked, func(c Revoked) bool { return g.by[c.SHA256] == nil }) ||
			slices.ContainsFunc(t.Unnamed, func(v Named) bool { return !g.names(v) }) {
			lost = append(lost, t)
		}
	}
	if len(g.Bad) == 0 && len(lost) == 0 {
		return nil, nil
	}
	if data != nil {
		if err := durable.WriteFile(asideName(r.tombstonePath()), data, 0o644); err != nil {
			return nil, err
		}
	}
	var out []byte
	for _, t := range slices.Concat(lost, g.lines) {
		text, err := json.Marshal(t)
		if err != nil {
			return nil, err
		}
		out = append(out, durable.Line(text)...)
	}
	return []string{"made lost tombstones anew from the history"}, durable.WriteFile(r.tombstonePath(), out, 0o644)
}
