package stage

import (
	"context"
	"os"
	"path/filepath"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// HashTree reads every file of a tree, without a cache. Files that cannot be read, and
// anything except files and links, are findings. All rows except links have the role
// Mutable. Those of documents with two forms are about the own form.
func HashTree(
	ctx context.Context, src *tree.Source, f catalog.Format, progress func(string, int64) func(int64),
) (*Checked, error) {
	entries, err := src.Walk(ctx)
	if err != nil {
		return nil, err
	}
	out := &Checked{Catalog: &catalog.Catalog{}, Report: &Report{}}
	var needs []*need
	var bytes int64
	for _, e := range entries {
		switch e.Kind {
		case tree.File:
			needs = append(needs, &need{path: e.Path, stat: tree.Stat{Size: e.Stat.Size},
				odd: &odd{of: catalog.ServingAt(f, e.Path)}})
			bytes += e.Stat.Size
		case tree.Symlink:
			out.Rows = append(out.Rows, linkRow(e))
		case tree.Unreadable:
			out.Report.fail("unreadable", e.Path, "%s", cause(e.Err()))
		default:
			out.Report.fail("special-file", e.Path, "is a %s", kindName(e.Stat.Mode))
		}
	}
	s := Stage{Progress: progress}
	got, hashed, err := readAll(ctx, src.Root(), needs, s.progress("verify", bytes))
	if err != nil {
		return nil, err
	}
	out.Report.HashedBytes = hashed
	for _, n := range got {
		g := n.got
		if err := g.err(); err != nil {
			out.Report.fail("unreadable", n.path, "%s", cause(err))
			continue
		}
		row := tree.Row{Path: n.path, Size: n.stat.Size, SHA256: g.sha256, Role: catalog.Mutable}
		if g.more != nil && g.more.own {
			row.Size = g.more.size
		}
		out.Rows = append(out.Rows, row)
	}
	tree.SortRows(out.Rows)
	for _, r := range out.Rows {
		out.Report.Files++
		out.Report.Bytes += r.Size
	}
	return out, nil
}

// Unnamed copies into dst the files that a snapshot of this tree leaves out because
// no index names them, and returns their rows. It ignores uploads in progress. It is
// for the adoption of a live tree, whose clients may still know such files.
func (s *Stage) Unnamed(ctx context.Context, dst string, snap *Snapshot, batch *durable.Batch) ([]tree.Row, error) {
	src, err := tree.OpenSource(s.Dir)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	entries, err := tree.Walk(ctx, s.Dir)
	if err != nil {
		return nil, err
	}
	entries = links(entries, s.Format).apply(entries, s.Links)
	g := newGate(s.Format, entries, nil, nil, nil)
	var ops []tree.Op
	taken := tree.NewRows(snap.rows)
	for _, e := range entries {
		if _, _, ok := catalog.Clean(e.Path); !ok || taken.Find(e.Path) >= 0 || e.Kind != tree.File ||
			g.class(e.At()) != catalog.ItemLike {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dst, e.Path)); err != nil {
			ops = append(ops, tree.Op{Path: e.Path, Name: e.Name, From: src, How: tree.Copy, Stat: e.Stat})
		}
	}
	cloner := tree.Cloner{Dst: dst, Batch: batch, Progress: s.progress("copy", 0)}
	done, err := cloner.Run(ctx, ops)
	if err != nil {
		return nil, err
	}
	var rows []tree.Row
	for i, d := range done {
		if d.Err == nil { // a file that cannot be read was not served, so it can be ignored
			rows = append(rows, tree.Row{Path: ops[i].Path, Size: d.Size, SHA256: d.SHA256, Role: catalog.Content})
		}
	}
	return rows, nil
}
