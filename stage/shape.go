package stage

import (
	"context"
	"maps"
	"os"
	"slices"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// shape makes the tree at dst from the planned entries and from the documents,
// which are already at dst. It begins with former, a tree that has most
// files of the base, as the same inodes; nil for none. It keeps the files that the new tree
// shares with the base, removes all others, and makes only the missing ones. So
// the work depends on what changed, and not on the size of the tree. Without a
// spare it makes all files.
//
// Meanwhile the documents are in a directory beside dst. Its name begins like dst,
// so that a sweep removes both. The batch has the paths of the documents in dst;
// they are right again when the documents are moved back.
func (c *copier) shape(
	ctx context.Context, former *tree.Former, admitted []tree.Entry, facts []fact, named names,
) error {
	aside := c.dst + ".documents"
	if err := os.Rename(c.dst, aside); err != nil {
		return err
	}
	defer durable.RemoveAll(aside) // it is empty then, or an error makes it useless
	documents, err := tree.OpenSource(aside)
	if err != nil {
		return err
	}
	defer documents.Close()
	ops := c.ops(admitted, facts, len(c.out.documents))
	c.twins(admitted, facts, ops, named)
	for _, p := range slices.Sorted(maps.Keys(c.out.documents)) {
		ops = append(ops, tree.Op{Path: p, From: documents, How: tree.Move})
	}
	cloner := tree.Cloner{Dst: c.dst, Batch: c.batch}
	if err := cloner.Begin(ctx, former, ops); err != nil {
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
