package tree

import "sort"

// Finger finds values in a list that is sorted by path. It keeps its place: who
// asks in the order of paths, as lists of files are, goes over the list once, and
// needs no map of it. nil finds nothing. It is for one goroutine.
type Finger[T any] struct {
	list []T
	path func(*T) string
	at   int // the first that is not less than what was asked for last
}

// NewFinger returns one for a list, and for what the paths in it are.
func NewFinger[T any](list []T, path func(*T) string) *Finger[T] {
	return &Finger[T]{list: list, path: path}
}

// Find returns the place of the first value with a path; -1 without one.
func (f *Finger[T]) Find(path string) int {
	if f == nil {
		return -1
	}
	less := func(i int) bool { return f.path(&f.list[i]) < path }
	from, to := f.at, f.at // what is sought lies in between, or at to
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

// Rows finds rows by path, as Finger does.
type Rows struct{ *Finger[Row] }

// NewRows returns one for rows, sorted.
func NewRows(rows []Row) Rows { return Rows{NewFinger(rows, func(r *Row) string { return r.Path })} }

// Get returns the row with a path.
func (r Rows) Get(path string) (Row, bool) {
	if i := r.Find(path); i >= 0 {
		return r.list[i], true
	}
	return Row{}, false
}
