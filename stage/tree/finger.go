package tree

import "sort"

// Finger finds values in a list that is sorted by path. It remembers its last
// position, so searching for paths in ascending order is fast, and needs no map. A
// nil Finger finds nothing. It is not safe for concurrent use.
type Finger[T any] struct {
	list []T
	path func(*T) string
	at   int // the first value that is not less than the last path
}

// NewFinger returns a Finger for a list. path returns the path of a value.
func NewFinger[T any](list []T, path func(*T) string) *Finger[T] {
	return &Finger[T]{list: list, path: path}
}

// Find returns the index of the first value with this path; -1 for none.
func (f *Finger[T]) Find(path string) int {
	if f == nil {
		return -1
	}
	less := func(i int) bool { return f.path(&f.list[i]) < path }
	from, to := f.at, f.at // the result is in this range, or at to
	if from > 0 && !less(from-1) {
		from, to = 0, from-1
	}
	for step := 1; to < len(f.list) && less(to); step *= 2 {
		from, to = to+1, min(to+step, len(f.list))
	}
	f.at = from + sort.Search(to-from, func(i int) bool { return !less(from + i) })
	if f.at < len(f.list) && f.path(&f.list[f.at]) == path {
		return f.at
	}
	return -1
}

// Rows is a Finger for rows.
type Rows struct{ *Finger[Row] }

// NewRows returns a Rows for a list of rows, which is sorted by path.
func NewRows(rows []Row) Rows { return Rows{NewFinger(rows, func(r *Row) string { return r.Path })} }

// All returns the rows.
func (r Rows) All() []Row {
	if r.Finger == nil {
		return nil
	}
	return r.list
}

// Get returns the row with a path.
func (r Rows) Get(path string) (Row, bool) {
	if i := r.Find(path); i >= 0 {
		return r.list[i], true
	}
	return Row{}, false
}

// MergeInto is MergeRows where the caller needs the first list no more: if that has the
// room, it becomes the result, since two lists of a large tree need much memory.
func MergeInto(a, b []Row) []Row {
	from, put := len(a), len(a)+len(b)
	if cap(a) < put {
		return MergeRows(a, b)
	}
	a = a[:put]
	for len(b) > 0 { // from the end
		last := b[len(b)-1]
		at, _ := Search(a[:from], last.Path)
		put -= copy(a[put-(from-at):put], a[at:from])
		put--
		a[put], b, from = last, b[:len(b)-1], at
	}
	return a
}
