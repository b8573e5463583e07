package stage

import (
	"context"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// SymbolicLinks returns the links of the tree at dir, for Reset.
func SymbolicLinks(ctx context.Context, dir string) ([]tree.Entry, error) {
	entries, err := tree.Walk(ctx, dir)
	return slices.DeleteFunc(entries, func(e tree.Entry) bool { return e.Kind != tree.Symlink }), err
}

// relink replaces rows by links that lead to the same content, and returns the new
// rows and the texts of the links by path. A generation has files where staging
// had a link. As files in staging, most of them would be left out of the next
// promote, because the index names only the other path. links are the links that
// the tree had or has. If a link leads to other content now, it is changed to lead
// to equal rows, if there are any.
func (s *Stage) relink(rows []tree.Row, links []tree.Entry, f catalog.Format) ([]tree.Row, map[string]string) {
	if s.Links != FollowLinks {
		return rows, nil
	}
	index := newRowIndex(rows)
	wanted := map[string]string{}
	for _, l := range links {
		class := f.Class(l.Path)
		if l.Kind == tree.Symlink && class != catalog.Whole && class != catalog.Index && class != catalog.InProgress &&
			len(index.below(l.Path)) > 0 {
			wanted[l.Path] = l.Target()
		}
	}
	moved := map[string]bool{}
	// Each round changes or removes links that do not fit. That can affect links
	// that lead through them, so several rounds may be needed. No real tree needs
	// more than these.
	for range 16 {
		if len(wanted) == 0 {
			break
		}
		bad := index.misfits(wanted, f)
		if len(bad) == 0 {
			return index.with(wanted), wanted
		}
		for _, p := range bad {
			to, ok := "", false
			if !moved[p] {
				to, ok = index.twin(p, wanted)
			}
			if moved[p] = true; ok {
				wanted[p] = to
			} else {
				delete(wanted, p)
			}
		}
	}
	return rows, nil
}

// rowIndex finds rows by path and by hash.
type rowIndex struct {
	rows   []tree.Row
	byHash map[string][]string // paths
}

func newRowIndex(rows []tree.Row) *rowIndex {
	x := &rowIndex{rows: slices.Clone(rows), byHash: map[string][]string{}}
	tree.SortRows(x.rows)
	for _, r := range x.rows {
		x.byHash[r.SHA256] = append(x.byHash[r.SHA256], r.Path)
	}
	return x
}

func (x *rowIndex) at(p string) (int, bool) { return tree.Search(x.rows, p) }

// below returns the row of p, or those below it.
func (x *rowIndex) below(p string) []tree.Row {
	if i, ok := x.at(p); ok {
		return x.rows[i : i+1]
	}
	first, _ := x.at(p + "/")
	last, _ := x.at(p + "0") // in ASCII, 0 follows the slash
	return x.rows[first:last]
}

// replaced reports whether there is a link at a path, or at a parent of it.
func replaced(p string, links map[string]string) bool {
	for ; p != ""; p = parent(p) {
		if _, ok := links[p]; ok {
			return true
		}
	}
	return false
}

// misfits returns the paths of links that do not lead to the same content as the
// rows that they replace, sorted.
func (x *rowIndex) misfits(wanted map[string]string, f catalog.Format) (bad []string) {
	var entries []tree.Entry
	for _, r := range x.rows {
		if !replaced(r.Path, wanted) {
			entries = append(entries, tree.Entry{Path: r.Path, Kind: tree.File})
		}
	}
	for p, text := range wanted {
		entries = append(entries, tree.LinkTo(p, text))
	}
	slices.SortFunc(entries, func(a, b tree.Entry) int { return strings.Compare(a.Path, b.Path) })
	led := links(entries, f)
	for _, p := range slices.Sorted(maps.Keys(wanted)) {
		first, _ := tree.SearchEntries(led.aliases, p)
		aliases := led.aliases[first:]
		fits := led.followed[p]
		for _, r := range x.below(p) {
			for len(aliases) > 0 && aliases[0].Path != r.Path && !inside(aliases[0].Path, p) {
				aliases = aliases[1:] // "p.x" comes before "p/x"
			}
			if !fits || len(aliases) == 0 || aliases[0].Path != r.Path {
				fits = false
				break
			}
			i, ok := x.at(aliases[0].Name)
			fits, aliases = ok && x.rows[i].SHA256 == r.SHA256 && r.Role != catalog.Link, aliases[1:]
		}
		if !fits || len(aliases) > 0 && inside(aliases[0].Path, p) {
			bad = append(bad, p)
		}
	}
	return bad
}

// twin returns the text for a link at p that leads to other rows with the same
// content as those at p.
func (x *rowIndex) twin(p string, wanted map[string]string) (string, bool) {
	own := x.below(p)
	if len(own) == 0 {
		return "", false
	}
	rest := own[0].Path[len(p):]
	for _, other := range x.byHash[own[0].SHA256] {
		to, ok := strings.CutSuffix(other, rest)
		if !ok || to == "" || replaced(other, wanted) {
			continue
		}
		same := slices.EqualFunc(own, x.below(to), func(a, b tree.Row) bool {
			return a.Path[len(p):] == b.Path[len(to):] && a.SHA256 == b.SHA256
		})
		if !same {
			continue
		}
		text, err := filepath.Rel(path.Join("/", parent(p)), path.Join("/", to))
		return filepath.ToSlash(text), err == nil
	}
	return "", false
}

// with returns the rows, with links in place of the rows that they replace.
func (x *rowIndex) with(links map[string]string) []tree.Row {
	rows := slices.DeleteFunc(slices.Clone(x.rows), func(r tree.Row) bool { return replaced(r.Path, links) })
	for p, text := range links {
		rows = append(rows, linkRow(tree.LinkTo(p, text)))
	}
	tree.SortRows(rows)
	return rows
}
