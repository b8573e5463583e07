package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// mend repairs what no crash of this program explains: damaged, lost, repeated
// and displaced lines of the history, lost tombstones, and damaged manifests,
// which it makes anew from the trees. What a newer version wrote is not damaged:
// then nothing is changed at all.
func (r *Repo) mend(ctx context.Context) ([]string, error) {
	// Before anything is written: where all is lost, just that tells whose
	// production is.
	n, lookErr := r.site.Live(ctx)
	heads, err := r.store.Heads()
	if err != nil {
		return nil, err
	}
	if _, err := r.graveyard(); errors.Is(err, errNewer) {
		return nil, err
	}
	data, err := durable.ReadFile(r.historyPath(), maxRecord)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	h := journal.Parse(data)
	if h.Newer > 0 {
		return nil, newer(fmt.Sprintf("%s:%d", r.historyPath(), h.Newer))
	}
	// Manifests first: lines that are lost are made from them. One that cannot
	// be made keeps nothing else from being mended.
	var done []string
	var failed error
	if lookErr == nil && n != 0 { // else recover tells
		done, failed = r.mendManifests(ctx, h, heads, n)
	}
	mended, h, err := r.mendHistory(ctx, heads, n)
	if done = append(done, mended...); err != nil {
		return done, errors.Join(err, failed)
	}
	mended, err = r.mendTombstones(h)
	return append(done, mended...), errors.Join(err, failed)
}

// mendManifests makes the manifests of kept trees anew that are damaged or
// missing, and adds their heads. Production is generation n.
func (r *Repo) mendManifests(ctx context.Context, h *journal.History, heads map[int]generation.Head, n int) (
	done []string, err error) {
	kept, err := r.store.Kept(n)
	if err != nil {
		return nil, err
	}
	was := r.switched(slices.Values(h.Events), heads, n)
	for _, k := range kept {
		var e *Error
		if _, err := r.manifest(k); err == nil || !errors.As(err, &e) {
			continue // sound, or the disk cannot read it
		}
		dir := r.site.Dir(n)
		if k != n {
			dir = r.store.Dir(k)
			if _, err := r.store.Whose(dir); errors.Is(err, generation.ErrForeign) {
				r.opt.Warn(fmt.Sprintf("%v; it is left alone", err))
				continue
			}
		}
		if id, err := generation.Identity(dir); err != nil || id != k {
			continue // not a generation's tree, or recovery has yet to put it in its place
		}
		same, failed := r.remakeManifest(ctx, h, was, k, dir)
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		done = append(done, fmt.Sprintf("made the manifest of generation %d anew from its tree", k))
		if _, known := h.Made(k); known && !same {
			done = append(done, fmt.Sprintf("generation %d is not what history recorded, or some of its files were carried: run publish validate --full %d", k, k))
		}
		m, failed := r.manifest(k)
		if failed != nil {
			return done, errors.Join(err, failed)
		}
		heads[k] = m.Head
	}
	return done, err
}

// mendHistory writes the history anew, if it is missing, damaged or has flaws:
// its sound lines, and what the manifests tell of switches that they lack. The
// file as it was stays under another name. current is production; 0 for none. It
// returns the history as it is then.
//
// Killed at any point it leaves the old history or the new one.
func (r *Repo) mendHistory(ctx context.Context, heads map[int]generation.Head, current int) (
	[]string, *journal.History, error) {
	path := r.historyPath()
	data, err := durable.ReadFile(path, maxRecord)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return nil, nil, err
	}
	h := journal.Parse(data)
	var tip *Event
	if m, ok := heads[current]; ok {
		tip = tipOf(&m)
	}
	if !missing && len(h.Bad) == 0 && len(r.flaws(h, tip)) == 0 {
		return nil, h, nil
	}

	proved := func(entries []journal.Entry) []Event { return r.provedBy(entries, heads, current) }
	fixed := journal.Repair(nil, journal.Entries(data), proved, tip, journal.Head{Time: r.now(), Who: r.who()}, int64(r.grace()/time.Second))
	if slices.Contains(fixed.Made, current) {
		// History names a switch only after it was made durable.
		if err := r.site.Settle(ctx); err != nil {
			return nil, nil, err
		}
	}
	if err := r.upgrade(); err != nil {
		return nil, nil, err
	}
	var done []string
	if missing {
		done = append(done, "started a new history from the manifests")
	} else {
		aside := asideName(path)
		if err := durable.WriteFile(aside, data, 0o644); err != nil {
			return nil, nil, err
		}
		if err := r.at("after-aside"); err != nil {
			return nil, nil, err
		}
		if n := len(h.Bad); n > 0 {
			done = append(done, fmt.Sprintf("set %d damaged %s of the history aside in %s", n, plural(n, "line"), r.short(aside)))
		} else {
			done = append(done, "kept the history as it was in "+r.short(aside))
		}
	}
	say := func(list []int, format string) {
		if len(list) > 0 {
			done = append(done, fmt.Sprintf(format, plural(len(list), "generation")+" "+strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")))
		}
	}
	if !missing {
		say(fixed.Made, "made the history of %s anew from the manifests")
	}
	if n := fixed.Moved; n > 0 {
		done = append(done, fmt.Sprintf("put %d %s of the history back in place", n, plural(n, "line")))
	}
	if n := fixed.Dropped; n > 0 {
		done = append(done, fmt.Sprintf("left out %d repeated %s of the history", n, plural(n, "line")))
	}
	say(fixed.Back, "noted in the history that production went back to %s")
	say(fixed.Gaps, "noted in the history that it does not tell what came before %s")

	out, err := journal.Encode(fixed.Entries)
	if err != nil {
		return done, nil, err
	}
	if err := durable.WriteFile(path, out, 0o644); err != nil {
		return done, nil, err
	}
	return done, journal.Parse(out), r.at("after-mend")
}

// provedBy returns the switches to the generations that were production, as
// their manifests record them.
func (r *Repo) provedBy(entries []journal.Entry, heads map[int]generation.Head, current int) []Event {
	events := func(yield func(Event) bool) {
		for _, e := range entries {
			if !yield(e.Event) {
				return
			}
		}
	}
	var out []Event
	for n := range r.switched(events, heads, current) {
		if m, ok := heads[n]; ok {
			e := switchEvent(&m)
			e.Switch().Recovered = true
			out = append(out, e)
		}
	}
	return out
}

// switched returns the generations that were production. A sealed manifest
// alone proves nothing: a promote that a hook stopped has one, too. What proves
// it: production itself; that some switch, or the manifest of one that was
// abandoned, says that the generation was production before it; that a
// generation shows its content; and a tree, below those numbers, since what was
// never switched to is removed before a higher number is given. In rename mode
// a tree has its own name only after an exchange brought it back.
func (r *Repo) switched(events iter.Seq[Event], heads map[int]generation.Head, current int) map[int]bool {
	out := map[int]bool{}
	prove := func(n int) {
		if n > 0 {
			out[n] = true
		}
	}
	prove(current)
	for n, m := range heads {
		prove(m.From)
		if m.Origin != n {
			prove(m.Origin)
		}
	}
	top := 0
	for e := range events {
		if e.Kind.Switch() {
			prove(e.Generation)
			prove(e.From)
		}
	}
	for n := range out {
		top = max(top, n)
	}
	trees, err := r.store.Kept(current)
	if err != nil {
		return out
	}
	for _, n := range trees {
		// Of a production that is missing too, the newest tree has to do.
		if id, err := r.store.Whose(r.store.Dir(n)); err == nil && id == n && (n < top || current == 0 || r.site.Guarantee().NamedOnceLive) {
			prove(n)
		}
	}
	return out
}

// asideName is the first free name for a damaged file beside its own.
func asideName(path string) string {
	name := path + ".damaged"
	for n := 2; !gone(name); n++ {
		name = fmt.Sprintf("%s.damaged-%d", path, n)
	}
	return name
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// remakeManifest writes a manifest for the tree of generation n, which is at
// dir; switched are the generations that were production. Which files were carried,
// and since when, is lost: all that no index names counts as dropped by this
// generation. What a revert refused is derived again from the tree that it left,
// if that is kept. It reports whether the tree is the one that history recorded.
func (r *Repo) remakeManifest(ctx context.Context, h *journal.History, switched map[int]bool, n int, dir string) (same bool, err error) {
	e, was := switchTo(h, n)
	rows, named, err := r.scan(ctx, dir)
	if err != nil {
		return false, err
	}
	m := &generation.Manifest{Head: generation.Head{Generation: n, From: e.From, Origin: max(e.Origin, 0),
		Kind: generation.Kind(e.Kind), Who: e.Who, Message: e.Message, Time: r.now().UTC(),
		Grace: was.Grace, Format: r.format.Name(), Added: was.Added, Removed: was.Removed, Changed: was.Changed}}
	if m.Origin == 0 {
		// Nothing tells what was before: most likely the one before it.
		m.Origin, m.Kind = n, generation.KindPromote
		for o := range switched {
			if o < n {
				m.From = max(m.From, o)
			}
		}
	}
	for _, row := range rows {
		if !named[row.Path] && r.format.Class(row.Path) == catalog.ItemLike {
			row.Role = catalog.Content
			m.Carried = append(m.Carried, generation.Carried{Row: row, Dropped: n})
		} else {
			m.Own = append(m.Own, row)
		}
	}
	erased, err := r.erasedOf(ctx, n, dir, rows)
	if err != nil {
		return false, err
	}
	m.Own = append(m.Own, erased...)
	tree.SortRows(m.Own)
	m.TreeID = tree.ID(m.Own)
	if c, err := generation.ReadClaim(dir); err == nil {
		m.TreeSeal = c.Seal
	}
	if m.Kind == generation.KindRevert || m.Kind == generation.KindAutoRevert {
		if left, err := r.manifest(m.From); err == nil {
			m.Barred, m.BarredTrees = generation.Bar(left, m, m.Kind, r.format)
		}
	}
	return m.TreeID == was.TreeID, r.store.WriteManifest(m)
}

// switchTo returns the line that made generation n; empty ones if none did.
func switchTo(h *journal.History, n int) (Event, *journal.Switch) {
	for _, e := range h.Events {
		if e.Kind.Switch() && e.Generation == n {
			return e, e.Switch()
		}
	}
	return Event{}, &journal.Switch{}
}

// erasedOf returns rows for what the indexes of generation n name and a revoke
// deleted: its manifest had them, and without them a revert would not know that
// the indexes have to be written anew.
func (r *Repo) erasedOf(ctx context.Context, n int, dir string, rows []tree.Row) ([]tree.Row, error) {
	graves, err := r.graveyard()
	if err != nil || graves.Len() == 0 {
		return nil, err
	}
	cat, err := stage.ReadCatalog(ctx, dir, r.format)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, row := range rows {
		seen[row.Path] = true
	}
	var out []tree.Row
	for _, i := range cat.Items {
		row := tree.Row{Path: i.Path, Size: max(i.Size, 0), SHA256: i.SHA256, Role: catalog.Content}
		if !seen[i.Path] && graves.Redacted(n, row) {
			seen[i.Path] = true
			out = append(out, row)
		}
	}
	return out, nil
}

// scan hashes the tree at dir and gives each row its role; named tells the
// paths that the indexes name, items and documents.
func (r *Repo) scan(ctx context.Context, dir string) (rows []tree.Row, named map[string]bool, err error) {
	checked, err := stage.HashTree(ctx, dir, r.opt.Progress)
	if err != nil {
		return nil, nil, err
	}
	cat, err := stage.ReadCatalog(ctx, dir, r.format)
	if err != nil {
		return nil, nil, err
	}
	named = map[string]bool{}
	for _, i := range cat.Items {
		named[i.Path] = true
	}
	for i, row := range checked.Rows {
		if named[row.Path] && row.Role == catalog.Mutable {
			checked.Rows[i].Role = catalog.Content
		}
	}
	for _, d := range cat.Documents {
		named[d] = true
	}
	return checked.Rows, named, nil
}
