package publish

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage/durable"
)

// repairHistory rewrites the history if it is missing, damaged or has flaws. The new
// history has the sound lines, and the missing switches that the manifests prove. The
// old files are kept under other names. current is production; 0 for none. It returns
// the history after the repair.
//
// If it is killed at any point, it leaves the old history or the new one.
func (r *Repo) repairHistory(
	ctx context.Context, w *journal.Wreck, heads map[int]generation.Head, current int,
) (done []string, h *journal.History, err error) {
	var tip *journal.Event
	if m, ok := heads[current]; ok {
		tip = tipOf(&m)
	}
	lines := !w.Whole() // whether the open file needs repair
	if !lines {
		if h, err = r.journal().Read(); err != nil {
			return nil, nil, err
		}
		broken := flaws(r.store, h, tip)
		if len(broken) == 0 && len(w.Closed) == 0 {
			return nil, h, nil
		}
		lines = len(broken) > 0
		// A lost line belongs before the checkpoint, so read the closed files too.
		if w.Base != nil && slices.ContainsFunc(broken, func(f journal.Flaw) bool {
			return f.Kind == journal.Lost && f.From <= w.Base.Top()
		}) {
			if w, err = r.journal().Inspect(true); err != nil {
				return nil, nil, err
			}
		}
	}
	if err := r.upgrade(); err != nil {
		return nil, nil, err
	}
	if done, err = r.repairClosed(w, heads); err != nil {
		return done, nil, err
	}
	entries := w.Entries
	if lines {
		fixed := journal.Repair(w.Base, w.Entries, func(entries []journal.Entry) []journal.Event {
			return r.provedBy(w.Base, entries, heads, current)
		},
			tip, r.now(), r.who(), r.grace())
		if slices.Contains(fixed.Made, current) {
			// History may name a switch only after it is durable.
			if err := r.site.Settle(ctx); err != nil {
				return done, nil, err
			}
		}
		said, err := r.setAside(w)
		if done = append(done, said...); err != nil {
			return done, nil, err
		}
		done = append(done, repaired(fixed, !w.Missing)...)
		entries = fixed.Entries
	}
	keep, err := r.remembered(nil)
	if err != nil {
		return done, nil, err
	}
	h, err = r.journal().Restore(w, entries, keep, func(path string) string {
		aside := asideName(path)
		done = append(done, fmt.Sprintf("set %s, which cannot be beside the history, aside in %s", r.short(path),
			r.short(aside)))
		return aside
	})
	return done, h, err
}

// setAside keeps a copy of the file that is about to be rewritten.
func (r *Repo) setAside(w *journal.Wreck) (done []string, err error) {
	switch {
	case w.Missing && w.Base == nil && len(w.Stray) == 0:
		return []string{"started a new history from the manifests"}, nil
	case w.Missing:
		return []string{"rebuilt the history from its closed files and the manifests"}, nil
	}
	aside := asideName(r.historyPath())
	if err := durable.WriteFile(aside, w.Data, 0o644); err != nil {
		return nil, err
	}
	if err := r.at("after-aside"); err != nil {
		return nil, err
	}
	if n := w.Bad; n > 0 {
		return []string{fmt.Sprintf("set %d damaged %s of the history aside in %s", n, plural(n, "line"),
			r.short(aside))}, nil
	}
	return []string{"kept the history as it was in " + r.short(aside)}, nil
}

// repaired describes a repair of lines in sentences. made is false for a new history:
// then it is not necessary to list the lines.
func repaired(fixed journal.Repaired, made bool) (done []string) {
	say := func(list []int, format string) {
		if len(list) > 0 {
			done = append(done, fmt.Sprintf(format, plural(len(list), "generation")+" "+
				strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")))
		}
	}
	if made {
		say(fixed.Made, "rebuilt the history of %s from the manifests")
	}
	if n := fixed.Moved; n > 0 {
		done = append(done, fmt.Sprintf("put %d %s of the history back in place", n, plural(n, "line")))
	}
	if n := fixed.Dropped; n > 0 {
		done = append(done, fmt.Sprintf("left out %d repeated %s of the history", n, plural(n, "line")))
	}
	say(fixed.Back, "noted in the history that production went back to %s")
	say(fixed.Gaps, "noted in the history that it does not say what came before %s")
	return done
}

// repairClosed rewrites the closed files that are missing or damaged. The new files
// have the sound lines, and the missing switches that the manifests and the next
// checkpoint prove.
func (r *Repo) repairClosed(w *journal.Wreck, heads map[int]generation.Head) (done []string, err error) {
	for _, d := range w.Closed {
		fixed := journal.Repaired{Entries: d.Entries}
		if !d.Unknown {
			proved := func([]journal.Entry) []journal.Event { return provedBehind(d, heads) }
			fixed = journal.Repair(d.Base, d.Entries, proved, d.Next, r.now(), r.who(), r.grace())
		}
		name := r.short(d.Path)
		switch {
		case d.Data == nil:
			done = append(done, fmt.Sprintf("rebuilt %s, which was missing", name))
		case !d.Is(fixed.Entries):
			aside := asideName(d.Path)
			if err := durable.WriteFile(aside, d.Data, 0o644); err != nil {
				return done, err
			}
			done = append(done,
				fmt.Sprintf("rebuilt %s, which was damaged; the damaged file is %s", name, r.short(aside)))
		default: // a recovery that was killed had already rewritten it
			done = append(done, fmt.Sprintf("noted that lines of %s are lost", name))
		}
		done = append(done, repaired(fixed, true)...)
		if err := r.journal().RestoreClosed(w, d, fixed.Entries); err != nil {
			return done, err
		}
	}
	return done, nil
}

// provedBehind returns the switches that a damaged file had: as their manifests record
// them, with the times from the next checkpoint.
func provedBehind(d *journal.Damaged, heads map[int]generation.Head) (out []journal.Event) {
	known := map[int]journal.Event{}
	for _, e := range d.Known {
		known[e.Generation] = e
	}
	for n, m := range heads {
		if !d.Made(n) {
			continue
		}
		e := switchEvent(&m)
		e.Switch().Recovered = true
		if k, ok := known[n]; ok {
			e.Time, e.Switch().Grace = k.Time, k.Switch().Grace
			delete(known, n)
		}
		out = append(out, e)
	}
	for _, e := range known {
		out = append(out, e)
	}
	return out
}

// provedBy returns the switches to the generations that were production, as their
// manifests record them.
func (r *Repo) provedBy(
	before *journal.History, entries []journal.Entry, heads map[int]generation.Head, current int,
) (out []journal.Event) {
	for n := range r.switched(before, entries, heads, current) {
		if m, ok := heads[n]; ok {
			e := switchEvent(&m)
			e.Switch().Recovered = true
			out = append(out, e)
		}
	}
	return out
}

// switched returns the generations that were production. before is the history before
// the lines in entries; it may be nil.
//
// A sealed manifest alone proves nothing, because a promote that a hook stopped also
// has one. These are the proofs:
//
//   - the generation is production
//   - a switch, or the manifest of an abandoned one, names it as the previous
//     generation
//   - another generation shows its content
//   - it has a tree, and a higher number is proved: a tree that was never switched
//     to is removed before a higher number is given
//
// In rename mode a tree is also a proof by itself: it gets its own name only when an
// exchange brings it back.
func (r *Repo) switched(
	before *journal.History, entries []journal.Entry, heads map[int]generation.Head, current int,
) map[int]bool {
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
	if before != nil {
		for n := range before.Generations() {
			prove(n)
		}
	}
	for _, e := range entries {
		if e.Kind.Switch() {
			prove(e.Generation)
			prove(e.From)
		}
	}
	top := 0
	for n := range out {
		top = max(top, n)
	}
	trees, err := r.store.Kept(current)
	if err != nil {
		return out
	}
	for _, n := range trees {
		// If production is also missing, the newest tree counts as well.
		if r.store.Holds(n) && (n < top || current == 0 || r.site.Guarantee().NamedOnceLive) {
			prove(n)
		}
	}
	return out
}

// asideName returns the first free name for a damaged file, beside the file.
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
