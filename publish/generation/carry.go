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

// Carrier works out what has to stay reachable over a switch. It opens no file
// but through the views.
type Carrier struct {
	Live    *View // what production serves; nil before the first promote
	Windows Windows
	Now     time.Time
	Grace   time.Duration // configured; 0: what production itself has is not carried
	Spelled string        // Grace, as people write it
	Format  catalog.Format
}

// Carry returns what generation n, with these own rows, has to serve beside
// them: every path that production serves now, its own or itself carried,
// whatever its role, that the new tree lacks and whose window is open. Both are
// sorted by path. The findings say which paths could not be kept as clients know
// them. next are the files of the new tree, which links may lead to.
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
		if c.Grace > 0 {
			t.add(row, n, time.Time{})
		}
	}
	for _, row := range c.Live.Carried {
		if c.Windows.WasOver(row.Dropped, c.Now) && t.lost(row.Path) {
			continue // by gc, when the window was shorter or the clock was ahead
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

// carrying is one Carry under way.
type carrying struct {
	*Carrier
	own  []tree.Row // of the new tree
	next Files

	carried  []Carried
	findings []catalog.Finding
}

// add carries a row of production that the new tree does not have, or reports
// why it cannot. until is when a carried path is free; zero for one of
// production's own.
func (t *carrying) add(row tree.Row, dropped int, until time.Time) {
	mine, ok := find(t.own, row.Path)
	at := t.above(row.Path)
	// Through links a path may read in the new tree although no row has it.
	linked := row.Role == catalog.Link || mine.Role == catalog.Link || at.Role == catalog.Link
	f, bad := catalog.Finding{}, true
	switch {
	case !ok && at.Path == "" && !t.isFolder(row.Path):
		t.carried = append(t.carried, Carried{Row: row, Dropped: dropped})
		return
	case linked && !sameKind(t.Live, t.next, row.Path):
		f = t.conflict(row, "leads elsewhere than to a file or folder as production serves it", until)
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

// above returns the file, or link, of the new tree on the way to p; the zero row
// without one.
func (t *carrying) above(p string) tree.Row {
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		if row, ok := find(t.own, d); ok {
			return row
		}
	}
	return tree.Row{}
}

// isFolder reports whether the new tree has files below p.
func (t *carrying) isFolder(p string) bool {
	i, _ := slices.BinarySearchFunc(t.own, p+"/", byPath)
	return i < len(t.own) && strings.HasPrefix(t.own[i].Path, p+"/")
}

// lost reports whether production does not have a file any more.
func (t *carrying) lost(p string) bool {
	_, err := t.Live.Lstat(p)
	return isGone(err)
}

// conflict is the finding that a path which production serves cannot be read in
// the new tree; what says why. It is an error whatever the path's role: unlike
// a page that gets other bytes, it would be gone inside its window.
func (t *carrying) conflict(old tree.Row, what string, until time.Time) catalog.Finding {
	when := fmt.Sprintf("the name is free %s after a promote that has neither", t.Spelled)
	if !until.IsZero() {
		when = "the name is free " + freeFrom(until, t.Now)
	}
	return catalog.Finding{Severity: catalog.Error, Code: "path-conflict", Path: old.Path,
		Message: what + ": clients may still ask for it; " + when}
}

// replaced judges that a path which production serves gets other bytes.
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

// sameKind reports whether a path, through links that stay inside, is a file in
// both trees, or a folder in both, or nothing in the first.
func sameKind(was, is Files, p string) bool {
	old := kindAt(was, p)
	return old == 0 || old == kindAt(is, p)
}

// kindAt is 0 where there is neither a file nor a folder.
func kindAt(in Files, p string) int {
	switch fi, err := in.Stat(p); {
	case err == nil && fi.Mode().IsRegular():
		return 1
	case err == nil && fi.IsDir():
		return 2
	}
	return 0
}

// Aged warns of companions of documents that are carried beside a document with
// other bytes: a web server that hands out a compressed copy in its document's
// place serves the old document until the window ends.
func (c *Carrier) Aged(carried []Carried, own []tree.Row) (findings []catalog.Finding, err error) {
	var of func(p string) string
	for _, row := range carried {
		if row.Role == catalog.Content {
			continue
		}
		if of == nil { // seldom: most often only content is carried
			if of, err = c.Live.Companions(c.Format); err != nil {
				return nil, err
			}
		}
		doc := of(row.Path)
		if doc == "" {
			continue
		}
		before, _ := c.Live.promises(doc, c.Windows, c.Now)
		if mine, ok := find(own, doc); ok && before.SHA256 != mine.SHA256 {
			findings = append(findings, catalog.Finding{Severity: catalog.Warning, Code: "stale-companion",
				Path: row.Path,
				Message: fmt.Sprintf("is not in the new tree, and belongs to the %s before: "+
					"it is carried for a grace window, and clients that read it meet the old one", doc)})
		}
	}
	return findings, nil
}

// NewBytes is the size of the own rows that production does not serve.
func (c *Carrier) NewBytes(own []tree.Row) int64 {
	var bytes int64
	var served []tree.Row
	if c.Live != nil {
		served = c.Live.Rows()
	}
	for _, row := range own {
		for len(served) > 0 && served[0].Path < row.Path {
			served = served[1:]
		}
		old := len(served) > 0 && served[0].Path == row.Path && served[0].SHA256 == row.SHA256
		if old {
			_, old = c.Live.promises(row.Path, c.Windows, c.Now) // unless it is carried and its window has ended
		}
		if !old {
			bytes += row.Size
		}
	}
	return bytes
}
