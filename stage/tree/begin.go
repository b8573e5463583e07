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

// Begin makes the directory c.Dst, where nothing or an empty directory is, for
// these ops. It asks spare, which may be nil, to put a former tree there; see
// Trim. A spare that is of no use, whatever is the matter with it, is one that
// there is not: then the directory is empty, as without a spare.
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
			// It stays beside it, where those look who sweep drafts.
			if err := os.Rename(c.Dst, c.Dst+".left"); err != nil {
				return err
			}
		}
	}
	return durable.MkdirAll(c.Dst, cmp.Or(c.DirMode, 0o755))
}

// Trim makes the tree at c.Dst, which may hold a generation of before, the
// beginning of what the ops make: all goes that is not held. An op is held if it
// shares a file of the tree like, which has the same inode at the op's path in
// both trees. The batch is told which directories have changed. After an error
// the tree at c.Dst is of no use.
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
