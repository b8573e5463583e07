package stage

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/publish/stage/simplestreams"
	"example.com/publish/stage/tree"
)

// countReads counts the metadata files that are read.
type countReads struct {
	simplestreams.Format
	read *atomic.Int32
}

func (c countReads) Expires(r io.Reader) (time.Time, error) {
	c.read.Add(1)
	return c.Format.Expires(r)
}

// What a metadata file says is read once, and never believed of other bytes.
func TestExpiriesAreReadOnce(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "one", ""))
	add(t, s, built(t, "two", ""))
	reads := new(atomic.Int32)
	s.Format = countReads{read: reads}
	look := func(open func(string) *tree.Cache) *Expiries {
		t.Helper()
		checked, err := s.Look(t.Context())
		must(t, err)
		reads.Store(0)
		e, err := s.Expiries(t.Context(), checked, func(p string) bool { return strings.HasPrefix(p, "one:") }, open)
		must(t, err)
		return e
	}
	for n, want := range []int32{1, 1, 0} {
		open := tree.OpenCache
		if n == 0 {
			open = tree.ReadCache // which leaves no trace
		}
		if e := look(open); reads.Load() != want || len(e.At) != 1 || len(e.Unread) != 0 {
			t.Errorf("run %d read %d files: %+v", n, reads.Load(), e)
		}
	}

	// Its file is no tarball any more: what was noted is of other bytes.
	meta := simplestreams.ContentPath("incus.tar.xz", sum(metadataFor(t, "one", "")))
	must(t, os.Remove(filepath.Join(s.Dir, meta)))
	must(t, os.WriteFile(filepath.Join(s.Dir, meta), []byte("no tarball"), 0o644))
	if e := look(tree.OpenCache); reads.Load() != 1 || len(e.Unread) != 1 || !strings.HasPrefix(e.Unread[0].Error(),
		meta+": ") {
		t.Errorf("%d, %+v", reads.Load(), e)
	}
	// And when the lines of contents that are gone make most of the cache, they go.
	cache := tree.OpenCache(s.Hashes)
	for range 2000 {
		cache.PutExpiry(sum([]byte(time.Now().String())), time.Time{})
	}
	must(t, cache.Save())
	must(t, tree.OpenCache(s.Hashes).Compact(0, func(string) bool { return true }))
	if data := read(t, s.Hashes); strings.Count(string(data), " E ") > 2 {
		t.Errorf("%d lines are left", strings.Count(string(data), " E "))
	}
}
