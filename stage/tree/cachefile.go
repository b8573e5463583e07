package tree

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"strconv"
	"syscall"

	"example.com/publish/stage/durable"
)

// load reads the file at unread, if it can be trusted.
func (c *Cache) load() {
	f, err := durable.Open(c.unread)
	if err != nil {
		return
	}
	fi, err := f.Stat()
	if err == nil && c.believed(fi) {
		c.read(f)
	}
	if c.packed.from == nil && c.tail.n == 0 {
		_ = f.Close()
	} else {
		c.file = f
	}
}

// believed reports whether only the owner, and root, can have written the file.
func (c *Cache) believed(fi fs.FileInfo) bool {
	s := StatOf(fi)
	return s.Mode.Perm()&0o022 == 0 && (s.UID == c.owner || s.UID == 0)
}

// read reads all undamaged blocks and lines. A damaged block or line does not
// affect the following ones, even if it is very long.
func (c *Cache) read(file interface {
	io.Reader
	io.ReaderAt
}) {
	r := bufio.NewReaderSize(file, 64<<10)
	left, at := c.packed.read(r, file)
	if left != r {
		r = bufio.NewReaderSize(left, 64<<10)
	}
	c.tail.from = file
	for at, seconds := range c.packed.eachEnd {
		c.ends[at] = seconds
	}
	for at, sum := range c.packed.eachLong {
		c.longs[at] = sum
	}
	for {
		line, err := r.ReadSlice('\n')
		size, whole := int64(len(line)), err == nil
		for err == bufio.ErrBufferFull {
			var more []byte
			more, err = r.ReadSlice('\n')
			size += int64(len(more))
		}
		if err != nil {
			return // the end; a torn last line is ignored
		}
		c.lines++
		if text, ok := durable.Unline(bytes.TrimSuffix(line, []byte{'\n'})); whole && ok {
			c.parse(text, at)
		}
		if at >= 0 {
			at += size
		}
	}
}

// parse reads one line, which stands at a place; -1 if that is not known. D means that the path was forgotten.
//
//	F sha256 sealed(0|1) size mtime ctime inode path
//	C sha256-of-both sha256-of-first sha256-of-second
//	E sha256-of-metadata seconds-since-1970
//	L sha256 sha512
//	D path
func (c *Cache) parse(text []byte, at int64) {
	if path, e, ok := parseFile(text); ok {
		if c.known(path, at) {
			delete(c.files, string(path))
		} else {
			c.files[string(path)] = e
		}
		return
	}
	field := func() (f []byte) {
		f, text, _ = bytes.Cut(text, []byte{' '})
		return f
	}
	switch kind := string(field()); kind {
	case "C":
		both, ok := parseDigest(string(field()))
		first, ok1 := parseDigest(string(field()))
		second, ok2 := parseDigest(string(field()))
		if ok && ok1 && ok2 {
			c.pairs[pair{first, second}] = both
		}
	case "E":
		sum, ok := parseDigest(string(field()))
		if end, err := strconv.ParseInt(string(text), 10, 64); ok && err == nil {
			c.ends[sum] = end
		}
	case "L":
		sum, ok := parseDigest(string(field()))
		if long, ok2 := parseLong(string(text)); ok && ok2 {
			c.longs[sum] = long
		}
	case "D":
		c.files[string(text)] = cached{gone: true}
	}
}

// parseFile reads the line of a file; false for another one.
func parseFile(text []byte) (path []byte, e cached, ok bool) {
	text, ok = bytes.CutPrefix(text, []byte("F "))
	field := func() (f []byte) {
		f, text, _ = bytes.Cut(text, []byte{' '})
		return f
	}
	var oks [4]bool
	e.sum, oks[0] = parseDigest(string(field()))
	e.sealed = string(field()) == "1"
	e.size, oks[1] = parseInt(field())
	e.mtime, oks[2] = parseInt(field())
	e.ctime, oks[3] = parseInt(field())
	var err error
	e.ino, err = strconv.ParseUint(string(field()), 10, 64)
	ok = ok && err == nil && oks == [4]bool{true, true, true, true}
	return text, e, ok && len(text) > 0 && len(text) <= maxPath
}

func parseInt(b []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}

func parseDigest(s string) (d digest, ok bool) {
	if len(s) != 2*len(d) { // hex.Decode panics if d is too short
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(s))
	return d, err == nil
}

func parseLong(s string) (l long, ok bool) {
	if len(s) != 2*len(l) {
		return l, false
	}
	_, err := hex.Decode(l[:], []byte(s))
	return l, err == nil
}

// maxFresh is the number of bytes of new lines at which they are written.
const maxFresh = 1 << 20

// add stores a line, with the next flush. The caller holds mu.
func (c *Cache) add(text []byte) {
	if c.path == "" {
		return
	}
	c.fresh.Write(durable.LineTo(c.fresh.AvailableBuffer(), text))
	if c.fresh.Len() >= maxFresh {
		c.lost = errors.Join(c.lost, c.flush())
	}
}

// Save appends new lines to the file. It returns no error if the file cannot be
// written, for example without permission or on a full disk: the only consequence
// is that the next command is slower.
func (c *Cache) Save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := errors.Join(c.lost, c.flush())
	c.lost = nil
	return err
}

func (c *Cache) flush() error {
	if c.fresh.Len() == 0 {
		return nil
	}
	defer c.fresh.Reset()
	f, err := c.openOwn()
	if f == nil {
		return unlessUnwritable(err)
	}
	lines := c.fresh.Bytes()
	// A killed writer may have left a line without its newline. End it first, so
	// that it does not damage the next line.
	if fi, err := f.Stat(); err == nil && fi.Size() > 0 {
		last := []byte{0}
		if _, err := f.ReadAt(last, fi.Size()-1); err == nil && last[0] != '\n' {
			lines = append([]byte{'\n'}, lines...)
		}
	}
	c.lines += bytes.Count(lines, []byte{'\n'})
	if _, err = f.Write(lines); err == nil && c.settle(f, lines) {
		return nil
	}
	return unlessUnwritable(errors.Join(err, f.Close()))
}

// MendCache replaces the cache at path by an empty one if other users could write
// to it, and if this user may do that. A missing file stays missing.
func MendCache(path string) error {
	if _, err := os.Lstat(path); err != nil {
		return unlessUnwritable(err)
	}
	c := OpenCache(path)
	f, err := c.openOwn()
	if f == nil {
		return unlessUnwritable(err)
	}
	return f.Close()
}

// ours reports whether this user may write to the cache: as root, or as the owner
// of its directory.
func (c *Cache) ours() bool {
	me := os.Geteuid()
	return me == 0 || uint32(me) == c.owner
}

// openOwn opens the file to append to it, and makes it if it is missing. It returns nil
// if this user may not write to it. A file that others could write to is replaced by an
// empty one; older versions made such files for a group. It must be a new file, because
// another user may still have the old one open.
func (c *Cache) openOwn() (*os.File, error) {
	if !c.ours() {
		return nil, nil
	}
	f, err := durable.OpenAppend(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		// Not by a rename, which would replace the file of a process that came first.
		made, err2 := durable.Create(c.path)
		if err2 == nil {
			err2 = errors.Join(made.Chmod(0o644), made.Close())
		}
		if err = err2; err == nil || errors.Is(err, fs.ErrExist) {
			f, err = durable.OpenAppend(c.path)
		}
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && c.believed(fi) {
		return f, nil
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = durable.WriteFile(c.path, nil, 0o644)
	}
	if err != nil {
		return nil, err
	}
	return durable.OpenAppend(c.path)
}

func unlessUnwritable(err error) error {
	for _, harmless := range []error{fs.ErrNotExist, fs.ErrPermission, durable.ErrNotRegular, syscall.EROFS,
		syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, harmless) {
			return nil
		}
	}
	return err
}

// Release frees the entries of files, which need most of the memory. From then on
// Lookup knows only files that were Put later. So call it after the last Lookup.
// New entries are stored as before, and pairs and expiries stay.
func (c *Cache) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released += len(c.packed.files) + c.tail.n + len(c.files)
	c.tail = lines{}
	c.packed.blocks, c.packed.files, c.packed.next, c.packed.window, c.packed.shown = nil, nil, 0, nil, 0
	if c.file != nil {
		_ = c.file.Close()
	}
	c.packed.from, c.file = nil, nil
	c.files = map[string]cached{}
}

// Compact rewrites the file in packed form, if it has many lines or many useless
// records. It keeps the files for which keep is true, and the pairs and expiries
// whose contents are still in use. expect is the expected number of files. Call it
// under the staging lock, after Save.
func (c *Cache) Compact(expect int, keep func(path string) bool) error {
	worth := c.Crowded(expect)
	c.lock()
	if worth && c.released > 0 { // read the released entries again
		c.mu.Unlock()
		return OpenCache(c.path).Compact(expect, keep)
	}
	defer c.mu.Unlock()
	fi, err := os.Lstat(c.path)
	if err != nil || !c.believed(fi) || !worth {
		return nil
	}
	live := make(map[digest]bool, expect)
	n, records := 0, c.packed.records()
	for _, e := range c.each(keep) {
		live[e.sum] = true
		n++
	}
	for range c.eachPair(live) {
		n++
	}
	for range c.eachEnd(live) {
		n++
	}
	for range c.eachLong(live) {
		n++
	}
	if c.lines < many(n) && records+c.lines < 2*n+1000 {
		return nil
	}
	err = durable.WriteWith(c.path, fi.Mode().Perm(), func(w io.Writer) error {
		p := newPacker(w)
		for path, e := range c.each(keep) {
			p.file(path, e)
		}
		for of, both := range c.eachPair(live) {
			p.pair(of, both)
		}
		for of, seconds := range c.eachEnd(live) {
			p.end(of, seconds)
		}
		for of, sum := range c.eachLong(live) {
			p.long(of, sum)
		}
		return p.close()
	})
	if err == nil {
		c.lines = 0
	}
	return unlessUnwritable(err)
}

// Crowded reports whether it may be worth to Compact the file, with this number of files.
func (c *Cache) Crowded(expect int) bool {
	c.lock()
	defer c.mu.Unlock()
	files, records := len(c.packed.files)+c.tail.n+len(c.files)+c.released, c.packed.records()+c.released
	return c.lines >= many(records) || files >= 2*expect+1000
}

// many returns the number of lines, beside n records, from which compacting pays
// off. Reading a line takes twenty times as long as reading a record. But a
// rewritten file must be synced, so Compact should not rewrite it often.
func many(n int) int { return 1000 + n/8 }

// each yields the files for which keep is true, sorted by path.
func (c *Cache) each(keep func(path string) bool) iter.Seq2[string, cached] {
	return func(yield func(string, cached) bool) {
		give := func(path string, e cached) bool { return e.gone || !keep(path) || yield(path, e) }
		newer := c.newest()
		for i := range c.packed.files {
			path := string(c.packed.path(i))
			for ; len(newer) > 0 && newer[0].path < path; newer = newer[1:] {
				if !give(newer[0].path, c.entry(newer[0])) {
					return
				}
			}
			if (len(newer) == 0 || newer[0].path != path) && !give(path, c.packed.file(i)) {
				return
			}
		}
		for _, n := range newer {
			if !give(n.path, c.entry(n)) {
				return
			}
		}
	}
}

// eachPair yields the pairs of which both contents are live.
func (c *Cache) eachPair(live map[digest]bool) iter.Seq2[pair, digest] {
	return func(yield func(pair, digest) bool) {
		give := func(of pair, both digest) bool { return !live[of.first] || !live[of.second] || yield(of, both) }
		for of, both := range c.packed.eachPair {
			if _, ok := c.pairs[of]; !ok && !give(of, both) {
				return
			}
		}
		for of, both := range c.pairs {
			if !give(of, both) {
				return
			}
		}
	}
}

// eachLong yields the sha512 of contents that are live.
func (c *Cache) eachLong(live map[digest]bool) iter.Seq2[digest, long] {
	return func(yield func(digest, long) bool) {
		for of, sum := range c.longs {
			if live[of] && !yield(of, sum) {
				return
			}
		}
	}
}

// eachEnd yields the expiries of metadata that is live.
func (c *Cache) eachEnd(live map[digest]bool) iter.Seq2[digest, int64] {
	return func(yield func(digest, int64) bool) {
		for of, seconds := range c.ends {
			if live[of] && !yield(of, seconds) {
				return
			}
		}
	}
}
