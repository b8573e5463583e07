package tree

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"syscall"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// Names are files of a directory that are called by the sha256 of their content, or at
// least by what could be one. Nobody has looked at them.
type Names struct {
	Dir  string          // slash-separated, relative to the tree
	Sums [][]catalog.Sum // in parts: one long list would be copied when it grows
}

// WalkNames is Walk, but for directories that are addressed it returns the names alone,
// without any order. What else is in such a directory is among the entries, and so is all
// of a file system that does not tell files from other things in its lists of names.
func (s *Source) WalkNames(ctx context.Context, addressed func(dir string) bool) ([]Entry, []Names, error) {
	top, err := durable.ListIn(s.root, ".", s.Dir)
	if err != nil {
		return nil, nil, err
	}
	w := &walker{ctx: ctx, slots: newSlots(), named: &naming{addressed: addressed}}
	entries, err := w.walk(top)
	var out []Names
	for _, n := range w.named.all {
		if len(n.Sums) > 0 {
			out = append(out, *n)
		}
	}
	return entries, out, err
}

// naming gathers names.
type naming struct {
	addressed func(dir string) bool

	mu  sync.Mutex
	all []*Names
}

// in returns a function that takes the names in a directory that are enough; nil for one
// of which all files are looked at.
func (n *naming) in(dir string) func(durable.Name) bool {
	if n == nil || !n.addressed(dir) {
		return nil
	}
	names := &Names{Dir: dir}
	n.mu.Lock()
	n.all = append(n.all, names)
	n.mu.Unlock()
	return func(x durable.Name) bool {
		if !x.Regular {
			return false
		}
		sum, ok := catalog.ParseSum(x.Text)
		if !ok {
			return false
		}
		last := len(names.Sums) - 1
		if last < 0 || len(names.Sums[last]) == cap(names.Sums[last]) {
			names.Sums = append(names.Sums, make([]catalog.Sum, 0, 64<<min(6, last+1)))
			last++
		}
		names.Sums[last] = append(names.Sums[last], sum)
		return true
	}
}

// Stat returns the state of a file of the tree, by no link in the last part of its path.
func (s *Source) Stat(path string) (Stat, error) {
	fi, err := s.root.Lstat(path)
	if err != nil {
		return Stat{}, err
	}
	return StatOf(fi), nil
}

// Gone reports whether an error says that there is no file at a path any more.
func Gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }
