package publish

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/retention"
	"example.com/publish/stage/catalog"
)

// HistoryFilter selects events: those that match every field that is set.
type HistoryFilter struct {
	Limit   int            // at most so many, the newest; 0: all
	Kinds   []journal.Kind // any of these; empty: all except health checks, whose result is in the switch
	Product string         // name or glob of something that was added, removed or changed
	Since   time.Time      // not before; zero: from the start
	Until   time.Time      // not after; zero: to the end
}

// Kinds returns every kind that a history can hold.
func Kinds() []journal.Kind { return journal.Kinds() }

// History returns the events, newest first. Each switch has the result of its health
// check. It takes no lock, and reads no further back than it has to. A kind that is
// neither known nor in the history is an error of kind Usage: otherwise a mistyped
// filter would look like an empty history.
func (r *Repo) History(f HistoryFilter) ([]journal.Event, error) {
	if f.Product != "" {
		if _, err := retention.Matches(f.Product, ""); err != nil {
			return nil, &Error{Kind: Usage, Err: err}
		}
	}
	unknown := map[journal.Kind]bool{}
	for _, k := range f.Kinds {
		if !k.Known() {
			unknown[k] = true
		}
	}
	said := map[int]string{} // newest result of the health check, by generation
	out := []journal.Event{}
	err := r.eachEvent(func(e journal.Event) bool {
		delete(unknown, e.Kind)
		if b, ok := e.Body.(*journal.Health); ok && said[e.Generation] == "" {
			said[e.Generation] = b.Result
		}
		full := f.Limit > 0 && len(out) == f.Limit
		if !full && f.passes(e, r.format) {
			out = append(out, shown(e, said[e.Generation]))
			full = len(out) == f.Limit
		}
		return !full || len(unknown) > 0
	})
	if err != nil {
		return nil, err
	}
	for _, k := range f.Kinds {
		if unknown[k] {
			return nil, &Error{Kind: Usage, Path: string(k), Fact: "is not a kind of event",
				Hint: "the kinds are " + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(journal.Kinds())), ", "), "[]")}
		}
	}
	return out, nil
}

// eachEvent calls yield with all events, the newest first, until it returns
// false.
func (r *Repo) eachEvent(yield func(journal.Event) bool) error {
	if r.shared != nil {
		return r.shared.eachEvent(yield)
	}
	h, err := r.writtenHistory()
	if err != nil {
		return err
	}
	warned := false
	each := func(path string, h *journal.History, broken []journal.Flaw) (more bool, err error) {
		switch err := r.legible(path, h); {
		case errors.Is(err, errNewer): // a reader gets what can be read
			r.opt.Warn(err.Error() + "; what this version cannot read is left out")
		case err != nil:
			return false, err
		case len(broken) > 0 && !warned:
			warned = true
			r.opt.Warn(fmt.Sprintf("%s: %v; publish recover repairs it", path, broken[0]))
		}
		for _, e := range slices.Backward(h.Events) {
			if !yield(e) {
				return false, nil
			}
		}
		return true, nil
	}
	more, err := each(r.historyPath(), h, flaws(r.store, h, nil))
	if err != nil || !more {
		return err
	}
	r.journal().Closed(h, func(path string, h *journal.History, broken error) bool {
		if more, err = each(path, h, nil); err == nil && broken != nil {
			err = &Error{Path: path, Err: broken,
				Hint: "run publish recover: it rebuilds what the manifests prove; " +
					"--limit N shows only the newest lines"}
		}
		return more && err == nil
	})
	return err
}

// shown returns an event as History returns it: a switch with the result of its health
// check, and without fields that only recovery uses.
func shown(e journal.Event, said string) journal.Event {
	switch b := e.Body.(type) {
	case *journal.Switch:
		told := *b
		if told.Seal = ""; said != "" && b.Health == journal.HealthPending {
			told.Health = said
		}
		e.Body = &told
	case *journal.Other:
		told := *b
		told.Seal = ""
		e.Body = &told
	}
	return e
}

func (f HistoryFilter) passes(e journal.Event, format catalog.Format) bool {
	switch {
	case len(f.Kinds) == 0 && e.Kind == journal.KindHealth,
		len(f.Kinds) > 0 && !slices.Contains(f.Kinds, e.Kind),
		!f.Since.IsZero() && e.Time.Before(f.Since),
		!f.Until.IsZero() && e.Time.After(f.Until):
		return false
	}
	return f.Product == "" || slices.ContainsFunc(e.Names(),
		func(name string) bool { return ofProduct(format, f.Product, name) })
}

// ofProduct reports whether an entry of a history belongs to the products that a
// pattern names. An entry is a version's name or a file's path. The pattern may match
// the whole entry or only its product.
func ofProduct(f catalog.Format, pattern, entry string) bool {
	whole, _ := retention.Matches(pattern, entry)
	group, _ := retention.Matches(pattern, f.ParseRef(entry).Group)
	return whole || group
}
