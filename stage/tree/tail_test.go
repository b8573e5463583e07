package tree

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/durable"
)

// Of several lines for a path the newest one counts, whether it was read or written by this
// process, or by another one that writes to the same file.
func TestCacheTail(t *testing.T) {
	p := newCache(t)
	now := time.Unix(1000, 500)
	st := at(now, time.Minute)
	const n = 11_000 // so that lines are written before Save
	path := func(i int) string { return fmt.Sprint(strings.Repeat("d/", i%7*3), i) }
	check := func(what string, c *Cache, want func(i int) string) {
		t.Helper()
		for i := range n {
			if got, _, _ := c.Lookup(path(i), st); got != want(i) {
				t.Fatalf("%s: %s has %q, want %q", what, path(i), got, want(i))
			}
		}
	}
	version := func(v int) func(i int) string { return func(i int) string { return sumOf(i + v*n) } }
	for v := range 3 {
		c, other := OpenCache(p), OpenCache(p)
		if v > 0 {
			check("as it was", c, version(v-1))
		}
		for i := range n {
			c.Put(path(i), st, version(v)(i), now)
			other.Put(path(i)+".other", st, one, now)
		}
		if len(c.files) > n/2 || c.tail.n < n/2 {
			t.Errorf("%d files are in the map, and %d are not", len(c.files), c.tail.n)
		}
		check("put", c, version(v))
		must(t, c.Save())
		must(t, other.Save())
		check("saved", c, version(v))
		if v == 1 {
			must(t, OpenCache(p).Compact(2*n, everything))
			check("while another process compacts it", c, version(v))
		}
		check("again", OpenCache(p), version(v))
	}
	c := OpenCache(p)
	c.Forget(path(5))
	c.Put(path(6), st, one, now)
	must(t, c.Save())
	c = OpenCache(p)
	want := func(i int) string {
		switch i {
		case 5:
			return ""
		case 6:
			return one
		}
		return version(2)(i)
	}
	check("lines", c, want)
	must(t, c.Compact(2*n, everything))
	c = OpenCache(p)
	check("compacted", c, want)
	if c.tail.n != 0 || len(c.packed.files) != 2*n-1 {
		t.Errorf("%d files were compacted, and %d were not", len(c.packed.files), c.tail.n)
	}
}

// A process that finds another file in the place of its own does not take lines of one for
// those of the other.
func TestCacheTailOfAnotherFile(t *testing.T) {
	p := newCache(t)
	now := time.Unix(1000, 500)
	st := at(now, time.Minute)
	const n = 10_000
	c := OpenCache(p)
	for v := range 3 {
		for i := range n {
			c.Put(fmt.Sprint(i), st, sumOf(i+v*n), now)
		}
		must(t, os.Remove(p))
		must(t, os.WriteFile(p, bytes.Repeat(durable.Line([]byte("Z")), v), 0o644))
		for i := range n {
			if got, _, _ := c.Lookup(fmt.Sprint(i), st); got != sumOf(i+v*n) {
				t.Fatalf("%d: %d has %q", v, i, got)
			}
		}
	}
}

// What cannot be read any more is not known, and long paths are.
func TestCacheTailSpoiled(t *testing.T) {
	p := newCache(t)
	now := time.Unix(1000, 500)
	st := at(now, time.Minute)
	long := strings.Repeat("x", maxPath)
	c := OpenCache(p)
	for _, path := range []string{"a", long, "b", "c"} {
		c.Put(path, st, one, now)
	}
	must(t, c.Save())
	c = OpenCache(p)
	for _, path := range []string{"b", long, "a", "c", long} {
		if _, _, ok := c.Lookup(path, st); !ok {
			t.Errorf("%.4s is not known", path)
		}
	}
	must(t, os.Truncate(p, 300))
	for path, want := range map[string]bool{"a": true, long: false, "b": false, "c": false} {
		c.tail.window = nil
		if _, _, ok := c.Lookup(path, st); ok != want {
			t.Errorf("%.4s: known %v", path, ok)
		}
	}
}
