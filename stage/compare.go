package stage

import (
	"context"
	"os"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// This file compares indexes with the files of a tree. Items and rows are both
// sorted by path, so one pass over both is enough, without a map.

// names reports whether an index names a path; nil for no index. It is fast if
// paths are asked in ascending order. It is not safe for concurrent use.
type names func(path string) bool

func named(cat *catalog.Catalog) names {
	items := tree.NewFinger(cat.Items, func(i *catalog.Item) string { return i.Path })
	return func(path string) bool { return items.Find(path) >= 0 }
}

// apart reports which paths are those of items that staging and a tree never share.
func apart(cat *catalog.Catalog) names {
	if !slices.ContainsFunc(cat.Items, func(i catalog.Item) bool { return i.Apart }) {
		return nil
	}
	items := tree.NewFinger(cat.Items, func(i *catalog.Item) string { return i.Path })
	return func(path string) bool {
		for i := items.Find(path); i >= 0 && i < len(cat.Items) && cat.Items[i].Path == path; i++ {
			if cat.Items[i].Apart {
				return true
			}
		}
		return false
	}
}

func (n names) has(path string) bool { return n != nil && n(path) }

func (n names) role(path string) catalog.Role {
	if n.has(path) {
		return catalog.Content
	}
	return catalog.Mutable
}

// places returns, for each item of a catalog, the index of its row; -1 for none.
func places(cat *catalog.Catalog, rows []tree.Row) []int32 {
	out := make([]int32, len(cat.Items))
	at := 0
	for i := range cat.Items {
		for at < len(rows) && rows[at].Path < cat.Items[i].Path {
			at++
		}
		out[i] = -1
		if at < len(rows) && rows[at].Path == cat.Items[i].Path {
			out[i] = int32(at)
		}
	}
	return out
}

// share makes rows use the catalog's strings for their hashes, which saves memory
// for large trees.
func share(rows []tree.Row, cat *catalog.Catalog) {
	for i, at := range places(cat, rows) {
		if at >= 0 && rows[at].SHA256 == cat.Items[i].SHA256 {
			rows[at].SHA256 = cat.Items[i].SHA256
		}
	}
}

// needs are the files that have to be read, each for a row of a list.
type needs struct {
	list []*need
	of   map[int32]*need // by the place of its row; nil until somebody asks
	at   []int32         // those places, for the list
}

// add adds the need for a row.
func (n *needs) add(row int, is *need) *need {
	n.list, n.at = append(n.list, is), append(n.at, int32(row))
	if n.of != nil {
		n.of[int32(row)] = is
	}
	return is
}

// get returns the need for a row; nil for none.
func (n *needs) get(row int) *need {
	if n.of == nil {
		n.of = make(map[int32]*need, len(n.list))
		for i, at := range n.at {
			n.of[at] = n.list[i]
		}
	}
	return n.of[int32(row)]
}

// gathered is what readNeeds found out, in addition to the hashes of rows.
type gathered struct {
	read  []*need           // that could be read
	pairs []string          // for each pair of the catalog the sha256 over both files; "" if unknown
	longs map[string]string // the sha512 of files, by path
	md5s  map[string]string // likewise
}

// claimNeeds returns what the cache knows of claims beyond the sha256 of files: the
// sums of pairs, and sha512. It adds the files of the others to needs.
//
// Of absent files only what belongs to a file that is here is read: the others were
// checked when they were promoted.
func claimNeeds(
	cat *catalog.Catalog, rows []tree.Row, absent absent, needs *needs, cache *tree.Cache, full bool,
) gathered {
	out := gathered{pairs: make([]string, len(cat.Pairs)), longs: map[string]string{}}
	at := places(cat, rows)
	for i, p := range cat.Pairs {
		if at[p.First] < 0 || at[p.Second] < 0 {
			continue
		}
		first, second := &rows[at[p.First]], &rows[at[p.Second]]
		if both, ok := cache.Pair(first.SHA256, second.SHA256); ok && !full {
			out.pairs[i] = both
			continue
		}
		if absent.has(first.Path) && absent.has(second.Path) {
			continue
		}
		if absent.has(first.Path) && needs.get(int(at[p.First])) == nil {
			needs.add(int(at[p.First]), absent.need(first.Path))
		}
		n := needs.get(int(at[p.Second]))
		if n == nil {
			n = needs.add(int(at[p.Second]), absent.need(second.Path))
		}
		if !slices.Contains(n.oddly().after, first.Path) {
			n.with(func(o *odd) { o.after = append(o.after, first.Path) })
		}
	}
	for i := range cat.Items {
		item := &cat.Items[i]
		if item.SHA512 == "" || at[i] < 0 {
			continue
		}
		n := needs.get(int(at[i]))
		if sum, ok := cache.SHA512(rows[at[i]].SHA256); ok && !full && n == nil {
			out.longs[item.Path] = sum
			continue
		}
		if n == nil && absent.has(item.Path) {
			continue
		}
		if n == nil {
			n = needs.add(int(at[i]), &need{path: item.Path})
		}
		n.with(func(o *odd) { o.long = true })
	}
	return out
}

// readNeeds reads the needed files, each once, and completes out and the rows. A
// file that cannot be read becomes a finding, and its row is removed. needed
// reports whether clients need a file.
func readNeeds(ctx context.Context, root *os.Root, cat *catalog.Catalog, rows []tree.Row, list []*need,
	needed func(path string) bool, out *gathered, cache *tree.Cache, r *Report,
	progress func(string, int64) func(int64)) ([]tree.Row, error) {
	if len(list) == 0 {
		return rows, nil
	}
	byPath := func(a, b *need) int { return strings.Compare(a.path, b.path) }
	if !slices.IsSortedFunc(list, byPath) {
		slices.SortFunc(list, byPath)
	}
	var bytes int64
	at := tree.NewRows(rows)
	for _, n := range list {
		row, _ := at.Get(n.path)
		bytes += row.Size
	}
	list, hashed, err := readAll(ctx, root, list, progress("validate", bytes))
	if err != nil {
		return nil, err
	}
	r.HashedBytes += hashed
	if !slices.IsSortedFunc(list, byPath) { // some were added
		slices.SortFunc(list, byPath)
	}
	rows, out.read = learn(root, rows, list, needed, r)
	sums := map[[2]string]string{} // over both files of pairs
	at = tree.NewRows(rows)
	for _, n := range out.read {
		more := n.got.more
		if more == nil {
			continue
		}
		if more.sha512 != "" {
			out.longs[n.path] = more.sha512
			cache.PutSHA512(n.got.sha256, more.sha512)
		}
		if more.md5 != "" {
			if out.md5s == nil {
				out.md5s = map[string]string{}
			}
			out.md5s[n.path] = more.md5
		}
		for _, pair := range more.pairs {
			sums[[2]string{pair.first, n.path}] = pair.both
			first, _ := at.Get(pair.first)
			cache.PutPair(first.SHA256, n.got.sha256, pair.both)
		}
	}
	for i, p := range cat.Pairs {
		if out.pairs[i] == "" && len(sums) > 0 {
			out.pairs[i] = sums[[2]string{cat.Items[p.First].Path, cat.Items[p.Second].Path}]
		}
	}
	return rows, nil
}

// learn puts the hashes of the files that were read into their rows, and returns
// the rows without those of files that could not be read, and the files that could.
// list is sorted by path.
func learn(
	root *os.Root, rows []tree.Row, list []*need, needed func(path string) bool, r *Report,
) ([]tree.Row, []*need) {
	at, lost := tree.NewRows(rows), map[string]bool{}
	for _, n := range list {
		if err := n.got.err(); err != nil {
			r.unread(root, n.path, n.stat, needed(n.path), err)
			lost[n.path] = true
		} else if i := at.Find(n.path); i >= 0 {
			rows[i].SHA256 = n.got.sha256
			if more := n.got.more; more != nil && more.own {
				rows[i].Size = more.size
			}
		}
	}
	if len(lost) == 0 {
		return rows, list
	}
	return slices.DeleteFunc(rows, func(row tree.Row) bool { return lost[row.Path] }),
		slices.DeleteFunc(slices.Clone(list), func(n *need) bool { return lost[n.path] })
}

// check compares the indexes with the files. It reports no file as missing for
// which there is an error already, because it could not be read.
func check(f catalog.Format, cat *catalog.Catalog, rows []tree.Row, got gathered, r *Report) {
	told := map[string]bool{}
	for _, x := range r.Findings {
		if x.Severity == catalog.Error {
			told[x.Path] = true
		}
	}
	md5told := ""
	for n, at := range places(cat, rows) {
		i := &cat.Items[n]
		var row tree.Row
		if at >= 0 {
			row = rows[at]
		}
		switch {
		case at < 0 && told[i.Path]:
		case at < 0:
			r.fail("missing", i.Path,
				"%s names it, for %s, and it is not there as a regular file reached without links",
				i.Index, i.Where(f))
		case i.Size >= 0 && i.Size != row.Size:
			r.fail("size-mismatch", i.Path, "has %d bytes, %s says %d for %s", row.Size, i.Index, i.Size, i.Where(f))
		case i.SHA256 != "" && row.SHA256 != "" && i.SHA256 != row.SHA256:
			r.fail("hash-mismatch", i.Path, "has sha256 %s, %s says %s for %s", row.SHA256, i.Index, i.SHA256,
				i.Where(f))
		case i.SHA512 != "" && got.longs[i.Path] != "" && i.SHA512 != got.longs[i.Path]:
			r.fail("hash-mismatch", i.Path, "has sha512 %s, %s says %s for %s", got.longs[i.Path], i.Index, i.SHA512,
				i.Where(f))
		}
		if sum := got.md5s[i.Path]; sum != "" && i.MD5 != "" && sum != i.MD5 && md5told != i.Path {
			md5told = i.Path
			r.fail("md5-mismatch", i.Path, "has md5 %s, %s says %s for %s", sum, i.Index, i.MD5, i.Where(f))
		}
	}
	for n, both := range got.pairs {
		if p := cat.Pairs[n]; both != "" && both != p.SHA256 {
			first, second := cat.Items[p.First], cat.Items[p.Second]
			r.BadPairs = append(r.BadPairs, p)
			r.fail("combined-mismatch", first.Index,
				"%s.%s says %s, and %s followed by %s has %s: no client could take this image",
				first.Where(f), p.Field, p.SHA256, first.Path, second.Path, both)
		}
	}
	r.Files += len(rows)
	for i := range rows {
		r.Bytes += rows[i].Size
	}
	if len(rows) == 0 && len(r.Errors()) == 0 {
		r.fail("empty-tree", "", "there is nothing to publish")
	}
	r.sumLeft()
	catalog.Sort(r.Findings)
}
