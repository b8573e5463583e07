package tree

import (
	"bytes"
	"hash/maphash"
	"io"
	"os"
	"slices"

	"example.com/publish/stage/durable"
)

// lines finds sealed lines of a file (see durable.Line), of which there may be one for each
// file of a large tree. So only their places are in memory, and a line is read again when it
// is asked for. Nobody changes a line that was written.
type lines struct {
	from io.ReaderAt
	// slots is a hash table, at most three quarters full: in the low bits the place of a line and
	// 1, then the hash of what the line is about, and marked; 0 for none.
	slots  []uint64
	n      int    // how many there are
	window []byte // what was read last
	at     int64  // of the window
}

const (
	placeBits  = 36 // a file that is larger is not worth a table
	marked     = 1 << 63
	lineWindow = 4 << 10
	maxLine    = 128 << 10 // bytes of the longest line that is found again
)

var lineSeed = maphash.MakeSeed()

// hashBits are those of a hash that a slot has.
func hashBits(slot uint64) uint64 { return slot &^ marked >> placeBits }

// add adds the line at a place, which has a hash, instead of an older one for which is returns
// true. It returns false if that cannot be done.
func (l *lines) add(hash uint64, at int64, mark bool, is func(text []byte) bool) bool {
	if at < 0 || at+1 >= 1<<placeBits || l.n >= 1<<26 {
		return false
	}
	if 4*(l.n+1) > 3*len(l.slots) {
		old := l.slots
		l.slots = make([]uint64, max(64, 2*len(old)))
		for _, s := range old {
			if s != 0 {
				l.slots[l.slot(hashBits(s), nil)] = s
			}
		}
	}
	hash = hashBits(hash)
	slot := l.slot(hash, is)
	if l.slots[slot] == 0 {
		l.n++
	}
	l.slots[slot] = hash<<placeBits | uint64(at+1)
	if mark {
		l.slots[slot] |= marked
	}
	return true
}

// slot is where the table has the line for which is returns true, or could have it. With nil it
// is a free slot.
func (l *lines) slot(hash uint64, is func(text []byte) bool) int {
	mask := len(l.slots) - 1
	at := int(hash) & mask
	for l.slots[at] != 0 {
		if is != nil && hashBits(l.slots[at]) == hash {
			if text, ok := l.text(l.place(at)); ok && is(text) {
				break
			}
		}
		at = (at + 1) & mask
	}
	return at
}

func (l *lines) place(slot int) int64 { return int64(l.slots[slot]&(1<<placeBits-1)) - 1 }

// find reads the line with a hash for which is returns true. It changes when another line is
// read.
func (l *lines) find(hash uint64, mark bool, is func(text []byte) bool) (text []byte, ok bool) {
	if l.n == 0 {
		return nil, false
	}
	slot := l.slot(hashBits(hash), is)
	if l.slots[slot] == 0 {
		return nil, false
	}
	if mark {
		l.slots[slot] |= marked
	}
	return l.text(l.place(slot))
}

// text reads the line at a place.
func (l *lines) text(at int64) (text []byte, ok bool) {
	end := -1
	if from := at - l.at; from >= 0 && from < int64(len(l.window)) {
		end = bytes.IndexByte(l.window[from:], '\n')
	}
	for size := lineWindow; end < 0; size *= 8 {
		if l.window = l.window[:0]; cap(l.window) < size {
			l.window = make([]byte, 0, size)
		}
		n, err := l.from.ReadAt(l.window[:size], at)
		l.window, l.at = l.window[:n], at
		if end = bytes.IndexByte(l.window, '\n'); end < 0 && (err != nil || size > maxLine) {
			return nil, false
		}
	}
	from := int(at - l.at)
	return durable.Unline(l.window[from : from+end])
}

// places are those of all lines, or of those that are marked, sorted.
func (l *lines) places(marks bool) []int64 {
	out := make([]int64, 0, l.n)
	for i, s := range l.slots {
		if s != 0 && (!marks || s&marked != 0) {
			out = append(out, l.place(i))
		}
	}
	slices.Sort(out)
	return out
}

// written says that lines were written to f, which stands behind them now. If file, nil for
// none, is another file, or they are few, it does nothing. Else it calls each with their texts
// and places, and returns the file that has to stay open: f if there was none.
func (l *lines) written(file, f *os.File, text []byte, each func(text []byte, at int64)) *os.File {
	if len(text) < maxFresh {
		return file
	}
	end, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return file
	}
	if file != nil { // another process may have made a new one
		fi, err := f.Stat()
		was, err2 := file.Stat()
		if err != nil || err2 != nil || !os.SameFile(fi, was) {
			return file
		}
	} else {
		file, l.from = f, f
	}
	at := end - int64(len(text))
	for line := range bytes.Lines(text) {
		if text, ok := durable.Unline(bytes.TrimSuffix(line, []byte{'\n'})); ok {
			each(text, at)
		}
		at += int64(len(line))
	}
	return file
}
