package tree

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Cache stores the hashes of verified files, so that an unchanged file needs only
// a stat. If the cache is lost, everything is hashed again; nothing else happens.
//
// An entry is valid while the inode, size, mtime and ctime of the file are the
// same as when it was hashed. They must have been old enough then (see settled).
// A *sealed* file is one that this program wrote and made read-only. Generations
// share it by hard link, and each new or removed link changes its ctime. So for
// sealed files ctime is not compared. If root writes to such a file and sets mtime
// back, only verify and validate --full find it.
//
// A sealed file of another user does not count as sealed: its owner can make it
// writable again, write, and set mtime back.
//
// Anyone who can write to the cache file could claim that any bytes were verified.
// So the file is trusted only if it belongs to the owner of its directory, or to
// root, and nobody else may write to it. Hashes that another user computes are not
// stored.
//
// The file begins with a packed part, which Compact wrote (see packed). Lines of
// text are appended to that (see durable.Line), and the newest line for a path
// wins. Several processes may append at once, because a line is written in one
// system call. Compaction needs the staging lock. A line that a crash tore is
// skipped. A file of an older version has only lines; older versions skip the
// packed part as damage.
type Cache struct {
	path   string
	unread string // file to read at the first question
	look   bool   // read-only: new entries are not stored
	owner  uint32 // the user whose sealed files can be trusted

	mu     sync.Mutex
	packed packed
	tail   lines             // of files, newer than packed
	file   *os.File          // has packed and tail; nil for none. Without Release the runtime closes it
	files  map[string]cached // newer than those
	pairs  map[pair]digest
	ends   map[digest]int64 // when an image expires, by its metadata: see Expiry
	longs  map[digest]long  // the sha512 of contents
	by     *holders         // nil until it is needed
	fresh  bytes.Buffer     // lines not yet written
	lines  int              // in the file
	lost   error            // the error of an earlier write

	released int // number of files that Release freed, or that are in the file alone
}

type digest [32]byte

type long [64]byte // a sha512

type pair struct{ first, second digest }

type cached struct {
	sum          digest
	size         int64
	mtime, ctime int64
	ino          uint64
	sealed       bool
	gone         bool // Forget was called
}

// OpenCache returns the cache at path. It reads the file at the first question, so
// that a walk before that can use the memory. A missing or damaged file gives an
// empty cache. With an empty path the cache is never stored.
func OpenCache(path string) *Cache { return makeCache(path, path, false) }

// ReadCache opens the cache read-only: new results are not stored.
func ReadCache(path string) *Cache { return makeCache(path, path, true) }

// AppendTo returns an empty cache that appends to the file at path without reading
// it, for a writer that only adds entries.
func AppendTo(path string) *Cache { return makeCache(path, "", false) }

func makeCache(path, unread string, look bool) *Cache {
	owner := uint32(os.Geteuid())
	if path != "" {
		if fi, err := os.Stat(filepath.Dir(path)); err == nil {
			owner = StatOf(fi).UID
		}
	}
	return &Cache{path: path, unread: unread, look: look, owner: owner,
		files: map[string]cached{}, pairs: map[pair]digest{}, ends: map[digest]int64{}, longs: map[digest]long{}}
}

// lock takes mu, and reads the file if that has not been done.
func (c *Cache) lock() {
	c.mu.Lock()
	if c.unread != "" {
		c.load()
		c.unread = ""
	}
}

// Lookup returns the verified sha256 of the file at path in the state s, and
// whether this program sealed it. ok is false if the hash is unknown, or is for
// another state.
func (c *Cache) Lookup(path string, s Stat) (sha256 string, sealed, ok bool) {
	return c.LookupLike(path, s, "")
}

// LookupLike is Lookup for a file that probably has the sha256 like. If it does,
// the result is that string itself, which saves memory for large trees.
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

// text returns a digest in hex; the string like itself if that is equal.
func (d digest) text(like string) string {
	var buf [2 * len(d)]byte
	if hex.Encode(buf[:], d[:]); string(buf[:]) == like {
		return like
	}
	return string(buf[:])
}

// find returns the entry of a path. The caller holds mu.
func (c *Cache) find(path string) (cached, bool) {
	if e, ok := c.files[path]; ok {
		return e, !e.gone
	}
	if e, ok := c.inTail(path); ok {
		return e, true
	}
	return c.packed.find(path)
}

// Put stores the hash of the file at path in the state s. at is when hashing
// began. It stores nothing if the state is too recent to be trusted (see settled).
// A sealed file stays sealed if its hash is the same.
func (c *Cache) Put(path string, s Stat, sha256 string, at time.Time) {
	c.store(path, s, sha256, at, false)
}

// Note is Put for a file that this Cache is not asked for any more: for a large tree it
// would need much memory. It reports whether a Cache that is opened after Save knows the hash.
func (c *Cache) Note(path string, s Stat, sha256 string, at time.Time) bool {
	return c.store(path, s, sha256, at, true)
}

func (c *Cache) store(path string, s Stat, sha256 string, at time.Time, lean bool) bool {
	known, sealed, ok := c.Lookup(path, s)
	switch {
	case ok && sealed && known == sha256:
		return true
	case s.settled(at):
		return c.put(path, s, sha256, false, lean)
	case ok && known != sha256:
		c.Forget(path)
	}
	return false
}

// PutSealed stores the hash of a file that this program wrote to path, and sealed
// in the state s.
func (c *Cache) PutSealed(path string, s Stat, sha256 string) {
	c.put(path, s, sha256, true, false)
}

func (c *Cache) put(path string, s Stat, sha256 string, sealed, lean bool) bool {
	if len(path) > maxPath {
		return false
	}
	e := cached{size: s.Size, mtime: s.Mtime, ctime: s.Ctime, ino: s.Ino, sealed: sealed}
	var ok bool
	if e.sum, ok = parseDigest(sha256); !ok || c.look || path == "" || strings.ContainsRune(path, '\n') {
		return false
	}
	c.lock()
	defer c.mu.Unlock()
	if was, ok := c.find(path); ok && was == e {
		return true
	}
	if lean && c.path != "" {
		delete(c.files, path)
		c.released++
	} else {
		c.files[path] = e
	}
	c.add(e.line(path))
	return true
}

func (e cached) line(path string) []byte {
	flag := byte('0')
	if e.sealed {
		flag = '1'
	}
	b := append(make([]byte, 0, 160+len(path)), "F "...)
	b = append(hex.AppendEncode(b, e.sum[:]), ' ', flag, ' ')
	for _, n := range []int64{e.size, e.mtime, e.ctime} {
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	b = append(strconv.AppendUint(b, e.ino, 10), ' ')
	return append(b, path...)
}

// Pair returns the sha256 over the concatenation of two files, if it was stored
// before. first and second are the sha256 of the files.
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

// PutPair stores the sha256 over the concatenation of two files.
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

// Expiry returns the expiry of the image whose metadata file has this sha256, if
// it was stored before; the zero time for never.
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

// PutExpiry stores the expiry of the image whose metadata file has this sha256;
// the zero time for never.
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

// SHA512 returns the sha512 of the content with this sha256, if it was stored before.
func (c *Cache) SHA512(sha256 string) (string, bool) {
	d, ok := parseDigest(sha256)
	c.lock()
	sum, known := c.longs[d]
	c.mu.Unlock()
	if !ok || !known {
		return "", false
	}
	return hex.EncodeToString(sum[:]), true
}

// PutSHA512 stores the sha512 of the content with this sha256.
func (c *Cache) PutSHA512(sha256, sha512 string) {
	d, ok := parseDigest(sha256)
	sum, ok2 := parseLong(sha512)
	if !ok || !ok2 || c.look {
		return
	}
	c.lock()
	defer c.mu.Unlock()
	if was, known := c.longs[d]; known && was == sum {
		return
	}
	c.longs[d] = sum
	c.add(fmt.Appendf(nil, "L %x %x", d, sum))
}

// Forget removes the entry of a path.
func (c *Cache) Forget(path string) {
	c.lock()
	defer c.mu.Unlock()
	if _, ok := c.find(path); ok && !c.look {
		c.files[path] = cached{gone: true}
		c.add([]byte("D " + path))
	}
}
