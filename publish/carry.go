package publish

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// carry works out what generation n, with these own rows, has to serve beside
// them: every path that production serves now, its own or itself carried,
// whatever its role, that the new tree lacks and whose window is open. The ops
// link those files into the new tree; their source is production's tree.
//
// The findings tell which paths could not be kept as clients know them.
func (r *Repo) carry(s *state, own []tree.Row, n int) ([]Carried, []tree.Op, []catalog.Finding) {
	cur := s.current
	have := make(map[string]tree.Row, len(own))
	for _, row := range own {
		have[row.Path] = row
	}
	var dirs map[string]bool // of the new tree; made when first needed
	isDir := func(p string) bool {
		if dirs == nil {
			dirs = map[string]bool{}
			for _, row := range own {
				for d := path.Dir(row.Path); d != "." && !dirs[d]; d = path.Dir(d) {
					dirs[d] = true
				}
			}
		}
		return dirs[p]
	}
	underFile := func(p string) bool {
		for d := path.Dir(p); d != "."; d = path.Dir(d) {
			if _, ok := have[d]; ok {
				return true
			}
		}
		return false
	}
	var carried []Carried
	var findings []catalog.Finding
	one := func(row tree.Row, dropped int, until time.Time) {
		mine, ok := have[row.Path]
		if ok || isDir(row.Path) || underFile(row.Path) {
			if f, bad := r.replaced(row, mine, until, s.now); bad {
				findings = append(findings, f)
			}
			return
		}
		carried = append(carried, Carried{row, dropped})
	}
	for _, row := range cur.Own {
		if mine, ok := have[row.Path]; ok && mine.SHA256 == row.SHA256 {
			continue
		}
		if r.grace() > 0 {
			one(row, n, time.Time{})
		}
	}
	for _, row := range cur.Carried {
		if s.windows.open(row.Dropped, s.now) {
			one(row.Row, row.Dropped, s.windows.dropped[row.Dropped])
		}
	}
	slices.SortFunc(carried, func(a, b Carried) int { return cmp.Compare(a.Path, b.Path) })
	catalog.Sort(findings)
	ops := make([]tree.Op, len(carried))
	for i, c := range carried {
		ops[i] = tree.Op{Path: c.Path, How: tree.Share, SHA256: c.SHA256, Stat: tree.Stat{Size: c.Size}}
		if c.Role == catalog.Link {
			ops[i].How = tree.Relink
		}
	}
	return carried, ops, findings
}

// replaced judges that a path which production serves gets other bytes, or
// becomes a directory. until is when a carried path is free; zero for one of
// production's own.
func (r *Repo) replaced(old, mine tree.Row, until, now time.Time) (catalog.Finding, bool) {
	f := catalog.Finding{Severity: catalog.Error, Code: "content-replaced", Path: old.Path}
	switch {
	case mine.SHA256 == old.SHA256:
		return f, false
	case old.Role == catalog.Content && !until.IsZero():
		f.Message = fmt.Sprintf("clients may still fetch the former content of this path; it is free from %s (%s)",
			until.UTC().Format(time.RFC3339), strings.TrimSpace(humanize.RelTime(now, until, "in the past", "from now")))
	case old.Role == catalog.Content:
		f.Message = fmt.Sprintf("production serves other content under this path; it is free %s after a promote that no longer has it", Duration(r.grace()))
	case r.format.Class(old.Path) == catalog.Whole:
		f.Severity, f.Message = catalog.Warning, "replaces the file that production serves"
	default:
		return f, false
	}
	return f, true
}

// replacedBy returns the findings against production that a tree with these
// own rows would have.
func (r *Repo) replacedBy(s *state, own []tree.Row) []catalog.Finding {
	if s.current == nil {
		return nil
	}
	_, _, findings := r.carry(s, own, 0)
	return findings
}

// units returns what a diff counts of a tree: what its catalog says, and the
// files that stand for themselves.
func (r *Repo) units(of []catalog.Unit, own []tree.Row) []catalog.Unit {
	units := slices.Clip(of)
	for _, row := range own {
		if r.format.Class(row.Path) == catalog.Whole {
			units = append(units, catalog.Unit{Key: row.Path, Digest: row.SHA256})
		}
	}
	return units
}

// diffUnits tells what came, what went and what changed; sorted, never nil.
func diffUnits(from, to []catalog.Unit) (added, removed, changed []string) {
	added, removed, changed = []string{}, []string{}, []string{}
	old := make(map[string]catalog.Unit, len(from))
	for _, u := range from {
		old[u.Key] = u
	}
	for _, u := range to {
		o, ok := old[u.Key]
		delete(old, u.Key)
		switch {
		case !ok && !u.Group:
			added = append(added, u.Key)
		case ok && o.Digest != u.Digest:
			changed = append(changed, u.Key)
		}
	}
	for _, u := range old {
		if !u.Group {
			removed = append(removed, u.Key)
		}
	}
	slices.Sort(added)
	slices.Sort(removed)
	slices.Sort(changed)
	return added, removed, changed
}
