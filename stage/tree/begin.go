package tree

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"example.com/publish/stage/durable"
)

// Begin makes the directory c.Dst for these ops; before, it must be missing or
// empty. It calls spare, which may be nil, to put a former tree there, and trims
// that; see Trim. If trimming fails for any reason, the directory is empty, as
// without a spare.
func (c *Cloner) Begin(ctx context.Context, spare func(at string) (bool, error), like *Source, ops []Op) error {
	for i := range ops {
		ops[i].Held = false
	}
	if err := os.Remove(c.Dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := false
	if like != nil && spare != nil {
		var err error
		if there, err = spare(c.Dst); err != nil {
			return err
		}
	}
	if there {
		err := c.Trim(ctx, like, ops)
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		for i := range ops {
			ops[i].Held = false
		}
		if durable.RemoveAll(c.Dst) != nil {
			// Keep it beside c.Dst, under a name that the sweep of drafts finds.
			if err := os.Rename(c.Dst, c.Dst+".left"); err != nil {
				return err
			}
		}
	}
	return durable.MkdirAll(c.Dst, cmp.Or(c.DirMode, 0o755))
}

// Trim prepares the tree at c.Dst, which may be a former generation, for the ops:
// it removes every file that is not held by an op. An op is held if it shares a
// file from the tree like, and both trees have the same inode at the path of the
// op. The directories that changed are added to the batch. After an error the tree
// at c.Dst is useless.
func (c *Cloner) Trim(ctx context.Context, like *Source, ops []Op) error {
	shared := make([]int, 0, len(ops)) // sorted by path
	dirs := map[string]bool{}
	last := ""
	for i, op := range ops {
		if op.How == Share && op.Bytes == nil && op.From == like && (op.Name == "" || op.Name == op.Path) {
			shared = append(shared, i)
		}
		if d := dirOf(op.Path); d != last {
			for last = d; d != "" && !dirs[d]; d = dirOf(d) {
				dirs[d] = true
			}
		}
	}
	byPath := func(i int, path string) int { return strings.Compare(ops[i].Path, path) }
	slices.SortFunc(shared, func(a, b int) int { return byPath(a, ops[b].Path) })
	done, err := Trim(ctx, c.Dst, like, Common{
		Keep: func(path string) bool {
			at, ok := slices.BinarySearchFunc(shared, path, byPath)
			if ok {
				ops[shared[at]].Held = true
			}
			return ok
		},
		KeepDir: func(path string) bool { return dirs[path] },
	})
	if err == nil {
		c.Batch.Add(done.Changed...)
	}
	return err
}
