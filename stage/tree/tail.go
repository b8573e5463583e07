package tree

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"io"
	"iter"
	"os"
	"slices"

	"example.com/publish/stage/durable"
)

// tail finds the lines of files in the file of a Cache: see Cache. A cache that was not
// compacted yet may have one for each file of a large tree. So only their places are in
// memory, and a line is read again when it is asked for. Nobody changes a line that was
// written.
type tail struct {
	from io.ReaderAt
	// slots is a hash table of lines, at most three quarters full: the place of a line and 1 in
	// the low bits, and the hash of its path in the others; 0 for none.
	slots  []uint64
	files  int
	window []byte // what was read last
	at     int64  // of the window
}

const (
	placeBits  = 36 // a file that is larger is not worth a table
	tailWindow = 4 << 10
)

var tailSeed = maphash.MakeSeed()

// add adds the line at a place, which tells of a path; false if that cannot be done.
func (t *tail) add(path []byte, at int64) bool {
	if at < 0 || at+1 >= 1<<placeBits || t.files > 1<<27 {
		return false
	}
	if 4*(t.files+1) > 3*len(t.slots) {
		t.grow()
	}
	slot := t.slot(maphash.Bytes(tailSeed, path), path)
	if t.slots[slot] == 0 {
		t.files++
	}
	t.slots[slot] = maphash.Bytes(tailSeed, path)>>placeBits<<placeBits | uint64(at+1)
	return true
}

func (t *tail) grow() {
	old := t.slots
	t.slots = make([]uint64, max(64, 2*len(old)))
	for _, s := range old {
		if s != 0 {
			t.slots[t.slot(s, nil)] = s
		}
	}
}

// slot is where the table has a path with this hash, or could have it. nil is like no other.
func (t *tail) slot(hash uint64, path []byte) int {
	mask := len(t.slots) - 1
	at := int(hash>>placeBits) & mask
	for t.slots[at] != 0 {
		if path != nil && t.slots[at]>>placeBits == hash>>placeBits {
			if is, _, ok := t.line(t.place(at)); ok && bytes.Equal(is, path) {
				break
			}
		}
		at = (at + 1) & mask
	}
	return at
}

func (t *tail) place(slot int) int64 { return int64(t.slots[slot]&(1<<placeBits-1)) - 1 }

// find returns the entry of a path.
func (t *tail) find(path string) (cached, bool) {
	if t.files == 0 {
		return cached{}, false
	}
	slot := t.slot(maphash.String(tailSeed, path), []byte(path))
	if t.slots[slot] == 0 {
		return cached{}, false
	}
	_, e, ok := t.line(t.place(slot))
	return e, ok
}

// line reads the line at a place. The path changes when another line is read.
func (t *tail) line(at int64) (path []byte, e cached, ok bool) {
	end := -1
	if from := at - t.at; from >= 0 && from < int64(len(t.window)) {
		end = bytes.IndexByte(t.window[from:], '\n')
	}
	for size := tailWindow; end < 0; size *= 8 {
		if t.window = t.window[:0]; cap(t.window) < size {
			t.window = make([]byte, 0, size)
		}
		n, err := t.from.ReadAt(t.window[:size], at)
		t.window, t.at = t.window[:n], at
		if end = bytes.IndexByte(t.window, '\n'); end < 0 && (err != nil || size > 4*maxPath) {
			return nil, e, false
		}
	}
	from := int(at - t.at)
	text, ok := durable.Unline(t.window[from : from+end])
	if !ok {
		return nil, e, false
	}
	return parseFile(text)
}

// each yields all files, in the order of their lines.
func (t *tail) each(yield func(path []byte, e cached) bool) {
	for _, at := range t.places() {
		if path, e, ok := t.line(at); ok && !yield(path, e) {
			return
		}
	}
}

// places are those of all lines, sorted.
func (t *tail) places() []int64 {
	out := make([]int64, 0, t.files)
	for i := range t.slots {
		if t.slots[i] != 0 {
			out = append(out, t.place(i))
		}
	}
	slices.Sort(out)
	return out
}

// newer is an entry that is newer than those of packed: of the map, or of a line.
type newer struct {
	path string
	at   int64 // of its line; -1: the map has it
}

// newest returns the entries that are newer than those of packed, sorted by path.
func (c *Cache) newest() []newer {
	out := make([]newer, 0, len(c.files)+c.tail.files)
	for path := range c.files {
		out = append(out, newer{path, -1})
	}
	for _, at := range c.tail.places() {
		if path, _, ok := c.tail.line(at); ok {
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
	_, e, ok := c.tail.line(n.at)
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
		for path, e := range c.tail.each {
			if _, is := c.files[string(path)]; e.sealed && !is && !yield(string(path), e) {
				return
			}
		}
	}
}

// settle moves entries out of the map whose lines were written to f, which stands behind them
// now. If these are few, it leaves them there. It reports whether f has to stay open.
func (c *Cache) settle(f *os.File, lines []byte) (stays bool) {
	if len(lines) < maxFresh || len(c.files) == 0 {
		return false
	}
	end, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return false
	}
	if c.file != nil { // another process may have made a new file
		fi, err := f.Stat()
		was, err2 := c.file.Stat()
		if err != nil || err2 != nil || !os.SameFile(fi, was) {
			return false
		}
	} else {
		c.file, c.tail.from, stays = f, f, true
	}
	at := end - int64(len(lines))
	for line := range bytes.Lines(lines) {
		if text, ok := durable.Unline(bytes.TrimSuffix(line, []byte{'\n'})); ok {
			path, e, ok := parseFile(text)
			if was, is := c.files[string(path)]; ok && is && was == e && c.tail.add(path, at) {
				delete(c.files, string(path))
			}
		}
		at += int64(len(line))
	}
	return stays
}
