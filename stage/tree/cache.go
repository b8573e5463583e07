package tree

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/publish/stage/durable"
)

// Cache remembers which bytes were verified, so that an unchanged tree costs
// one stat a file. It is only ever a saving: lose it and everything is hashed
// again.
//
// What it says of a file counts while the file's inode, size, mtime and ctime
// are what they were, and were old enough when it was hashed (see settled). A
// *sealed* file, one that this program wrote and made read-only, may be shared
// by hard link with generations. Each link made or removed changes its ctime,
// so there ctime does not count: a root who writes into it and sets mtime back
// is found by verify and by validate --full only.
//
// A sealed file of another user is none: its owner can make it writable again,
// write, and set mtime back, so there ctime counts.
//
// Whoever may write the file could say of any bytes that they were verified. So
// it is believed only while it belongs to the owner of the directory that it
// lies in, or to root, and nobody else may write to it. What another user
// verifies is not stored.
//
// The file is append-only lines of text (see durable.Line), the newest wins.
// Appends of one line are atomic enough for several writers; compaction and
// every write happen under the staging lock. A line that a crash tore is
// passed over.
type Cache struct {
	path   string
	unread string // what to read when first asked
	look   bool   // what is new is forgotten
	owner  uint32 // whose sealed files stay as they are

	mu    sync.Mutex
	files map[string]cached
	pairs map[pair]digest
	ends  map[digest]int64 // when an image expires, by its metadata: see Expiry
	fresh bytes.Buffer     // lines not yet written
	lines int              // in the file
	lost  error            // why some were not written
}

type digest [32]byte

type pair struct{ first, second digest }

type cached struct {
	sum          digest
	size         int64
	mtime, ctime int64
	ino          uint64
	sealed       bool
}

// OpenCache is the cache at path, which is read when it is first asked: a walk
// before that has the memory to itself. A missing or damaged one is an empty
// one. An empty path is a cache that is never stored.
func OpenCache(path string) *Cache { return makeCache(path, path, false) }

// ReadCache is OpenCache for who leaves no trace: what is new is forgotten.
func ReadCache(path string) *Cache { return makeCache(path, path, true) }

// AppendTo is a cache that knows nothing of what stands at path and only adds
// to it: for a writer that has something to tell and nothing to ask.
func AppendTo(path string) *Cache { return makeCache(path, "", false) }

func makeCache(path, unread string, look bool) *Cache {
	owner := uint32(os.Geteuid())
	if path != "" {
		if fi, err := os.Stat(filepath.Dir(path)); err == nil {
			owner = StatOf(fi).UID
		}
	}
	return &Cache{path: path, unread: unread, look: look, owner: owner, files: map[string]cached{}, pairs: map[pair]digest{}, ends: map[digest]int64{}}
}

// lock takes mu, with the file read.
func (c *Cache) lock() {
	c.mu.Lock()
	if c.unread != "" {
		c.load()
		c.unread = ""
	}
}

// Prefetch begins to read the file, for somebody who is about to ask and has
// something else to do first.
func (c *Cache) Prefetch() {
	go func() {
		c.lock()
		c.mu.Unlock()
	}()
}

// load reads what is at unread.
func (c *Cache) load() {
	f, err := durable.Open(c.unread)
	if err != nil {
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !c.believed(fi) {
		return
	}
	if len(c.files)+len(c.pairs) == 0 {
		// A file has a line of some 200 bytes, and every other a pair with one.
		room := int(min(fi.Size(), 64<<20) / 400)
		c.files, c.pairs = make(map[string]cached, room), make(map[pair]digest, room/2)
	}
	c.read(bufio.NewReaderSize(f, 64<<10))
}

// believed reports whether only the owner, and root, can have written the file.
func (c *Cache) believed(fi fs.FileInfo) bool {
	s := StatOf(fi)
	return s.Mode.Perm()&0o022 == 0 && (s.UID == c.owner || s.UID == 0)
}

// read takes all lines that are whole. Damage costs the lines that it hits,
// however long a piece without a newline is, and never those behind it.
func (c *Cache) read(r *bufio.Reader) {
	for {
		line, err := r.ReadSlice('\n')
		whole := err == nil
		for err == bufio.ErrBufferFull {
			_, err = r.ReadSlice('\n')
		}
		if err != nil {
			return // the end; a torn line is not counted in
		}
		c.lines++
		if text, ok := durable.Unline(bytes.TrimSuffix(line, []byte{'\n'})); whole && ok {
			c.parse(text)
		}
	}
}

// parse takes one line:
//
//	F sha256 sealed(0|1) size mtime ctime inode path
//	C sha256-of-both sha256-of-first sha256-of-second
//	E sha256-of-metadata seconds-since-1970
//	D path
func (c *Cache) parse(text []byte) {
	field := func() (f []byte) {
		f, text, _ = bytes.Cut(text, []byte{' '})
		return f
	}
	switch kind := string(field()); kind {
	case "F":
		var e cached
		sum, sealed := field(), field()
		var ok bool
		if e.sum, ok = parseDigest(string(sum)); !ok {
			return
		}
		e.sealed = string(sealed) == "1"
		var errs [4]error
		e.size, errs[0] = strconv.ParseInt(string(field()), 10, 64)
		e.mtime, errs[1] = strconv.ParseInt(string(field()), 10, 64)
		e.ctime, errs[2] = strconv.ParseInt(string(field()), 10, 64)
		e.ino, errs[3] = strconv.ParseUint(string(field()), 10, 64)
		if errors.Join(errs[:]...) == nil && len(text) > 0 {
			c.files[string(text)] = e
		}
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
	case "D":
		delete(c.files, string(text))
	}
}

func parseDigest(s string) (d digest, ok bool) {
	if len(s) != 2*len(d) { // hex.Decode does not look how much room it has
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(s))
	return d, err == nil
}

// Lookup returns the verified sha256 of the file at path, if it is still in
// the state s, and whether this program sealed it.
func (c *Cache) Lookup(path string, s Stat) (sha256 string, sealed, ok bool) {
	c.lock()
	e, ok := c.files[path]
	c.mu.Unlock()
	if !ok || e.size != s.Size || e.mtime != s.Mtime || e.ino != s.Ino {
		return "", false, false
	}
	sealed = e.sealed && s.Mode.Perm()&0o222 == 0 && s.UID == c.owner
	if !sealed && e.ctime != s.Ctime {
		return "", false, false
	}
	return hex.EncodeToString(e.sum[:]), sealed, true
}

// Put notes that the file at path, in the state s, was hashed from the moment
// at on. A state too young to be trusted is not kept. A sealed file with the
// bytes that it was sealed with stays sealed; one with other bytes does not.
func (c *Cache) Put(path string, s Stat, sha256 string, at time.Time) {
	known, sealed, ok := c.Lookup(path, s)
	switch {
	case ok && sealed && known == sha256:
	case s.settled(at):
		c.put(path, s, sha256, false)
	case ok && known != sha256:
		c.Forget(path)
	}
}

// PutSealed notes that this program wrote the file at path and sealed it in
// the state s.
func (c *Cache) PutSealed(path string, s Stat, sha256 string) { c.put(path, s, sha256, true) }

func (c *Cache) put(path string, s Stat, sha256 string, sealed bool) {
	e := cached{size: s.Size, mtime: s.Mtime, ctime: s.Ctime, ino: s.Ino, sealed: sealed}
	var ok bool
	if e.sum, ok = parseDigest(sha256); !ok || c.look || path == "" || strings.ContainsRune(path, '\n') {
		return
	}
	c.lock()
	defer c.mu.Unlock()
	if c.files[path] == e {
		return
	}
	c.files[path] = e
	c.add(e.line(path))
}

func (e cached) line(path string) []byte {
	flag := 0
	if e.sealed {
		flag = 1
	}
	return fmt.Appendf(nil, "F %x %d %d %d %d %d %s", e.sum, flag, e.size, e.mtime, e.ctime, e.ino, path)
}

// Pair returns the sha256 over the bytes of two files one after the other, if
// it was computed before. It depends on their contents alone.
func (c *Cache) Pair(first, second string) (string, bool) {
	a, ok1 := parseDigest(first)
	b, ok2 := parseDigest(second)
	c.lock()
	both, ok := c.pairs[pair{a, b}]
	c.mu.Unlock()
	if !ok || !ok1 || !ok2 {
		return "", false
	}
	return hex.EncodeToString(both[:]), true
}

// PutPair notes the sha256 over two contents one after the other.
func (c *Cache) PutPair(first, second, both string) {
	a, ok1 := parseDigest(first)
	b, ok2 := parseDigest(second)
	d, ok3 := parseDigest(both)
	if !ok1 || !ok2 || !ok3 || c.look {
		return
	}
	c.lock()
	defer c.mu.Unlock()
	if c.pairs[pair{a, b}] == d {
		return
	}
	c.pairs[pair{a, b}] = d
	c.add(fmt.Appendf(nil, "C %x %x %x", d, a, b))
}

// Expiry returns when an image expires that has this metadata file, if that was
// read before; the zero time for never. It depends on the content alone.
func (c *Cache) Expiry(sha256 string) (time.Time, bool) {
	d, ok := parseDigest(sha256)
	c.lock()
	end, known := c.ends[d]
	c.mu.Unlock()
	switch {
	case !ok || !known:
		return time.Time{}, false
	case end == 0:
		return time.Time{}, true
	}
	return time.Unix(end, 0).UTC(), true
}

// PutExpiry notes when an image expires that has this metadata file.
func (c *Cache) PutExpiry(sha256 string, end time.Time) {
	d, ok := parseDigest(sha256)
	if !ok || c.look {
		return
	}
	var seconds int64
	if !end.IsZero() {
		seconds = end.Unix()
	}
	c.lock()
	defer c.mu.Unlock()
	if was, known := c.ends[d]; known && was == seconds {
		return
	}
	c.ends[d] = seconds
	c.add(expiryLine(d, seconds))
}

func expiryLine(d digest, seconds int64) []byte { return fmt.Appendf(nil, "E %x %d", d, seconds) }

// Forget drops what is known of a path.
func (c *Cache) Forget(path string) {
	c.lock()
	defer c.mu.Unlock()
	if _, ok := c.files[path]; ok && !c.look {
		delete(c.files, path)
		c.add([]byte("D " + path))
	}
}

// maxFresh bounds the lines that wait to be written, in bytes.
const maxFresh = 1 << 20

// add takes a line that is to be stored. The caller holds mu.
func (c *Cache) add(text []byte) {
	if c.path == "" {
		return
	}
	c.fresh.Write(durable.Line(text))
	if c.fresh.Len() >= maxFresh {
		c.lost = errors.Join(c.lost, c.flush())
	}
}

// Save appends what is new. A cache that cannot be written, as for a reader
// without permission or on a full disk, is only slower next time: that is no
// error.
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
	// The line that a killed writer tore must not take the next one with it.
	if fi, err := f.Stat(); err == nil && fi.Size() > 0 {
		last := []byte{0}
		if _, err := f.ReadAt(last, fi.Size()-1); err == nil && last[0] != '\n' {
			lines = append([]byte{'\n'}, lines...)
		}
	}
	c.lines += bytes.Count(lines, []byte{'\n'})
	_, err = f.Write(lines)
	return unlessUnwritable(errors.Join(err, f.Close()))
}

// MendCache replaces a cache at path that others could write to by an empty one,
// if that is this user's to do. A missing one stays missing.
func MendCache(path string) error {
	c := OpenCache(path)
	f, err := c.openOwn()
	if f == nil {
		return unlessUnwritable(err)
	}
	return f.Close()
}

// ours reports whether this user's word counts.
func (c *Cache) ours() bool {
	me := os.Geteuid()
	return me == 0 || uint32(me) == c.owner
}

// openOwn opens the file to append to it; nil for a user whose word does not
// count. One that others could write to, as older versions made it for a group,
// is replaced by an empty one: who has it open still writes to the old.
func (c *Cache) openOwn() (*os.File, error) {
	if !c.ours() {
		return nil, nil
	}
	f, err := durable.OpenAppend(c.path)
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
	for _, harmless := range []error{fs.ErrNotExist, fs.ErrPermission, durable.ErrNotRegular, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, harmless) {
			return nil
		}
	}
	return err
}

// Compact writes the file anew when most of its lines are of no use: only the
// files for which keep is true, and the pairs and expiries whose contents are
// still there. expect is how many files that will be. Call it under the staging
// lock, with everything saved.
func (c *Cache) Compact(expect int, keep func(path string) bool) error {
	c.lock()
	defer c.mu.Unlock()
	fi, err := os.Lstat(c.path)
	if err != nil || !c.believed(fi) {
		return nil
	}
	if c.lines < len(c.files)+len(c.pairs)+len(c.ends)+1000 && len(c.files) < 2*expect {
		return nil // few lines are superseded, and few files gone
	}
	live := make(map[digest]bool, len(c.files))
	n := 0
	for p, e := range c.files {
		if keep(p) {
			live[e.sum] = true
			n++
		}
	}
	for p := range c.pairs {
		if live[p.first] && live[p.second] {
			n++
		}
	}
	for d := range c.ends {
		if live[d] {
			n++
		}
	}
	if c.lines < 2*n+1000 {
		return nil
	}
	var out bytes.Buffer
	for p, e := range c.files {
		if keep(p) {
			out.Write(durable.Line(e.line(p)))
		}
	}
	for p, both := range c.pairs {
		if live[p.first] && live[p.second] {
			out.Write(durable.Line(fmt.Appendf(nil, "C %x %x %x", both, p.first, p.second)))
		}
	}
	for d, seconds := range c.ends {
		if live[d] {
			out.Write(durable.Line(expiryLine(d, seconds)))
		}
	}
	if err := durable.WriteFile(c.path, out.Bytes(), fi.Mode().Perm()); err != nil {
		return unlessUnwritable(err)
	}
	c.lines = n
	return nil
}
