package tree

import (
	"cmp"
	"hash/maphash"
	"iter"
	"os"
	"slices"
)

// known adds the line of a file, which stands at a place, to the tail.
func (c *Cache) known(path []byte, at int64) bool {
	return c.tail.add(maphash.Bytes(lineSeed, path), at, false, func(text []byte) bool {
		p, _, ok := parseFile(text)
		return ok && string(p) == string(path)
	})
}

// inTail returns the entry of a path in the tail.
func (c *Cache) inTail(path string) (e cached, ok bool) {
	_, ok = c.tail.find(maphash.String(lineSeed, path), false, func(text []byte) (is bool) {
		var p []byte
		p, e, is = parseFile(text)
		return is && string(p) == path
	})
	return e, ok
}

// lineAt returns the file whose line stands at a place. The path changes when another line is
// read.
func (c *Cache) lineAt(at int64) (path []byte, e cached, ok bool) {
	text, ok := c.tail.text(at)
	if !ok {
		return nil, e, false
	}
	return parseFile(text)
}

// newer is an entry that is newer than those of packed: of the map, or of a line.
type newer struct {
	path string
	at   int64 // of its line; -1: the map has it
}

// newest returns the entries that are newer than those of packed, sorted by path.
func (c *Cache) newest() []newer {
	out := make([]newer, 0, len(c.files)+c.tail.n)
	for path := range c.files {
		out = append(out, newer{path, -1})
	}
	for _, at := range c.tail.places(false) {
		if path, _, ok := c.lineAt(at); ok {
			if _, is := c.files[string(path)]; !is {
				out = append(out, newer{string(path), at})
			}
		}
	}
	slices.SortFunc(out, func(a, b newer) int { return cmp.Compare(a.path, b.path) })
	return out
}

// entry is that of newest.
func (c *Cache) entry(n newer) cached {
	if n.at < 0 {
		return c.files[n.path]
	}
	_, e, ok := c.lineAt(n.at)
	e.gone = !ok
	return e
}

// sealed yields the sealed files of newest, in any order.
func (c *Cache) sealed() iter.Seq2[string, cached] {
	return func(yield func(string, cached) bool) {
		for path, e := range c.files {
			if e.sealed && !e.gone && !yield(path, e) {
				return
			}
		}
		for _, at := range c.tail.places(false) {
			path, e, ok := c.lineAt(at)
			if _, is := c.files[string(path)]; ok && e.sealed && !is && !yield(string(path), e) {
				return
			}
		}
	}
}

// settle moves entries out of the map whose lines were written to f. It reports whether f has
// to stay open.
func (c *Cache) settle(f *os.File, text []byte) (stays bool) {
	if len(c.files) == 0 {
		return false
	}
	c.file = c.tail.written(c.file, f, text, func(text []byte, at int64) {
		path, e, ok := parseFile(text)
		if was, is := c.files[string(path)]; ok && is && was == e && c.known(path, at) {
			delete(c.files, string(path))
		}
	})
	return c.file == f
}
