package publish

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/retention"
	"example.com/publish/stage/catalog"
)

// HistoryFilter says which events to return: those that pass every field that
// is set.
type HistoryFilter struct {
	Limit   int         // the newest so many; 0: all
	Kinds   []EventKind // any of these; empty: all but the health checks, which their switches tell
	Product string      // a name or a glob, of what came, went or changed
	Since   time.Time   // not before; zero: from the start
	Until   time.Time   // not after; zero: to the end
}

// Kinds returns every kind that a history can hold.
func Kinds() []EventKind { return journal.Kinds() }

// History returns the events, newest first, each switch with what its health
// check said. It takes no lock. A kind that is neither known nor in the
// history is an error of kind Usage: a filter that is mistyped must not look
// like a history that is empty.
func (r *Repo) History(f HistoryFilter) ([]Event, error) {
	h, err := r.writtenHistory()
	if err != nil {
		return nil, err
	}
	switch err := r.legible(h); {
	case errors.Is(err, errNewer): // who only looks may see what can be read
		r.opt.Warn(err.Error() + "; what this version cannot read is left out")
	case err != nil:
		return nil, err
	default:
		if broken := r.flaws(h, nil); len(broken) > 0 {
			r.opt.Warn(fmt.Sprintf("%s: %v; publish recover mends it", r.historyPath(), broken[0]))
		}
	}
	for _, k := range f.Kinds {
		known := k.Known() || slices.ContainsFunc(h.Events, func(e Event) bool { return e.Kind == k })
		if !known {
			return nil, &Error{Kind: Usage, Path: string(k), Fact: "is not a kind of event", Hint: fmt.Sprintf("the kinds are %s", journal.Kinds())}
		}
	}
	if f.Product != "" {
		if _, err := retention.Matches(f.Product, ""); err != nil {
			return nil, &Error{Kind: Usage, Err: err}
		}
	}
	out := []Event{}
	for _, e := range slices.Backward(h.Events) {
		if !f.passes(e) {
			continue
		}
		if s := e.Switch(); s != nil {
			told := *s
			if said := h.Health(e.Generation); said != "" && s.Health == "pending" {
				told.Health = said
			}
			told.Seal = "" // recovery's business
			e.Body = &told
		} else if o, ok := e.Body.(*journal.Other); ok {
			told := *o
			told.Seal = ""
			e.Body = &told
		}
		if out = append(out, e); f.Limit > 0 && len(out) == f.Limit {
			break
		}
	}
	return out, nil
}

func (f HistoryFilter) passes(e Event) bool {
	switch {
	case len(f.Kinds) == 0 && e.Kind == KindHealth,
		len(f.Kinds) > 0 && !slices.Contains(f.Kinds, e.Kind),
		!f.Since.IsZero() && e.Time.Before(f.Since),
		!f.Until.IsZero() && e.Time.After(f.Until):
		return false
	}
	return f.Product == "" || slices.ContainsFunc(e.Names(), func(name string) bool { return ofProduct(f.Product, name) })
}

// ofProduct reports whether an entry of a history belongs to the products that
// a pattern means. An entry is a name or a file's path; a pattern may be that
// also.
func ofProduct(pattern, entry string) bool {
	whole, _ := retention.Matches(pattern, entry)
	group, _ := retention.Matches(pattern, catalog.ParseName(entry).Group)
	return whole || group
}
