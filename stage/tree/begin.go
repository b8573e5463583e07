package tree

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"

	"example.com/publish/stage/durable"
)

// Former is a former tree at a place of its own, from which a new one begins. It is
// compared with the live tree in the background, since that needs to know nothing of
// the new one.
type Former struct {
	at   string
	like *Source
	done chan struct{}
	cmp  *Comparison
	err  error
}

// NewFormer begins to compare the tree at a path with the live one. prepare, which may
// be nil, runs first. Only the caller knows the tree. The live one stays open until
// Wait.
func NewFormer(ctx context.Context, at string, like *Source, prepare func()) *Former {
	f := &Former{at: at, like: like, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		if prepare != nil {
			prepare()
		}
		f.cmp, f.err = Compare(ctx, at, like)
	}()
	return f
}

// Wait waits for the end of the comparison.
func (f *Former) Wait() {
	if f != nil {
		<-f.done
	}
}

// Of returns the comparison if it is one of the tree at a path; nil if it is not, or
// failed. f may be nil.
func (f *Former) Of(at string) *Comparison {
	if f == nil || f.at != at {
		return nil
	}
	f.Wait()
	return f.cmp
}

// Plan is what a new tree is to have, and which files of it are in place already.
type Plan interface {
	Len() int
	// At returns the path of file i, and the tree of which it shares the file at the same
	// path; nil for none.
	At(i int) (path string, of *Source)
	// Hold says whether file i is in place.
	Hold(i int, held bool)
	// Held is what Hold was told. Other goroutines call it, one at a time.
	Held(i int) bool
}

// planned is the Plan of some ops.
type planned []Op

func (p planned) Len() int              { return len(p) }
func (p planned) Hold(i int, held bool) { p[i].Held = held }
func (p planned) Held(i int) bool       { return p[i].Held }

func (p planned) At(i int) (path string, of *Source) {
	op := &p[i]
	if op.How == Share && op.Bytes == nil && (op.Name == "" || op.Name == op.Path) {
		return op.Path, op.From
	}
	return op.Path, nil
}

// Begin is BeginPlan for ops: those that are in place are held.
func (c *Cloner) Begin(ctx context.Context, former *Former, ops []Op) error {
	return c.BeginPlan(ctx, former, planned(ops))
}

// BeginPlan makes the directory c.Dst for a plan; before, it must be missing or
// empty. It moves the former tree, nil for none, to it, and trims that: see Trim. If
// trimming fails for any reason, the directory is empty, as without a former tree.
func (c *Cloner) BeginPlan(ctx context.Context, former *Former, plan Plan) error {
	for i := range plan.Len() {
		plan.Hold(i, false)
	}
	if err := os.Remove(c.Dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if former != nil {
		former.Wait()
		if err := os.Rename(former.at, c.Dst); err != nil {
			return err
		}
		err := former.err
		if err == nil {
			err = c.trim(ctx, former.cmp, former.like, plan)
		}
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		for i := range plan.Len() {
			plan.Hold(i, false)
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

// Trim prepares the tree at c.Dst, a former generation that was compared with the tree
// like, for the ops: it removes every file that is not held by an op. An op is held if
// it shares a file from the tree like, and both trees have the same inode at the path
// of the op. The directories that changed are added to the batch. After an error the
// tree at c.Dst is useless.
func (c *Cloner) Trim(ctx context.Context, with *Comparison, like *Source, ops []Op) error {
	return c.trim(ctx, with, like, planned(ops))
}

// trim is Trim for a plan.
func (c *Cloner) trim(ctx context.Context, with *Comparison, like *Source, plan Plan) error {
	held := map[string]int{} // files in each directory that are held
	dirs := map[string]bool{}
	last := ""
	for i := range plan.Len() {
		path, of := plan.At(i)
		d := dirOf(path)
		if of != nil && of == like && with.Has(path) {
			plan.Hold(i, true)
			held[d]++
		}
		if d != last {
			for last = d; d != "" && !dirs[d]; d = dirOf(d) {
				dirs[d] = true
			}
		}
	}
	var wanted map[string]bool // made when it is needed
	var once sync.Once
	done, err := with.Trim(ctx, c.Dst, Common{
		All: func(dir string, n int) bool { return held[dir] == n },
		Keep: func(path string) bool {
			once.Do(func() {
				wanted = make(map[string]bool, plan.Len())
				for i := range plan.Len() {
					if plan.Held(i) {
						path, _ := plan.At(i)
						wanted[path] = true
					}
				}
			})
			return wanted[path]
		},
		KeepDir: func(path string) bool { return dirs[path] },
	})
	if err == nil {
		c.Batch.Add(done.Changed...)
	}
	return err
}
