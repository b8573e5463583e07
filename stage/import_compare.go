package stage

import (
	"context"
	"os"
	"slices"

	"example.com/publish/stage/tree"
)

// recognize finds the files that staging already has with the same bytes, and
// returns their rows. It takes hashes of the tree from its index (claims), and
// hashes of staging from the cache. If one is unknown, it reads the file, which is
// cheaper than a copy.
func (im *importer) recognize(
	ctx context.Context, entries []tree.Entry, claims map[string]string,
) (map[string]tree.Row, error) {
	im.same = map[string]tree.Stat{}
	rows := map[string]tree.Row{}
	now := im.s.Now()
	var here, there []*need
	ours, theirs := map[string]string{}, map[string]string{}
	stats := map[string]tree.Stat{}
	for _, e := range entries {
		fi, err := im.dst.Lstat(e.Path)
		if err != nil {
			continue
		}
		st := tree.StatOf(fi)
		if e.Kind == tree.Symlink {
			if text, err := im.dst.Readlink(e.Path); err == nil && text == e.Target() {
				im.same[e.Path], rows[e.Path] = st, linkRow(e)
			}
			continue
		}
		if !fi.Mode().IsRegular() || st.Size != e.Stat.Size || realDirs(im.dst, e.Path) != nil {
			continue
		}
		stats[e.Path] = st
		if theirs[e.Path] = claims[e.Path]; theirs[e.Path] == "" {
			there = append(there, needAt(e.Path, e.Name, e.Stat))
		}
		if sum, _, ok := im.cache.Lookup(e.Path, st); ok {
			ours[e.Path] = sum
		} else {
			here = append(here, &need{path: e.Path, stat: st})
		}
	}
	for _, side := range []struct {
		root  *os.Root
		needs []*need
		into  map[string]string
	}{{im.dst, here, ours}, {im.src.Root(), there, theirs}} {
		var bytes int64
		for _, n := range side.needs {
			bytes += n.stat.Size
		}
		got, _, err := readAll(ctx, side.root, side.needs, im.s.progress("compare", bytes))
		if err != nil {
			return nil, err
		}
		for _, n := range got {
			if n.got.err() == nil {
				side.into[n.path] = n.got.sha256
			}
			if n.got.err() == nil && side.root == im.dst {
				im.cache.Put(n.path, stats[n.path], n.got.sha256, now)
			}
		}
	}
	for p, st := range stats {
		if ours[p] != "" && ours[p] == theirs[p] {
			im.same[p] = st
			rows[p] = tree.Row{Path: p, Size: st.Size, SHA256: ours[p], Role: im.named.role(p)}
		}
	}
	return rows, nil
}

// check compares the files that came, and those that staging already has, with the
// tree's indexes. It checks combined hashes only if both files came; the others
// are checked when staging is validated.
func (im *importer) check(ctx context.Context, rows map[string]tree.Row) error {
	root, err := os.OpenRoot(im.files)
	if err != nil {
		return err
	}
	defer root.Close()
	fresh := slices.Clone(im.came)
	tree.SortRows(fresh)
	needs := needs{}
	got := claimNeeds(im.cat, fresh, absent{}, &needs, im.cache, false)
	needed := func(string) bool { return true } // these are private copies, so any read error is an error
	if _, err := readNeeds(ctx, root, im.cat, fresh, needs.list, needed, &got, im.cache, im.report,
		im.s.progress); err != nil {
		return err
	}
	check(im.s.Format, im.cat, sorted(rows), got, im.report)
	return im.report.failed()
}
