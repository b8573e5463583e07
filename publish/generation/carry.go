package generation

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

// Carrier computes which paths must stay reachable after a switch. It opens
// files only through the views.
type Carrier struct {
	Live    *View // what production serves; nil before the first promote
	Windows Windows
	Now     time.Time
	Grace   time.Duration // configured; 0: own rows of production are not carried
	Spelled string        // Grace, as people write it
	Format  catalog.Format
}

// Carry returns the rows that generation n must carry beside its own rows: every
// path, own or carried, that production serves now, that the new tree lacks, and
// whose window is open. Its role does not matter, unless it is a signature. own and the result
// are sorted by path. The findings report paths that cannot be served as before.
// next has the files of the new tree, for following its links.
func (c *Carrier) Carry(n int, own []tree.Row, next Files) ([]Carried, []catalog.Finding) {
	if c.Live == nil {
		return nil, nil
	}
	t := &carrying{Carrier: c, own: own, next: next}
	rest := own
	for _, row := range c.Live.Own {
		for len(rest) > 0 && rest[0].Path < row.Path {
			rest = rest[1:]
		}
		if len(rest) > 0 && rest[0].Path == row.Path && rest[0].SHA256 == row.SHA256 {
			continue
		}
		// A signature of a former tree would say that this one is not what it should be.
		if c.Grace > 0 && row.Role != catalog.Signature {
			t.add(row, n, time.Time{})
		}
	}
	for _, row := range c.Live.Carried {
		if c.Windows.WasOver(row.Dropped, c.Now) && t.lost(row.Path) {
			continue // a gc deleted it, when the grace was shorter or the clock was ahead
		}
		if c.Windows.Open(row.Dropped, c.Now) {
			until, _ := c.Windows.End(row.Dropped)
			t.add(row.Row, row.Dropped, until)
		}
	}
	slices.SortFunc(t.carried, func(a, b Carried) int { return cmp.Compare(a.Path, b.Path) })
	catalog.Sort(t.findings)
	return t.carried, t.findings
}

// carrying is the state of one call of Carry.
type carrying struct {
	*Carrier
	own  []tree.Row // of the new tree
	next Files

	carried  []Carried
	findings []catalog.Finding
}

// add carries a row of production, or reports why it cannot. until is the end of
// the window of a carried row; zero for an own row of production.
func (t *carrying) add(row tree.Row, dropped int, until time.Time) {
	mine, ok := tree.Find(t.own, row.Path)
	at := t.above(row.Path)
	// With links, a path may be readable in the new tree although no row has it.
	linked := row.Role == catalog.Link || mine.Role == catalog.Link || at.Role == catalog.Link
	f, bad := catalog.Finding{}, true
	switch {
	case !ok && at.Path == "" && !t.isFolder(row.Path):
		t.carried = append(t.carried, Carried{Row: row, Dropped: dropped})
		return
	case linked && !sameKind(t.Live, t.next, row.Path):
		f = t.conflict(row, "does not lead to a file, or a folder, as it does in production", until)
	case linked && at.Path != "":
		return
	case linked || ok:
		f, bad = t.replaced(row, mine, until)
	case at.Path != "":
		f = t.conflict(row, fmt.Sprintf("lies below %s, which is a file, and production serves it", at.Path), until)
	default:
		f = t.conflict(row, "is a folder, and production serves a file", until)
	}
	if bad {
		t.findings = append(t.findings, f)
	}
}

// above returns the row of the new tree that has the path of a parent folder of
// p; the zero row if there is none.
func (t *carrying) above(p string) tree.Row {
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		if row, ok := tree.Find(t.own, d); ok {
			return row
		}
	}
	return tree.Row{}
}

// isFolder reports whether the new tree has files below p.
func (t *carrying) isFolder(p string) bool {
	i, _ := tree.Search(t.own, p+"/")
	return i < len(t.own) && strings.HasPrefix(t.own[i].Path, p+"/")
}

// lost reports whether a file is missing from production's tree. Of a sparse tree that
// cannot be told, so what a gc may have deleted counts as lost.
func (t *carrying) lost(p string) bool {
	if t.Live.Sparse {
		return true
	}
	_, err := t.Live.Lstat(p)
	return isGone(err)
}

// conflict returns the finding for a path that production serves and that would
// not be readable in the new tree; what says why. It is an error for every role,
// because the path would be missing before its window ends.
func (t *carrying) conflict(old tree.Row, what string, until time.Time) catalog.Finding {
	when := fmt.Sprintf("the name is free %s after a promote that has neither", t.Spelled)
	if !until.IsZero() {
		when = "the name is free " + freeFrom(until, t.Now)
	}
	return catalog.Finding{Severity: catalog.Error, Code: "path-conflict", Path: old.Path,
		Message: what + ": clients may still ask for it; " + when}
}

// replaced returns the finding for a path that both trees have, and whether it is
// one.
func (t *carrying) replaced(old, mine tree.Row, until time.Time) (catalog.Finding, bool) {
	f := catalog.Finding{Severity: catalog.Error, Code: "content-replaced", Path: old.Path}
	switch {
	case mine.SHA256 == old.SHA256:
		return f, false
	case old.Role == catalog.Content && !until.IsZero():
		f.Message = "clients may still fetch the former content of this path; it is free " + freeFrom(until, t.Now)
	case old.Role == catalog.Content:
		f.Message = fmt.Sprintf("production serves other content under this path; "+
			"it is free %s after a promote that no longer has it", t.Spelled)
	case t.Format.Class(old.Path) == catalog.Whole:
		f.Severity, f.Message = catalog.Warning, "replaces the file that production serves"
	default:
		return f, false
	}
	return f, true
}

func freeFrom(until, now time.Time) string {
	return fmt.Sprintf("from %s (%s)", until.UTC().Format(time.RFC3339),
		strings.TrimSpace(humanize.RelTime(until, now, "ago", "from now")))
}

// sameKind reports whether a path leads to a file in both trees, or to a folder
// in both, or to nothing in the first. Links are followed inside the tree.
func sameKind(was, is Files, p string) bool {
	old := kindAt(was, p)
	return old == 0 || old == kindAt(is, p)
}

// kindAt returns 1 for a file, 2 for a folder, and 0 for anything else.
func kindAt(in Files, p string) int {
	switch fi, err := in.Stat(p); {
	case err == nil && fi.Mode().IsRegular():
		return 1
	case err == nil && fi.IsDir():
		return 2
	}
	return 0
}

// Aged returns warnings for carried companions, such as compressed copies, whose
// document has other bytes in the new tree. A web server that sends the
// compressed copy instead of the document would serve the old document until the
// window ends.
func (c *Carrier) Aged(carried []Carried, own []tree.Row) (findings []catalog.Finding, err error) {
	var of func(p string) string
	for _, row := range carried {
		if row.Role == catalog.Content {
			continue
		}
		if of == nil { // only now, because reading the documents is slow and rarely needed
			if of, err = c.Live.Companions(c.Format); err != nil {
				return nil, err
			}
		}
		doc := of(row.Path)
		if doc == "" {
			continue
		}
		before, _ := c.Live.promises(doc, c.Windows, c.Now)
		if mine, ok := tree.Find(own, doc); ok && before.SHA256 != mine.SHA256 {
			findings = append(findings, catalog.Finding{Severity: catalog.Warning, Code: "stale-companion",
				Path: row.Path,
				Message: fmt.Sprintf("belongs to the previous %s, and is not in the new tree: "+
					"it is carried until its window ends, and clients that read it get the old version", doc)})
		}
	}
	return findings, nil
}

// NewBytes returns the total size of the own rows that production does not serve. A
// tree stores a content once: it counts once, and not if production has it under
// another path.
func (c *Carrier) NewBytes(own []tree.Row) int64 {
	var bytes int64
	anew := map[string]int64{} // sizes of content
	var served []tree.Row
	if c.Live != nil {
		served = c.Live.Rows()
	}
	for _, row := range own {
		for len(served) > 0 && served[0].Path < row.Path {
			served = served[1:]
		}
		old := len(served) > 0 && served[0].Path == row.Path && served[0].SHA256 == row.SHA256
		if old && len(c.Live.Carried) > 0 {
			_, old = c.Live.promises(row.Path, c.Windows, c.Now) // unless it is carried and its window has ended
		}
		switch {
		case old:
		case row.Role == catalog.Content:
			anew[row.SHA256] = row.Size
		default:
			bytes += row.Size
		}
	}
	if c.Live != nil && len(anew) > 0 {
		for row := range c.Live.All() {
			if _, same := anew[row.SHA256]; !same || row.Role != catalog.Content {
				continue
			}
			if _, stays := c.Live.promises(row.Path, c.Windows, c.Now); stays {
				delete(anew, row.SHA256)
			}
		}
	}
	for _, size := range anew {
		bytes += size
	}
	return bytes
}
