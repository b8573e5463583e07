package tree

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
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
// The file begins with what was known when it was compacted (see packed); lines
// of text are appended to that (see durable.Line), and the newest wins. Appends
// of one line are atomic enough for several writers; compaction happens under the
// staging lock. A line that a crash tore is passed over. A file of older versions
// has lines alone; to them all that is not a line is damage.
type Cache struct {
	path   string
	unread string // what to read when first asked
	look   bool   // what is new is forgotten
	owner  uint32 // whose sealed files stay as they are

	mu     sync.Mutex
	packed packed
	files  map[string]cached // what is newer than that
	pairs  map[pair]digest
	ends   map[digest]int64 // when an image expires, by its metadata: see Expiry
	fresh  bytes.Buffer     // lines not yet written
	lines  int              // in the file
	lost   error            // why some were not written

	released int // how many files were known before a Release
}

type digest [32]byte

type pair struct{ first, second digest }

type cached struct {
	sum          digest
	size         int64
	mtime, ctime int64
	ino          uint64
	sealed       bool
	gone         bool // forgotten since
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
	return &Cache{path: path, unread: unread, look: look, owner: owner,
		files: map[string]cached{}, pairs: map[pair]digest{}, ends: map[digest]int64{}}
}

// lock takes mu, with the file read.
func (c *Cache) lock() {
	c.mu.Lock()
	if c.unread != "" {
		c.load()
		c.unread = ""
	}
}

// Lookup returns the verified sha256 of the file at path, if it is still in
// the state s, and whether this program sealed it.
func (c *Cache) Lookup(path string, s Stat) (sha256 string, sealed, ok bool) {
	return c.LookupLike(path, s, "")
}

// LookupLike is Lookup for a file that may well have the sha256 like: if so, the
// answer is that very string. Of a large tree every copy counts.
func (c *Cache) LookupLike(path string, s Stat, like string) (sha256 string, sealed, ok bool) {
	c.lock()
	e, ok := c.find(path)
	c.mu.Unlock()
	if !ok || e.size != s.Size || e.mtime != s.Mtime || e.ino != s.Ino {
		return "", false, false
	}
	sealed = e.sealed && s.Mode.Perm()&0o222 == 0 && s.UID == c.owner
	if !sealed && e.ctime != s.Ctime {
		return "", false, false
	}
	return e.sum.text(like), sealed, true
}

// text is a digest in hex: the string like, if it is that.
func (d digest) text(like string) string {
	var buf [2 * len(d)]byte
	if hex.Encode(buf[:], d[:]); string(buf[:]) == like {
		return like
	}
	return string(buf[:])
}

// find is what is known of a path. The caller holds mu.
func (c *Cache) find(path string) (cached, bool) {
	if e, ok := c.files[path]; ok {
		return e, !e.gone
	}
	return c.packed.find(path)
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
	if len(path) > maxPath {
		return
	}
	e := cached{size: s.Size, mtime: s.Mtime, ctime: s.Ctime, ino: s.Ino, sealed: sealed}
	var ok bool
	if e.sum, ok = parseDigest(sha256); !ok || c.look || path == "" || strings.ContainsRune(path, '\n') {
		return
	}
	c.lock()
	defer c.mu.Unlock()
	if was, ok := c.find(path); ok && was == e {
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
	both, ok := c.pair(pair{a, b})
	c.mu.Unlock()
	if !ok || !ok1 || !ok2 {
		return "", false
	}
	return both.text(""), true
}

// pair is Pair. The caller holds mu.
func (c *Cache) pair(of pair) (digest, bool) {
	if both, ok := c.pairs[of]; ok {
		return both, true
	}
	return c.packed.pair(of)
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
	if was, ok := c.pair(pair{a, b}); ok && was == d {
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
	if _, ok := c.find(path); ok && !c.look {
		c.files[path] = cached{gone: true}
		c.add([]byte("D " + path))
	}
}
