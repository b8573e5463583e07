package serve

import (
	"context"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish/mirror"
)

// Mirror is the queue of publish mirror, as a server sees it: it can only look.
type Mirror interface {
	There() bool // else nobody has used it
	View(ctx context.Context) (*mirror.View, error)
}

const (
	// lookAtQueue is for how long the page of the queue shows what it was.
	lookAtQueue = 2 * time.Second
	// maxSaid is how much of an error a line of the page has, in bytes.
	maxSaid = 300
	// maxBad is how many damaged files the page has.
	maxBad = 20
)

// hasQueue reports whether there is a page of the queue on a listener.
func (s *Server) hasQueue(all bool) bool { return all && s.Mirror != nil && s.Mirror.There() }

// queueView is the page of the queue.
type queueView struct {
	part
	Counts  []stateCount
	Hosts   []hostRow
	Rows    []jobRow
	Bad     []string
	MoreBad int
}

type stateCount struct {
	State mirror.State
	Count int
}

type hostRow struct {
	Name  string
	Until time.Time
}

// jobRow is a job. Its texts come from strangers: templates show them by name.
type jobRow struct {
	mirror.Seen
	Note string
	Who  string // asked for it first
	More int    // others who did
}

func (s *Server) queuePage(a *asked) (*made, error) {
	v, err := s.queue.get(a, 0, s.Mirror.View)
	if err != nil {
		return nil, err
	}
	p := queueView{}
	for _, state := range mirror.States() {
		n := 0
		for i := range v.Jobs {
			if v.Jobs[i].State == state {
				n++
			}
		}
		if n > 0 {
			p.Counts = append(p.Counts, stateCount{state, n})
		}
	}
	for host, hold := range v.Hosts {
		p.Hosts = append(p.Hosts, hostRow{host, hold.Until})
	}
	slices.SortFunc(p.Hosts, func(a, b hostRow) int { return strings.Compare(a.Name, b.Name) })
	p.Hosts = p.Hosts[:min(len(p.Hosts), onePage)]
	for _, bad := range v.Bad[:min(len(v.Bad), maxBad)] {
		p.Bad = append(p.Bad, oneLine(bad))
	}
	p.MoreBad = len(v.Bad) - len(p.Bad)
	list := v.Jobs
	if filter := lower(a.filter()); filter != "" {
		list = slices.DeleteFunc(slices.Clone(list), func(j mirror.Seen) bool { return !jobMatches(filter, j) })
	}
	from, to, part := a.cut(len(list))
	p.part = part
	for _, j := range list[from:to] {
		p.Rows = append(p.Rows, jobRowOf(j))
	}
	return &made{"Queue of the mirror", p, func() (body, error) { return listBody(v.Jobs) }}, nil
}

// jobMatches reports whether a filter, in lower case, finds a job.
func jobMatches(filter string, j mirror.Seen) bool {
	if matching(filter, j.ID, string(j.State), string(j.Class), string(j.Reason), j.Reference, j.Canonical, j.Digest,
		j.Error) {
		return true
	}
	for _, r := range j.Requesters {
		if matching(filter, r.Who) {
			return true
		}
	}
	return false
}

func jobRowOf(j mirror.Seen) jobRow {
	row := jobRow{Seen: j}
	if n := len(j.Requesters); n > 0 {
		row.Who, row.More = j.Requesters[0].Who, n-1
	}
	switch {
	case j.Orphaned:
		row.Note = "its runner is gone; publish mirror run goes on with it"
	case j.Gone:
		row.Note = "is not in staging any more"
	case j.State == mirror.Running:
		row.Note = string(j.Phase)
	case j.State == mirror.Waiting:
		row.Note = string(j.Reason)
	case j.State == mirror.Failed:
		row.Note = string(j.Class)
	}
	if j.State != mirror.Staged && j.State != mirror.Published && j.Error != "" {
		said := j.Error
		if len(said) > maxSaid {
			said = strings.ToValidUTF8(said[:maxSaid], "") + "..."
		}
		row.Note = strings.TrimPrefix(row.Note+": "+said, ": ")
	}
	return row
}
