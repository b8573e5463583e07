package publish

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"example.com/publish/publish/generation"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// carry works out what generation n, with these own rows, has to serve beside
// them: every path that production serves now, its own or itself carried,
// whatever its role, that the new tree lacks and whose window is open. The ops
// link those files into the new tree; their source is production's tree.
//
// The findings tell which paths could not be kept as clients know them. dir is
// where the new tree lies.
func (r *Repo) carry(s *state, own []tree.Row, dir string, n int) ([]Carried, []tree.Op, []catalog.Finding) {
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
	// above is the file, or link, of the new tree on the way to p; "" without one.
	above := func(p string) string {
		for d := path.Dir(p); d != "."; d = path.Dir(d) {
			if _, ok := have[d]; ok {
				return d
			}
		}
		return ""
	}
	var carried []Carried
	var findings []catalog.Finding
	one := func(row tree.Row, dropped int, until time.Time) {
		mine, ok := have[row.Path]
		at := above(row.Path)
		// Through links a path may read in the new tree although no row has it.
		linked := row.Role == catalog.Link || mine.Role == catalog.Link || have[at].Role == catalog.Link
		f, bad := catalog.Finding{}, true
		switch {
		case !ok && at == "" && !isDir(row.Path):
			carried = append(carried, Carried{Row: row, Dropped: dropped})
			return
		case linked && !sameKind(cur.Dir, dir, row.Path):
			f = r.conflict(row, "leads elsewhere than to a file or folder as production serves it", until, s.now)
		case linked && at != "":
			return
		case linked || ok:
			f, bad = r.replaced(row, mine, until, s.now)
		case at != "":
			f = r.conflict(row, fmt.Sprintf("lies below %s, which is a file, and production serves it", at), until, s.now)
		default:
			f = r.conflict(row, "is a folder, and production serves a file", until, s.now)
		}
		if bad {
			findings = append(findings, f)
		}
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
		if s.windows.WasOver(row.Dropped, s.now) && gone(filepath.Join(cur.Dir, filepath.FromSlash(row.Path))) {
			continue // by gc, when the window was shorter or the clock was ahead
		}
		if s.windows.Open(row.Dropped, s.now) {
			until, _ := s.windows.End(row.Dropped)
			one(row.Row, row.Dropped, until)
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

// aged warns of companions of documents that are carried beside a document with
// other bytes: a web server that hands out a compressed copy in its document's
// place serves the old document until the window ends.
func (r *Repo) aged(cur *generation.View, carried []Carried, before map[string]tree.Row, own []tree.Row) (findings []catalog.Finding, err error) {
	var of func(p string) string
	for _, c := range carried {
		if c.Role == catalog.Content {
			continue
		}
		if of == nil { // seldom: most often only content is carried
			if of, err = stage.Companions(cur.Dir, r.format); err != nil {
				return nil, err
			}
		}
		doc := of(c.Path)
		i, ok := slices.BinarySearchFunc(own, doc, func(r tree.Row, p string) int { return strings.Compare(r.Path, p) })
		if doc != "" && ok && before[doc].SHA256 != own[i].SHA256 {
			findings = append(findings, catalog.Finding{Severity: catalog.Warning, Code: "stale-companion", Path: c.Path,
				Message: fmt.Sprintf("is not in the new tree, and belongs to the %s before: it is carried for a grace window, and clients that read it meet the old one", doc)})
		}
	}
	return findings, nil
}

// conflict is the finding that a path which production serves cannot be read in
// the new tree; what tells why. It is an error whatever the path's role: unlike
// a page that gets other bytes, it would be gone inside its window.
func (r *Repo) conflict(old tree.Row, what string, until, now time.Time) catalog.Finding {
	when := fmt.Sprintf("the name is free %s after a promote that has neither", Duration(r.grace()))
	if !until.IsZero() {
		when = "the name is free " + freeFrom(until, now)
	}
	return catalog.Finding{Severity: catalog.Error, Code: "path-conflict", Path: old.Path, Message: what + ": clients may still ask for it; " + when}
}

// sameKind reports whether a path, through links that stay inside, is a file in
// both trees, or a folder in both, or nothing in the first.
func sameKind(was, is, p string) bool {
	old := kindAt(was, p)
	return old == 0 || old == kindAt(is, p)
}

// kindAt is 0 where there is neither a file nor a folder.
func kindAt(dir, p string) int {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0
	}
	defer root.Close()
	switch fi, err := root.Stat(p); {
	case err == nil && fi.Mode().IsRegular():
		return 1
	case err == nil && fi.IsDir():
		return 2
	}
	return 0
}

func freeFrom(until, now time.Time) string {
	return fmt.Sprintf("from %s (%s)", until.UTC().Format(time.RFC3339), strings.TrimSpace(humanize.RelTime(until, now, "ago", "from now")))
}

// replaced judges that a path which production serves gets other bytes. until
// is when a carried path is free; zero for one of production's own.
func (r *Repo) replaced(old, mine tree.Row, until, now time.Time) (catalog.Finding, bool) {
	f := catalog.Finding{Severity: catalog.Error, Code: "content-replaced", Path: old.Path}
	switch {
	case mine.SHA256 == old.SHA256:
		return f, false
	case old.Role == catalog.Content && !until.IsZero():
		f.Message = "clients may still fetch the former content of this path; it is free " + freeFrom(until, now)
	case old.Role == catalog.Content:
		f.Message = fmt.Sprintf("production serves other content under this path; it is free %s after a promote that no longer has it", Duration(r.grace()))
	case r.format.Class(old.Path) == catalog.Whole:
		f.Severity, f.Message = catalog.Warning, "replaces the file that production serves"
	default:
		return f, false
	}
	return f, true
}

// replacedBy returns the findings against production that a tree at dir with
// these own rows would have.
func (r *Repo) replacedBy(s *state, own []tree.Row, dir string) []catalog.Finding {
	if s.current == nil {
		return nil
	}
	_, _, findings := r.carry(s, own, dir, 0)
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
