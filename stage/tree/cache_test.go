package tree

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/durable"
)

func newCache(t testing.TB) string {
	p := filepath.Join(t.TempDir(), "hashes")
	must(t, os.WriteFile(p, nil, 0o640))
	return p
}

var (
	one   = sum([]byte("one"))
	two   = sum([]byte("two"))
	three = sum([]byte("three"))
)

// at returns the state of a file that changed long ago.
func at(now time.Time, age time.Duration) Stat {
	n := now.Add(-age).UnixNano()
	return Stat{Size: 3, Ino: 7, Mtime: n, Ctime: n, Mode: 0o644, UID: uint32(os.Geteuid())}
}

func TestCache(t *testing.T) {
	p := newCache(t)
	now := time.Unix(1000, 500)
	st := at(now, time.Minute)
	sealed := st
	sealed.Mode = 0o444
	c := OpenCache(p)
	c.Put("a b", st, one, now)
	c.PutSealed("s", sealed, two)
	c.PutPair(one, two, three)
	for range 2 {
		if got, isSealed, ok := c.Lookup("a b", st); got != one || isSealed || !ok {
			t.Errorf("%s %v %v", got, isSealed, ok)
		}
		if got, isSealed, ok := c.Lookup("s", sealed); got != two || !isSealed || !ok {
			t.Errorf("%s %v %v", got, isSealed, ok)
		}
		if got, ok := c.Pair(one, two); got != three || !ok {
			t.Errorf("%s %v", got, ok)
		}
		if _, ok := c.Pair(two, one); ok {
			t.Error("a pair the other way round")
		}
		must(t, c.Save())
		c = OpenCache(p)
	}
	for name, change := range map[string]func(s *Stat){
		"size": func(s *Stat) { s.Size++ }, "mtime": func(s *Stat) { s.Mtime++ }, "inode": func(s *Stat) { s.Ino++ },
		"ctime": func(s *Stat) { s.Ctime++ },
	} {
		other, otherSealed := st, sealed
		change(&other)
		change(&otherSealed)
		if _, _, ok := c.Lookup("a b", other); ok {
			t.Errorf("another %s is believed", name)
		}
		if _, _, ok := c.Lookup("s", otherSealed); ok != (name == "ctime") { // links change it
			t.Errorf("another %s of a sealed file: %v", name, ok)
		}
	}
	unsealed := sealed
	unsealed.Mode, unsealed.Ctime = 0o644, sealed.Ctime+1
	if _, _, ok := c.Lookup("s", unsealed); ok {
		t.Error("a file that can be written to again is believed")
	}
	c.Forget("a b")
	if _, _, ok := c.Lookup("a b", st); ok {
		t.Error("it has not forgotten")
	}
	must(t, c.Save())
	if _, _, ok := OpenCache(p).Lookup("a b", st); ok {
		t.Error("it remembers again")
	}
}

func TestCacheOfAYoungFile(t *testing.T) {
	now := time.Unix(1000, 500_000_000)
	for _, c := range []struct {
		name string
		stat Stat
		kept bool
	}{
		{"a minute old", at(now, time.Minute), true},
		{"just changed", at(now, time.Millisecond), false},
		{"the tick of a coarse clock", at(now, 1500*time.Millisecond), false}, // a whole second
		{"finer", at(now, 1501*time.Millisecond), true},
		{"from the future", Stat{Size: 3, Ino: 7, Ctime: now.UnixNano() - 1e9, Mtime: now.Add(time.Hour).UnixNano()},
			false},
	} {
		cache := OpenCache("")
		cache.Put("f", c.stat, one, now)
		if _, _, ok := cache.Lookup("f", c.stat); ok != c.kept {
			t.Errorf("%s: kept %v", c.name, ok)
		}
	}
}

// A sealed file that is read again stays sealed, unless it has other bytes.
func TestCacheReadsASealedFile(t *testing.T) {
	now := time.Unix(1000, 500)
	for _, age := range []time.Duration{time.Millisecond, time.Minute} {
		st := at(now, age)
		st.Mode = 0o444
		c := OpenCache("")
		c.PutSealed("same", st, one)
		c.PutSealed("other", st, one)
		st.Ctime++ // a link was made
		c.Put("same", st, one, now)
		c.Put("other", st, two, now)
		if got, sealed, ok := c.Lookup("same", st); got != one || !sealed || !ok {
			t.Errorf("changed %v ago, the same bytes: %.4s, sealed %v, known %v", age, got, sealed, ok)
		}
		if got, sealed, ok := c.Lookup("other", st); got == one || sealed || ok != (age == time.Minute) {
			t.Errorf("changed %v ago, other bytes: %.4s, sealed %v, known %v", age, got, sealed, ok)
		}
	}
}

// A damaged line does not affect the lines after it.
func TestCacheDamaged(t *testing.T) {
	now := time.Unix(1000, 500)
	st := at(now, time.Minute)
	for name, damage := range map[string]string{
		"nothing":       "",
		"text":          "what is this\n",
		"a torn line":   "0123",
		"a long hole":   strings.Repeat("\x00", 200_000) + "\n",
		"a bad sum":     "00000000 F x\n",
		"empty lines":   "\n\n\n",
		"a sealed lie":  string(durable.Line([]byte("F zz 1 1 1 1 1 f"))),
		"a short hash":  string(durable.Line([]byte("F abcd 0 3 1 1 1 f"))),
		"no path":       string(durable.Line([]byte("F " + one + " 0 3 1 1 1 "))),
		"a strange one": string(durable.Line([]byte("Z 1 2 3"))),
	} {
		p := newCache(t)
		must(t, os.WriteFile(p, []byte(damage), 0o644))
		c := OpenCache(p)
		c.Put("f", st, one, now)
		must(t, c.Save())
		if got, _, ok := OpenCache(p).Lookup("f", st); !ok || got != one {
			t.Errorf("%s: what was written after it is lost", name)
		}
	}
	if _, _, ok := OpenCache(filepath.Join(t.TempDir(), "gone")).Lookup("f", st); ok {
		t.Error("a cache that is not there knows something")
	}
}

func TestCacheUnwritable(t *testing.T) {
	now := time.Unix(1000, 500)
	c := OpenCache(filepath.Join(t.TempDir(), "gone"))
	c.Put("f", at(now, time.Minute), one, now)
	must(t, c.Save())
	if _, err := os.Stat("/dev/full"); err == nil {
		c = AppendTo("/dev/full")
		c.Put("f", at(now, time.Minute), one, now)
		must(t, c.Save())
	}
}

func TestCacheTakesNoLineBreak(t *testing.T) {
	p := newCache(t)
	now := time.Unix(1000, 500)
	c := OpenCache(p)
	c.Put("a\nb", at(now, time.Minute), one, now)
	c.Put("", at(now, time.Minute), one, now)
	c.Put("x", at(now, time.Minute), "no hash", now)
	must(t, c.Save())
	data, err := os.ReadFile(p)
	must(t, err)
	if len(data) > 0 {
		t.Errorf("written: %q", data)
	}
}

func TestCacheCompact(t *testing.T) {
	p := newCache(t)
	now := time.Unix(1000, 500)
	c := OpenCache(p)
	st := at(now, time.Minute)
	for i := range 2000 {
		st.Mtime--
		c.Put(fmt.Sprint("f", i%10), st, sum(fmt.Append(nil, i)), now)
	}
	c.Put("gone", st, one, now)
	c.PutPair(sum([]byte("1999")), sum([]byte("1998")), one)
	c.PutPair(one, two, three)
	must(t, c.Save())
	before, err := os.Stat(p)
	must(t, err)
	must(t, c.Compact(0, func(p string) bool { return p != "gone" }))
	after, err := os.Stat(p)
	must(t, err)
	if after.Size() > before.Size()/100 || after.Mode() != 0o640 {
		t.Errorf("%d bytes of %d, mode %v", after.Size(), before.Size(), after.Mode())
	}
	c = OpenCache(p)
	if got, _, ok := c.Lookup("f9", st); !ok || got != sum([]byte("1999")) {
		t.Errorf("the newest is %s", got)
	}
	if _, ok := c.Pair(sum([]byte("1999")), sum([]byte("1998"))); !ok {
		t.Error("a live pair is gone")
	}
	if _, ok := c.Pair(one, two); ok {
		t.Error("a pair of what is gone is there")
	}
	if _, _, ok := c.Lookup("gone", st); ok {
		t.Error("what was not kept is there")
	}
	// Too few lines to be worth it: nothing is written.
	must(t, c.Compact(0, func(string) bool { return false }))
	if fi, err := os.Stat(p); err != nil || fi.Size() != after.Size() {
		t.Error("it was written anew for nothing")
	}
}

// Reading any file does not panic, and returns only what was stored.
func FuzzCache(f *testing.F) {
	now := time.Unix(1000, 500)
	c := OpenCache("")
	c.Put("a b", at(now, time.Minute), one, now)
	c.PutSealed("s", at(now, time.Minute), two)
	c.PutPair(one, two, three)
	c.Forget("a b")
	f.Add(c.fresh.Bytes())
	f.Add([]byte("F " + one + " 1 3 1 1 1 f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		OpenCache("").read(bytes.NewReader(data))
		c := OpenCache("")
		for line := range bytes.Lines(data) { // without the checksum, which no fuzzer finds
			c.parse(bytes.TrimSuffix(line, []byte("\n")), -1)
		}
		for path, e := range c.files {
			if e.gone {
				continue
			}
			again := OpenCache("")
			again.parse(e.line(path), -1)
			if again.files[path] != e {
				t.Errorf("%q: %+v becomes %+v", path, e, again.files[path])
			}
		}
	})
}

// A read-only cache writes nothing. A cache with many new entries writes some of
// them before Save.
func TestCacheIsWrittenAsItGrows(t *testing.T) {
	p := newCache(t)
	st := Stat{Size: 1, Ino: 1}
	note := func(c *Cache) {
		t.Helper()
		for n := range 20_000 {
			c.Put(fmt.Sprint("f", n), st, one, time.Now())
		}
		if c.fresh.Len() >= maxFresh {
			t.Errorf("%d bytes wait to be written", c.fresh.Len())
		}
		if err := c.Save(); err != nil {
			t.Error(err)
		}
	}
	note(ReadCache(p))
	if data, err := os.ReadFile(p); err != nil || len(data) > 0 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	note(OpenCache(p))
	again := OpenCache(p)
	for n := range 20_000 {
		if _, _, ok := again.Lookup(fmt.Sprint("f", n), st); !ok {
			t.Fatalf("f%d is forgotten", n)
		}
	}
}

// Anyone who can write to the cache could forge it. So it is trusted only if nobody
// except its owner can write to it, and the next writer replaces one that others
// could write to.
func TestCacheOfOthers(t *testing.T) {
	p := newCache(t)
	now := time.Unix(1000, 0)
	st := at(now, time.Minute)
	c := OpenCache(p)
	c.Put("a", st, one, now)
	must(t, c.Save())
	for _, mode := range []os.FileMode{0o664, 0o646, 0o666} {
		must(t, os.Chmod(p, mode))
		if sum, _, ok := OpenCache(p).Lookup("a", st); ok {
			t.Errorf("mode %v: %s is believed", mode, sum)
		}
	}
	held, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0) // a builder has it open
	must(t, err)
	defer held.Close()
	c = OpenCache(p)
	c.Put("b", st, two, now)
	must(t, c.Save())
	_, err = held.Write(durable.Line(fmt.Appendf(nil, "F %s 0 %d %d %d %d c", three, st.Size, st.Mtime, st.Ctime,
		st.Ino)))
	must(t, err)
	if fi, err := os.Stat(p); err != nil || fi.Mode() != 0o644 {
		t.Errorf("%v %v", fi, err)
	}
	c = OpenCache(p)
	for path, want := range map[string]bool{"a": false, "b": true, "c": false} {
		if _, _, ok := c.Lookup(path, st); ok != want {
			t.Errorf("%s: known %v", path, ok)
		}
	}
	must(t, os.Chmod(p, 0o664))
	must(t, MendCache(p))
	if data, err := os.ReadFile(p); err != nil || len(data) > 0 {
		t.Errorf("mended: %q %v", data, err)
	}
	must(t, os.Remove(p))
	must(t, MendCache(p))
	if _, err := os.Lstat(p); err == nil {
		t.Error("mending made the cache")
	}
	c.Put("b", st, one, now)
	must(t, c.Save())
	if sum, _, _ := OpenCache(p).Lookup("b", st); sum != one {
		t.Errorf("a cache that was removed: %q is known", sum)
	}
}

// Another user can make his sealed file writable again, write to it, and set its
// mtime back. So for his files ctime counts.
func TestSealedByOthers(t *testing.T) {
	p := newCache(t)
	mine := at(time.Unix(1000, 0), time.Minute)
	mine.Mode = 0o444
	theirs := mine
	theirs.UID++
	c := OpenCache(p)
	c.PutSealed("mine", mine, one)
	c.PutSealed("theirs", theirs, one)
	mine.Ctime, theirs.Ctime = mine.Ctime+1, theirs.Ctime+1
	if _, sealed, ok := c.Lookup("mine", mine); !sealed || !ok {
		t.Error("a link made the owner's file unknown")
	}
	if _, sealed, ok := c.Lookup("theirs", theirs); sealed || ok {
		t.Error("another user's word is believed")
	}
}

// The sha512 of a content is remembered, in lines and packed, as long as a file has the
// content.
func TestCacheSHA512(t *testing.T) {
	p := newCache(t)
	const n = 3000 // some blocks, and too many lines to stay such
	paths, _, _ := filled(t, p, n)
	c := OpenCache(p)
	long := func(i int) string { return sumOf(i) + sumOf(-i) }
	for i := range n {
		c.PutSHA512(sumOf(i), long(i))
		c.PutSHA512(sumOf(i), "no hash")
	}
	must(t, c.Save())
	check := func(what string, from int) {
		t.Helper()
		c := OpenCache(p)
		for i := range n {
			if got, ok := c.SHA512(sumOf(i)); ok != (i >= from) || ok && got != long(i) {
				t.Fatalf("%s: %d: %s, %v", what, i, got, ok)
			}
		}
		if _, ok := c.SHA512(sumOf(n)); ok {
			t.Errorf("%s: what was not stored is known", what)
		}
	}
	check("lines", 0)
	must(t, OpenCache(p).Compact(n, everything))
	check("packed", 0)
	gone := map[string]bool{}
	for _, path := range paths[:n*2/3] {
		gone[path] = true
	}
	must(t, OpenCache(p).Compact(n/10, func(path string) bool { return !gone[path] }))
	check("packed again", n*2/3)
}

// Holders finds sealed files by their hashes: those of the packed part and of the lines,
// stored by this process or another one.
func TestCacheHolders(t *testing.T) {
	p := newCache(t)
	now := time.Now()
	st := at(now, time.Minute)
	c := OpenCache(p)
	for i, path := range []string{"a", "b", "c/d"} {
		st.Ino = uint64(i + 1)
		c.PutSealed(path, st, one)
	}
	for i := range 2000 { // so that it is packed
		c.PutSealed(fmt.Sprint("other", i), st, two)
	}
	c.Put("open", st, one, now)
	must(t, c.Save())
	must(t, c.Compact(0, func(string) bool { return true }))
	c = OpenCache(p)
	st.Ino = 9
	c.PutSealed("later", st, one)
	c.PutSealed("b", st, three)
	c.Forget("c/d")
	must(t, c.Save())
	if len(c.packed.files) == 0 {
		t.Fatal("nothing is packed")
	}
	for name, c := range map[string]*Cache{"same": c, "again": ReadCache(p)} {
		got := map[string]uint64{}
		for path, ino := range c.Holders(one) {
			got[path] = ino
		}
		// That a file of the packed part has changed or gone, Lookup tells.
		if want := map[string]uint64{"a": 1, "b": 2, "c/d": 3, "later": 9}; !maps.Equal(got, want) {
			t.Errorf("%s: %v", name, got)
		}
		for range c.Holders("no hash") {
			t.Error("a holder of nothing")
		}
	}
}
