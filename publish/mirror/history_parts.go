package mirror

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"example.com/publish/stage/durable"
)

// The history is a chain of files, history.000001 and so on. Lines are appended to the
// one with the highest number. When that is long, the next number is begun. Nothing is
// renamed, so a kill at any point leaves all lines where they are, and a place in the
// history stays valid. All files except the last never change: they can be moved away.

// partBytes is from which size on the next file of a history is begun.
const partBytes = 8 << 20

const partPrefix = "history."

// partPath returns the path of the n-th file of the history.
func (q *Queue) partPath(n int) string { return q.path(fmt.Sprintf("%s%06d", partPrefix, n)) }

// partNumber returns the number in the name of a file of a history.
func partNumber(name string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(name, partPrefix)
	if !ok || len(digits) < 6 {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n > 0 && name == fmt.Sprintf("%s%06d", partPrefix, n)
}

// parts returns the numbers of the files of the history, the oldest first.
func (q *Queue) parts() ([]int, error) {
	dir, err := durable.OpenDir(q.dir)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, err
	}
	var list []int
	for _, name := range names {
		if n, ok := partNumber(filepath.Base(name)); ok {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, nil
}

// lastPart returns the file that lines are appended to, and makes it if it is missing or
// the last one is long. Its last line is whole. The caller holds the lock of the queue.
func (q *Queue) lastPart() (path string, err error) {
	list, err := q.parts()
	if err != nil {
		return "", err
	}
	next := 1
	if len(list) > 0 {
		last := list[len(list)-1]
		size, err := mendPart(q.partPath(last))
		if err != nil {
			return "", err
		}
		if size < q.partSize {
			return q.partPath(last), nil
		}
		next = last + 1
	}
	path = q.partPath(next)
	if err := q.at("begin history"); err != nil {
		return "", err
	}
	f, err := durable.Create(path)
	if err != nil {
		return "", err
	}
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return "", err
	}
	if err := durable.SyncDir(q.dir); err != nil {
		return "", err
	}
	return path, q.at("began history")
}

// mendPart cuts off a last line that a kill or a full disk tore, so that the next one
// stands alone. A torn line was reported to nobody. It returns the size then. A kill
// may also have left the file closed to others.
func mendPart(path string) (size int64, err error) {
	f, err := durable.OpenAppend(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	keep, size, err := wholeLines(f)
	if err != nil {
		return 0, err
	}
	if fi, err := f.Stat(); err == nil && fi.Mode().Perm() == 0o600 {
		_ = f.Chmod(0o644) // else others cannot read it
	}
	if keep == size {
		return size, nil
	}
	return keep, errors.Join(f.Truncate(keep), f.Sync())
}

// wholeLines returns where the last whole line ends, and the size of the file. It looks
// at no more than the longest line that one write can leave torn.
func wholeLines(f *os.File) (end, size int64, err error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	size = fi.Size()
	for end = size; end > 0; {
		n := min(end, 4<<10)
		tail := make([]byte, n)
		if _, err := f.ReadAt(tail, end-n); err != nil {
			return 0, 0, err
		}
		if i := bytes.LastIndexByte(tail, '\n'); i >= 0 {
			return end - n + int64(i) + 1, size, nil
		}
		end -= n
	}
	return 0, size, nil
}

// readPart calls yield for each line of a file of the history, from an offset on: with
// where it begins and ends, and with its text, which is nil for a damaged line. A torn
// last line is left out. It ends early if yield returns false.
func readPart(path string, from int64, yield func(text []byte, begin, end int64) bool) error {
	f, err := durable.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(f, maxLine)
	for at := from; ; {
		line, n, err := nextLine(r)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		text, ok := durable.Unline(line)
		if !ok {
			text = nil
			// It may have been torn when it was read, and another one by now.
			if again, m, err := nextLine(bufio.NewReaderSize(io.NewSectionReader(f, at, 1<<62), maxLine)); err == nil {
				if t, ok := durable.Unline(again); ok {
					text, n = t, m
					if _, err := f.Seek(at+n, io.SeekStart); err != nil {
						return err
					}
					r.Reset(f)
				}
			}
		}
		if !yield(text, at, at+n) {
			return nil
		}
		at += n
	}
}

// nextLine returns a line without its newline, and how many bytes it has with it. The
// line is nil if it is too long. The error is io.EOF after the last newline.
func nextLine(r *bufio.Reader) (line []byte, n int64, err error) {
	line, err = r.ReadSlice('\n')
	if err == nil {
		return line[:len(line)-1], int64(len(line)), nil
	}
	n = int64(len(line))
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.ReadSlice('\n')
		n += int64(len(line))
	}
	return nil, n, err
}

// Cursor is a place in the history of a queue, between two lines. The zero value is its
// beginning.
type Cursor struct {
	Part   int   `json:"part"`   // the number of the file
	Offset int64 `json:"offset"` // in it, in bytes
}

// Placed is an event with the place where its line begins. No two have the same.
type Placed struct {
	Event
	At Cursor
}

// maxSince is the most events that one Since returns.
const maxSince = 1000

// Since returns the events after a place, the oldest first, and the place after the last
// one of them. There may be more of them, unless it returns none. They are durable, and
// all of them are returned once, in the order of the history, to who stores the place
// each time. An event is written before the change that it is about: after a kill, or
// until a moment later, the job may be as before.
//
// Damaged lines are left out; History reports them. A place that is not there any more,
// because somebody removed or put back files, counts as the beginning of the file, or of
// the next one that is there; of the last one, if its file came after all that are there.
//
// It takes the lock of the queue if there is something new.
func (q *Queue) Since(ctx context.Context, at Cursor) (events []Placed, next Cursor, err error) {
	end, err := q.End()
	if err != nil || end == at {
		return nil, at, err
	}
	next = at
	err = q.change(ctx, func() error {
		events = nil
		list, err := q.parts()
		if err != nil || len(list) == 0 {
			return err
		}
		if _, err := mendPart(q.partPath(list[len(list)-1])); err != nil {
			return err
		}
		next = at.in(list, q.partPath)
		for _, n := range list {
			if n < next.Part {
				continue
			}
			if n > next.Part {
				next = Cursor{Part: n}
			}
			if err := durable.SyncFile(q.partPath(n)); err != nil {
				return err
			}
			err := readPart(q.partPath(n), next.Offset, func(text []byte, begin, end int64) bool {
				var e Event
				if text != nil && json.Unmarshal(text, &e) == nil {
					events = append(events, Placed{e, Cursor{n, begin}})
				}
				next.Offset = end
				return len(events) < maxSince
			})
			if err != nil || len(events) >= maxSince {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, at, err
	}
	return events, next, nil
}

// End returns the place after all that the history has. It takes no lock; the last line
// may be written at the moment, and then the place is before its end.
func (q *Queue) End() (Cursor, error) {
	list, err := q.parts()
	if err != nil || len(list) == 0 {
		return Cursor{}, err
	}
	last := list[len(list)-1]
	f, err := durable.Open(q.partPath(last))
	if err != nil {
		return Cursor{}, err
	}
	end, _, err := wholeLines(f)
	return Cursor{last, end}, errors.Join(err, f.Close())
}

// in returns the place in the files that are there, of which there is at least one.
func (c Cursor) in(list []int, path func(int) string) Cursor {
	if last := list[len(list)-1]; c.Part > last {
		return Cursor{Part: last}
	}
	i, there := slices.BinarySearch(list, c.Part)
	if !there {
		return Cursor{Part: list[i]}
	}
	if c.Offset != 0 && !endsLine(path(c.Part), c.Offset) {
		c.Offset = 0
	}
	return c
}

// endsLine reports whether a line of a file ends at an offset.
func endsLine(path string, at int64) bool {
	f, err := durable.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], at-1)
	return err == nil && b[0] == '\n'
}
