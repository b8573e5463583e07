package tree

import (
	"encoding/binary"
	"iter"
)

// holders finds sealed files by their hashes. To save memory, those of packed are
// chained by number, and found by the first 8 bytes of the hash.
type holders struct {
	first map[uint64]uint32 // the number of a file of packed, plus 1
	next  []uint32          // by number of a file of packed: the next one of its chain, plus 1
	newer map[digest][]holder
}

type holder struct {
	path string
	ino  uint64
}

func (d digest) prefix() uint64 { return binary.LittleEndian.Uint64(d[:]) }

// Holders yields the paths and inodes of sealed files that had a sha256 when they were
// stored. A file may have changed since then, or have gone: ask Lookup. Files that are
// stored after the first call are not among them. Do not call Compact meanwhile.
func (c *Cache) Holders(sha256 string) iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		sum, ok := parseDigest(sha256)
		if !ok {
			return
		}
		c.lock()
		if c.by == nil {
			c.by = c.holders()
		}
		by := c.by
		c.mu.Unlock()
		for _, h := range by.newer[sum] {
			if !yield(h.path, h.ino) {
				return
			}
		}
		for i := by.first[sum.prefix()]; i > 0; i = by.next[i-1] {
			if e := c.packed.file(int(i - 1)); e.sum == sum && !yield(string(c.packed.path(int(i-1))), e.ino) {
				return
			}
		}
	}
}

// holders makes the index. The caller holds mu.
func (c *Cache) holders() *holders {
	n := len(c.packed.files)
	by := &holders{first: make(map[uint64]uint32, n), next: make([]uint32, n), newer: map[digest][]holder{}}
	for i := range n {
		if e := c.packed.file(i); e.sealed {
			by.next[i] = by.first[e.sum.prefix()]
			by.first[e.sum.prefix()] = uint32(i + 1)
		}
	}
	for path, e := range c.sealed() {
		by.newer[e.sum] = append(by.newer[e.sum], holder{path, e.ino})
	}
	return by
}
