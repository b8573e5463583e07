package stage

import (
	"context"
	"maps"
	"os"
	"slices"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// shape makes the tree of what was planned, and of the documents that are at dst.
// It begins with the spare: a former tree of which most files are the base's
// still, as the same inodes. Those stay that the new tree has as the base has
// them, all else goes, and only what is missing is made. Without a spare all is
// missing. So a snapshot costs what has changed.
//
// The documents wait beside dst meanwhile, under a name that begins as dst does,
// so that a sweep of one sweeps the other. A batch that has their paths in dst is
// right again when they are back.
func (c *copier) shape(ctx context.Context, admitted []tree.Entry, facts []fact, named names) error {
	aside := c.dst + ".documents"
	if err := os.Rename(c.dst, aside); err != nil {
		return err
	}
	defer durable.RemoveAll(aside) // empty by then, or of no use
	documents, err := tree.OpenSource(aside)
	if err != nil {
		return err
	}
	defer documents.Close()
	ops := c.ops(admitted, facts, len(c.out.documents))
	for _, p := range slices.Sorted(maps.Keys(c.out.documents)) {
		ops = append(ops, tree.Op{Path: p, From: documents, How: tree.Move})
	}
	cloner := tree.Cloner{Dst: c.dst, Batch: c.batch}
	if err := cloner.Begin(ctx, c.base.Spare, c.base.Source, ops); err != nil {
		return err
	}
	rows, err := c.clone(ctx, admitted, ops[:len(admitted)], named)
	if err != nil {
		return err
	}
	c.out.complete(rows)
	_, err = cloner.Run(ctx, ops[len(admitted):])
	return err
}
