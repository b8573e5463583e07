package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// mend repairs what no crash of this program explains: damaged lines of the
// history, which it sets aside, and a damaged manifest of production, which it
// makes anew from the tree.
func (r *Repo) mend(ctx context.Context) ([]string, error) {
	var done []string
	data, err := os.ReadFile(r.historyPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	missing := err != nil
	h := parseHistory(data)
	if missing || len(h.bad) > 0 {
		aside := ""
		if !missing {
			aside = r.historyPath() + ".damaged-" + r.now().UTC().Format("20060102T150405Z")
			if err := durable.WriteFile(aside, data, 0o644); err != nil {
				return nil, err
			}
		}
		if err := r.rebuildHistory(h); err != nil {
			return nil, err
		}
		if missing {
			done = append(done, "started a new history from the manifests")
		} else {
			done = append(done, fmt.Sprintf("set %d damaged lines of the history aside in %s", len(h.bad), filepath.Base(aside)))
		}
	}
	mended, err := r.mendTombstones(h)
	if done = append(done, mended...); err != nil {
		return done, err
	}
	n, live, err := r.sw.current()
	if err != nil || n == 0 {
		return done, nil // recover tells
	}
	kept, err := r.kept(n)
	if err != nil {
		return done, err
	}
	for _, k := range kept {
		var e *Error
		if _, err := r.manifest(k); err == nil || !errors.As(err, &e) {
			continue
		}
		dir := live
		if k != n {
			dir = r.path("generations", number(k))
		}
		same, err := r.remakeManifest(ctx, h, k, dir)
		if err != nil {
			return done, err
		}
		done = append(done, fmt.Sprintf("made the manifest of generation %d anew from its tree", k))
		if !same {
			done = append(done, fmt.Sprintf("generation %d is not what history recorded, or some of its files were carried: run publish validate --full %d", k, k))
		}
	}
	return done, nil
}

// rebuildHistory writes the history anew: its sound lines and, for switches
// that they lack, what the manifests tell.
func (r *Repo) rebuildHistory(h *History) error {
	list, err := os.ReadDir(r.path(".publish", "manifests"))
	if err != nil {
		return err
	}
	current, _, _ := r.sw.current()
	for _, d := range list {
		n, ok := parseNumber(d.Name())
		if _, known := h.made(n); !ok || known || current != 0 && n > current {
			continue
		}
		m, err := r.manifest(n)
		if err != nil {
			continue
		}
		h.insert(Event{Time: m.Time, Kind: m.Kind, Generation: n, From: m.From, Origin: m.Origin, TreeID: m.TreeID, Who: m.Who,
			Message: m.Message, Added: m.Added, Removed: m.Removed, Changed: m.Changed, Grace: m.Grace, Recovered: true, Revoked: m.Revoked})
	}
	var out []byte
	for _, e := range h.Events {
		text, err := marshalEvent(e)
		if err != nil {
			return err
		}
		out = append(out, durable.Line(text)...)
	}
	return durable.WriteFile(r.historyPath(), out, 0o644)
}

// remakeManifest writes a manifest for the tree that production is. Which
// files were carried, and since when, is lost: all that no index names counts
// as dropped by this generation. What a revert refused is derived again from
// the tree that it left, if that is kept. It reports whether the tree is the
// one that history recorded.
func (r *Repo) remakeManifest(ctx context.Context, h *History, n int, dir string) (same bool, err error) {
	e, _ := h.made(n)
	rows, named, err := r.scan(ctx, dir)
	if err != nil {
		return false, err
	}
	m := &Manifest{Head: Head{Generation: n, From: e.From, Origin: max(e.Origin, 0), Kind: e.Kind, Who: e.Who, Message: e.Message, Time: r.now().UTC(),
		Grace: e.Grace, Format: r.format.Name(), Added: e.Added, Removed: e.Removed, Changed: e.Changed}}
	if m.Origin == 0 {
		m.Origin, m.Kind = n, KindPromote
	}
	for _, row := range rows {
		if !named[row.Path] && r.format.Class(row.Path) == catalog.ItemLike {
			row.Role = catalog.Content
			m.Carried = append(m.Carried, Carried{row, n})
		} else {
			m.Own = append(m.Own, row)
		}
	}
	m.TreeID = tree.ID(m.Own)
	if m.Kind == KindRevert || m.Kind == KindAutoRevert {
		if left, err := r.manifest(m.From); err == nil {
			m.Barred, m.BarredTrees = r.bar(&generation{left, ""}, &generation{m, dir}, m.Kind)
		}
	}
	return m.TreeID == e.TreeID, r.writeManifest(m)
}
