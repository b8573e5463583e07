package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
	"example.com/publish/stage/tree"
)

const (
	snapshotPrefix = ".snapshot-" // a promote's private tree; its owner holds the prepare lock
	revertPrefix   = ".revert-"   // a revert's; its owner holds the production lock
	trashPrefix    = ".trash-"    // a retired generation on its way out
)

// exclusive takes the production lock for a verb and recovers. preparing tells
// that the caller holds the prepare lock, too, and mine is its own snapshot.
func (r *Repo) exclusive(ctx context.Context, verb string, preparing bool, mine string) (s *state, done []string, unlock func(), err error) {
	unlock, err = r.lock(ctx, "lock", verb)
	if err != nil {
		return nil, nil, nil, err
	}
	s, done, err = r.recover(ctx, preparing, mine)
	if err != nil {
		unlock()
		return nil, done, nil, err
	}
	return s, done, unlock, nil
}

// Recover finishes or undoes what killed commands left, and tells in words
// what it did. Every other verb that takes the production lock does the same
// first; this one repairs a damaged history and manifest, too.
func (r *Repo) Recover(ctx context.Context) ([]string, error) {
	unlock, err := r.lock(ctx, "lock", "recover")
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Out of order, so without waiting: whoever holds the staging lock has
	// done, or will do, for staging what is done here.
	staging := *r.Stage
	staging.Wait = 0
	if unlock, err := staging.Exclusive(ctx, "recover"); err == nil {
		unlock()
	} else if held := new(lock.HeldError); !errors.As(err, &held) {
		r.opt.Warn(fmt.Sprintf("staging was not recovered: %v", err))
	}
	mended, err := r.mend(ctx)
	if err != nil {
		return mended, err
	}
	_, done, err := r.recover(ctx, false, "")
	return append(mended, done...), err
}

// recover brings the repository into a state that no crash explains. What
// production resolves to is the truth. The caller holds the production lock.
func (r *Repo) recover(ctx context.Context, preparing bool, mine string) (*state, []string, error) {
	var done []string
	did := func(format string, args ...any) { done = append(done, fmt.Sprintf(format, args...)) }
	h, err := r.readHistory()
	if err != nil {
		return nil, nil, err
	}
	if h.torn {
		if err := durable.Truncate(r.historyPath(), h.whole); err != nil {
			return nil, nil, err
		}
		h.torn = false
		did("cut a torn last line off the history")
	}
	if err := r.sw.tidy(); err != nil {
		return nil, done, err
	}
	n, dir, err := r.sw.current()
	last, switched := h.last()
	if errors.Is(err, errDangling) || err == nil && n == 0 && switched {
		if n, dir, err = r.restore(h); err == nil {
			did("put production back to generation %d", n)
		}
	}
	if err != nil {
		return nil, done, err
	}
	s, err := r.stateOf(h, n, dir)
	if err != nil {
		return nil, done, err
	}
	if n != 0 && (!switched || last.Generation != n) {
		if err := r.sw.sync(); err != nil {
			return nil, done, err
		}
		if err := r.adoptTruth(s, last); err != nil {
			return nil, done, err
		}
		did("completed the history: production is generation %d", n)
	}
	swept, err := r.sweep(s, preparing, mine)
	done = append(done, swept...)
	if err != nil {
		return nil, done, err
	}
	if did, finished, err := r.erase(ctx, s, false); err != nil {
		// No reason to refuse a revert at night: it is tried again, and
		// status says that it is due.
		r.opt.Warn(fmt.Sprintf("revoked content is not deleted everywhere yet: %v", err))
	} else if did != nil && finished {
		done = append(done, fmt.Sprintf("deleted revoked content: %d files", did.Files))
	}
	if last, ok := h.last(); ok && last.Health == "pending" && h.health(last.Generation) == "" && s.current != nil {
		did("ran the health check of generation %d", s.current.Generation)
		if err := r.checkHealth(ctx, s); err != nil {
			return s, done, err
		}
	}
	return s, done, nil
}

// adoptTruth appends what history lacks: the switch to the generation that
// production resolves to. If history knows that generation from before,
// somebody else has moved production back to it.
func (r *Repo) adoptTruth(s *state, last Event) error {
	m := s.current.Manifest
	if _, known := s.history.made(m.Generation); !known {
		return r.record(s, m, true)
	}
	e := Event{Time: s.now, Kind: KindRelink, Generation: m.Generation, From: last.Generation, Origin: m.Origin, TreeID: m.TreeID,
		Who: "unknown", Message: "production was changed by another program", Grace: int64(r.grace() / time.Second), Recovered: true}
	err := r.log(s.history, e)
	s.windows = r.window(s.history)
	return err
}

// restore puts a production that is missing or dangling back to the newest
// generation that history names and whose tree is there.
func (r *Repo) restore(h *History) (int, string, error) {
	for _, e := range slices.Backward(h.Events) {
		if !e.Kind.Switch() {
			continue
		}
		dir := r.path("generations", number(e.Generation))
		if id, err := identity(dir); err != nil || id != e.Generation {
			continue
		}
		if r.Config.Switch == "rename" {
			next := r.path("generations", nextPrefix+number(e.Generation))
			if err := durable.RenameNew(dir, next); err != nil {
				return 0, "", err
			}
			if err := r.sw.swap(e.Generation, true); err != nil {
				return 0, "", err
			}
		} else {
			_, err := os.Lstat(r.Production())
			if err := r.sw.swap(e.Generation, errors.Is(err, fs.ErrNotExist)); err != nil {
				return 0, "", err
			}
		}
		if err := r.sw.sync(); err != nil {
			return 0, "", err
		}
		return r.sw.current()
	}
	return 0, "", &Error{Path: r.Production(), Err: errDangling, Fact: "no generation that history names is left to put there",
		Hint: "restore generations/ from a backup, or start anew with publish init"}
}

// sweep removes the trees that production never reached and what was on its
// way out. A snapshot goes only when its owner is gone: when nobody, or the
// caller, holds the prepare lock.
func (r *Repo) sweep(s *state, preparing bool, mine string) ([]string, error) {
	store := r.path("generations")
	list, err := os.ReadDir(store)
	if err != nil {
		return nil, err
	}
	owned := preparing
	for _, d := range list {
		if strings.HasPrefix(d.Name(), snapshotPrefix) && !owned {
			// Asked only now, so that a promote is not disturbed for nothing.
			unlock, err := lock.Acquire(context.Background(), r.path(".publish", "prepare.lock"), lock.Options{Verb: "recover", Now: r.now()})
			if err == nil {
				defer unlock()
				owned = true
			}
			break
		}
	}
	current := 0
	if s.current != nil {
		current = s.current.Generation
	}
	var done []string
	drop := func(name, why string) error {
		if why != "" {
			done = append(done, "removed "+why)
		}
		return durable.RemoveAll(filepath.Join(store, name))
	}
	for _, d := range list {
		name := d.Name()
		n, isTree := parseNumber(strings.TrimPrefix(name, nextPrefix))
		waiting := strings.HasPrefix(name, nextPrefix)
		switch {
		case filepath.Join(store, name) == mine:
		case strings.HasPrefix(name, snapshotPrefix) && owned:
			err = drop(name, "the snapshot of a promote that did not end")
		case strings.HasPrefix(name, revertPrefix):
			err = drop(name, "the snapshot of a revert that did not end")
		case strings.HasPrefix(name, trashPrefix):
			err = drop(name, "")
		case isTree && waiting:
			err = drop(name, fmt.Sprintf("generation %d, which production never reached", n))
		case isTree && n != current:
			if _, known := s.history.made(n); !known {
				// The name first: half a tree must not look like a generation.
				gone := trashPrefix + name
				if err = os.Rename(filepath.Join(store, name), filepath.Join(store, gone)); err == nil {
					err = drop(gone, fmt.Sprintf("generation %d, which production never reached", n))
				}
			}
		}
		if err != nil {
			return done, err
		}
	}
	return done, r.sweepManifests(s)
}

// sweepManifests removes the manifests of trees that are gone, and temporary
// files. The highest number stays taken even if production never reached it:
// no number ever names two trees.
func (r *Repo) sweepManifests(s *state) error {
	dir := r.path(".publish", "manifests")
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	newest := 0
	if last, ok := s.history.last(); ok {
		newest = last.Generation
	}
	for _, d := range list {
		n, ok := parseNumber(d.Name())
		if !ok {
			if strings.HasPrefix(d.Name(), ".") {
				if err := os.Remove(filepath.Join(dir, d.Name())); err != nil {
					return err
				}
			}
			continue
		}
		if n >= newest || s.current != nil && n == s.current.Generation {
			continue
		}
		if _, err := os.Lstat(r.path("generations", number(n))); errors.Is(err, fs.ErrNotExist) {
			if err := os.Remove(filepath.Join(dir, d.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// pending tells, without changing anything, what recover would have to do.
func (r *Repo) pending(s *state) bool {
	last, switched := s.history.last()
	current := 0
	if s.current != nil {
		current = s.current.Generation
	}
	if s.history.torn || switched && last.Generation != current || !switched && current != 0 {
		return true
	}
	if switched && last.Health == "pending" && s.history.health(last.Generation) == "" {
		return true
	}
	if g, err := r.graveyard(); err == nil {
		if _, pending := g.split(); len(pending) > 0 {
			return true
		}
	}
	list, err := os.ReadDir(r.path("generations"))
	if err != nil {
		return false
	}
	for _, d := range list {
		n, isTree := parseNumber(strings.TrimPrefix(d.Name(), nextPrefix))
		_, known := s.history.made(n)
		switch {
		case isTree && strings.HasPrefix(d.Name(), nextPrefix), isTree && !known,
			strings.HasPrefix(d.Name(), trashPrefix), strings.HasPrefix(d.Name(), revertPrefix):
			return true
		case strings.HasPrefix(d.Name(), snapshotPrefix):
			if _, busy := lock.Look(r.path(".publish", "prepare.lock")); !busy {
				return true
			}
		}
	}
	return false
}

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
	h, bad := parseHistory(data)
	if missing || len(bad) > 0 {
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
			done = append(done, fmt.Sprintf("set %d damaged lines of the history aside in %s", len(bad), filepath.Base(aside)))
		}
	}
	mended, err := r.mendTombstones(h)
	if done = append(done, mended...); err != nil {
		return done, err
	}
	n, dir, err := r.sw.current()
	if err != nil || n == 0 {
		return done, nil // recover tells
	}
	_, err = r.manifest(n)
	var e *Error
	if err == nil || !errors.As(err, &e) {
		return done, err
	}
	if err := r.remakeManifest(ctx, h, n, dir); err != nil {
		return done, err
	}
	return append(done, fmt.Sprintf("made the manifest of generation %d anew from what production serves", n)), nil
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
		if _, known := h.made(n); !ok || known || n > current {
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
// as dropped by this generation.
func (r *Repo) remakeManifest(ctx context.Context, h *History, n int, dir string) error {
	e, _ := h.made(n)
	rows, named, err := r.scan(ctx, dir)
	if err != nil {
		return err
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
	return r.writeManifest(m)
}
