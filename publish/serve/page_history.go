package serve

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"example.com/publish/publish"
)

const (
	// maxEvents is how many events the page of the history has, the newest. The command
	// has all.
	maxEvents = 500
	// maxNames is how many names of what changed stand below an event.
	maxNames = 50
	// maxDiffNames and maxDiffFiles are how many names and files the page of changes has.
	// The twin has all.
	maxDiffNames = 500
	maxDiffFiles = 500
)

// historyView is the page of the history.
type historyView struct {
	part
	Rows []eventRow
	Full bool // there may be older events
}

// eventRow is an event.
type eventRow struct {
	publish.Told
	Switch bool
	Live   bool // production is what this made
	Kept   *keptRow
	Diff   string // a link; "" if the trees are gone
}

// Names are what it changed.
func (e eventRow) Names() []namesOf { return listNames(maxNames, e.Added, e.Removed, e.Changed) }

// namesOf are names that were added, removed or changed.
type namesOf struct {
	Change string // added, removed or changed
	List   []string
	More   int // than are in the list
}

func listNames(limit int, added, removed, changed []string) []namesOf {
	var out []namesOf
	for _, s := range []namesOf{{"added", added, 0}, {"removed", removed, 0}, {"changed", changed, 0}} {
		if len(s.List) == 0 {
			continue
		}
		if s.More = len(s.List) - limit; s.More > 0 {
			s.List = s.List[:limit]
		}
		out = append(out, s)
	}
	return out
}

// events returns the newest events that a page may show, the newest first.
func (s *Server) events(a *asked) (list []publish.Told, full bool, err error) {
	list, err = s.told.get(a, a.view.Generation, func(context.Context) ([]publish.Told, error) {
		events, err := s.repo.History(publish.HistoryFilter{Limit: maxEvents})
		out := make([]publish.Told, len(events))
		for i, e := range events {
			out[i] = publish.Tell(e)
		}
		return out, err
	})
	full = len(list) == maxEvents
	if a.all || err != nil {
		return list, full, err
	}
	out := []publish.Told{}
	for _, e := range list {
		if e.Kind.Switch() { // the others are about staging, and about what people decided
			e.Who, e.Message, e.Revoked, e.Unnamed = "", "", nil, nil
			out = append(out, e)
		}
	}
	return out, full, nil
}

func (s *Server) historyPage(a *asked) (*made, error) {
	o, err := s.overview(a)
	if err != nil {
		return nil, err
	}
	events, full, err := s.events(a)
	if err != nil {
		return nil, err
	}
	list, filter := events, lower(a.filter())
	if filter != "" {
		list = slices.DeleteFunc(slices.Clone(events), func(e publish.Told) bool {
			return !matching(filter, string(e.Kind), strconv.Itoa(e.Generation), e.Who, e.Message) &&
				!matching(filter, e.Added...) && !matching(filter, e.Removed...) && !matching(filter, e.Changed...)
		})
	}
	from, to, part := a.cut(len(list))
	p := historyView{part: part, Full: full}
	st := a.status(o)
	for _, e := range list[from:to] {
		row := eventRow{Told: e, Switch: e.Kind.Switch()}
		if row.Switch {
			row.Live = e.Generation == st.Production.Generation
			row.Kept = s.keptRow(a, st, e.Generation)
			if e.From != 0 && has(st, e.From) && has(st, e.Generation) {
				row.Diff = fmt.Sprintf("%s?from=%d&to=%d", href(a.root, "-/diff"), e.From, e.Generation)
			}
		}
		p.Rows = append(p.Rows, row)
	}
	return &made{"History", p, func() (body, error) { return listBody(events) }}, nil
}

// keptRow returns the row of a kept generation; nil if it is not kept.
func (s *Server) keptRow(a *asked, st *publish.Status, n int) *keptRow {
	for _, k := range st.Generations {
		if k.Generation == n {
			return &keptRow{k, s.keptLink(a, n)}
		}
	}
	return nil
}

// has reports whether the tree of a generation is there.
func has(st *publish.Status, n int) bool {
	return n == st.Production.Generation ||
		slices.ContainsFunc(st.Generations, func(k publish.Kept) bool { return k.Generation == n })
}

// diffView is the page of changes.
type diffView struct {
	part
	Trees      []string // to choose from
	From, To   string   // "" if there is nothing to compare with
	Names      []namesOf
	Files      []publish.FileDiff
	MoreFiles  int
	Come, Goes int64 // bytes
	Equal      bool
}

// comparison is what a diff is about. The generation is that of production: nobody keeps
// what a revoke took away.
type comparison struct {
	from, to   string
	generation int
}

func (s *Server) diffPage(a *asked) (*made, error) {
	o, err := s.overview(a)
	if err != nil {
		return nil, err
	}
	st := o.Status
	p := diffView{Trees: []string{"production"}}
	if a.all {
		p.Trees = append(p.Trees, "staging")
	}
	for _, k := range slices.Backward(st.Generations) {
		p.Trees = append(p.Trees, strconv.Itoa(k.Generation))
	}
	if p.From, p.To, err = a.sides(st); err != nil {
		return nil, err
	}
	d := &publish.Diff{To: p.To, Added: []string{}, Removed: []string{}, Changed: []string{}, Files: []publish.FileDiff{}}
	if p.From != "" {
		cache := s.diffs
		if p.From == "staging" || p.To == "staging" {
			cache = s.stagedDiffs
		}
		d, err = cache.get(a, comparison{p.From, p.To, a.view.Generation},
			func(ctx context.Context) (*publish.Diff, error) { return o.repo.Diff(ctx, p.From, p.To) })
		if err != nil {
			return nil, err
		}
	}
	p.Equal = d.Equal()
	for _, f := range d.Files {
		if f.Change == "removed" {
			p.Goes += f.Bytes
		} else {
			p.Come += f.Bytes
		}
	}
	p.Filter, p.Beside = a.filter(), []field{{"from", p.From}, {"to", p.To}}
	d = filtered(d, lower(p.Filter))
	p.Names = listNames(maxDiffNames, d.Added, d.Removed, d.Changed)
	p.Files = d.Files[:min(maxDiffFiles, len(d.Files))]
	p.MoreFiles = len(d.Files) - len(p.Files)
	return &made{"Changes", p, func() (body, error) { return objectBody(d) }}, nil
}

// filtered is the part of a diff that a filter, in lower case, finds: by the names of images
// and by paths.
func filtered(d *publish.Diff, filter string) *publish.Diff {
	if filter == "" {
		return d
	}
	out := *d // others have it too
	for _, list := range []*[]string{&out.Added, &out.Removed, &out.Changed} {
		*list = slices.DeleteFunc(slices.Clone(*list), func(name string) bool { return !matching(filter, name) })
	}
	out.Files = slices.DeleteFunc(slices.Clone(out.Files),
		func(f publish.FileDiff) bool { return !matching(filter, f.Path) })
	return &out
}

// sides are the trees to compare: by default what the last switch changed. from is "" if
// there is nothing that production can be compared with.
func (a *asked) sides(st *publish.Status) (from, to string, err error) {
	from, to = a.query.Get("from"), a.query.Get("to")
	if to == "" {
		to = "production"
	}
	if from == "" {
		if a.view.From == 0 || !has(st, a.view.From) {
			return "", to, nil
		}
		from = strconv.Itoa(a.view.From)
	}
	for _, name := range []string{from, to} {
		n, ok := canonical(name)
		switch {
		case name == "production", name == "staging" && a.all:
		case !ok:
			return "", "", &publish.Error{Kind: publish.Usage, Fact: "from and to are production or a generation's number"}
		case !has(st, n):
			return "", "", &publish.Error{Kind: publish.NotFound, Fact: fmt.Sprintf("generation %d is not kept", n)}
		}
	}
	return from, to, nil
}

func lower(s string) string { return strings.ToLower(s) }

func encodeProduct(name string) string { return url.Values{"product": {name}}.Encode() }
