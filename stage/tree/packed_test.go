package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"example.com/publish/stage/durable"
)

func everything(string) bool { return true }

// filled returns a cache of n files, and their entries. Every second file makes a
// pair with the one before it.
func filled(t testing.TB, path string, n int) (paths []string, st Stat, now time.Time) {
	t.Helper()
	now = time.Unix(1000, 500)
	st = at(now, time.Minute)
	c := OpenCache(path)
	for i := range n {
		p := fmt.Sprintf("images/%s.squashfs", sum(fmt.Append(nil, i)))
		c.Put(p, st, sumOf(i), now)
		paths = append(paths, p)
		if i%2 == 1 {
			c.PutPair(sumOf(i-1), sumOf(i), sumOf(-i))
		}
		if i%10 == 0 {
			c.PutExpiry(sumOf(i), time.Unix(int64(i), 0))
		}
	}
	must(t, c.Save())
	return paths, st, now
}

func sumOf(i int) string { return sum(fmt.Append(nil, "content ", i)) }

// knows returns how many of the files of filled a cache knows, and fails if one of
// its answers is wrong.
func knows(t testing.TB, c *Cache, paths []string, st Stat) (files, pairs, ends int) {
	t.Helper()
	for i, p := range paths {
		got, _, ok := c.Lookup(p, st)
		if ok {
			files++
		}
		if ok && got != sumOf(i) {
			t.Fatalf("%s: %s", p, got)
		}
		if i%2 == 1 {
			if both, ok := c.Pair(sumOf(i-1), sumOf(i)); ok {
				pairs++
				if both != sumOf(-i) {
					t.Fatalf("pair %d: %s", i, both)
				}
			}
			if _, ok := c.Pair(sumOf(i), sumOf(i-1)); ok {
				t.Fatalf("pair %d the other way round", i)
			}
		}
		if end, ok := c.Expiry(sumOf(i)); ok {
			ends++
			if i%10 != 0 || end.Unix() != int64(i) && i > 0 {
				t.Fatalf("end %d: %v", i, end)
			}
		}
	}
	return files, pairs, ends
}

// After packing, all old entries and later ones are found, in any order.
func TestCachePacked(t *testing.T) {
	for _, n := range []int{0, 1, 2000, 5000} { // some blocks
		p := newCache(t)
		paths, st, now := filled(t, p, n)
		must(t, OpenCache(p).Compact(n, everything))
		data, err := os.ReadFile(p)
		must(t, err)
		if packs := bytes.HasPrefix(data, []byte(packedMagic)); packs != (n >= 1000) {
			t.Errorf("%d files: packed %v", n, packs)
		}
		for _, order := range []string{"sorted", "as they came", "at random"} {
			c := OpenCache(p)
			asked := slices.Clone(paths)
			switch order {
			case "sorted":
				slices.Sort(asked)
			case "at random":
				rand.Shuffle(n, func(i, j int) { asked[i], asked[j] = asked[j], asked[i] })
			}
			for _, path := range asked {
				if _, _, ok := c.Lookup(path, st); !ok {
					t.Fatalf("%d files, %s: %s is forgotten", n, order, path)
				}
				for _, other := range []string{path + "x", path[:len(path)-1], "", "a", "z"} {
					if _, _, ok := c.Lookup(other, st); ok {
						t.Fatalf("%d files, %s: %q is known", n, order, other)
					}
				}
			}
			if files, pairs, ends := knows(t, c, paths, st); files != n || pairs != n/2 || ends != (n+9)/10 {
				t.Errorf("%d files, %s: %d known, %d pairs, %d ends", n, order, files, pairs, ends)
			}
		}
		if n < 1000 {
			continue
		}
		// Another file, other bytes, and nothing any more.
		c := OpenCache(p)
		c.Put("another", st, one, now)
		c.Put(paths[1], st, two, now)
		c.Forget(paths[0])
		c.PutPair(sumOf(0), sumOf(1), three)
		must(t, c.Save())
		check := func(what string, c *Cache) {
			t.Helper()
			if got, _, _ := c.Lookup("another", st); got != one {
				t.Errorf("%s: the new one is %q", what, got)
			}
			if got, _, _ := c.Lookup(paths[1], st); got != two {
				t.Errorf("%s: the changed one is %q", what, got)
			}
			if _, _, ok := c.Lookup(paths[0], st); ok {
				t.Errorf("%s: the forgotten one is known", what)
			}
			if got, _ := c.Pair(sumOf(0), sumOf(1)); got != three {
				t.Errorf("%s: the changed pair is %q", what, got)
			}
		}
		check("at once", c)
		check("read again", OpenCache(p))
		// Who asks for less is told less, and the rest is dropped.
		half := func(path string) bool {
			return path == "another" || path != paths[2] && path != "changes" && path < paths[n/2]
		}
		for i := range 2000 {
			c.Put("changes", Stat{Size: int64(i), Ino: 1}, one, now)
		}
		must(t, c.Save())
		must(t, OpenCache(p).Compact(n, half))
		c = OpenCache(p)
		if got, _, _ := c.Lookup("another", st); got != one {
			t.Errorf("what was kept is %q", got)
		}
		for _, path := range []string{paths[2], "changes"} {
			if e, ok := c.find(path); ok {
				t.Errorf("%s is kept: %+v", path, e)
			}
		}
		if !c.packed.sorted() {
			t.Error("it is not sorted")
		}
	}
}

func (p *packed) sorted() bool {
	for i := 1; i < len(p.files); i++ {
		if before := string(p.path(i - 1)); before >= string(p.path(i)) {
			return false
		}
	}
	return true
}

// After Release no file is known. When the cache is opened again, all entries are
// there, later ones too, and Compact works as without Release.
func TestCacheRelease(t *testing.T) {
	p := newCache(t)
	paths, st, now := filled(t, p, 2000)
	for _, packs := range []bool{false, true} {
		if packs {
			must(t, OpenCache(p).Compact(2000, everything))
		}
		c := OpenCache(p)
		if files, pairs, _ := knows(t, c, paths, st); files != 2000 || pairs != 1000 {
			t.Fatalf("packed %v: %d files, %d pairs", packs, files, pairs)
		}
		c.Release()
		if files, pairs, ends := knows(t, c, paths, st); files != 0 || pairs != 1000 || ends != 200 {
			t.Errorf("packed %v: %d files, %d pairs and %d ends are left", packs, files, pairs, ends)
		}
		c.Put("new", st, one, now)
		if got, _, _ := c.Lookup("new", st); got != one {
			t.Errorf("packed %v: what came later is %q", packs, got)
		}
		must(t, c.Save())
		before := lstat(t, p)
		must(t, c.Compact(2001, everything))
		if again := lstat(t, p).Ino != before.Ino; again == packs {
			t.Errorf("packed %v: it was compacted %v", packs, again)
		}
		c = OpenCache(p)
		files, pairs, ends := knows(t, c, paths, st)
		if got, _, _ := c.Lookup("new", st); got != one || files != 2000 || pairs != 1000 || ends != 200 {
			t.Errorf("packed %v: then there are %d files, %d pairs, %d ends, and %q", packs, files, pairs, ends, got)
		}
	}
}

// Compact writes nothing if nothing is new. When a packed file has many lines, it is
// packed again.
func TestCacheIsPackedSeldom(t *testing.T) {
	p := newCache(t)
	paths, st, now := filled(t, p, 3000)
	state := func() Stat { return lstat(t, p) }
	promote := func() {
		t.Helper()
		c := OpenCache(p)
		knows(t, c, paths, st)
		must(t, c.Save())
		must(t, c.Compact(len(paths), everything))
		must(t, c.Compact(len(paths), everything))
	}
	promote()
	packed := state()
	for range 3 {
		promote()
		if state() != packed {
			t.Fatal("it was written for nothing")
		}
	}
	c := AppendTo(p)
	for i := range 1200 {
		c.Put(fmt.Sprint("new", i), st, one, now)
	}
	must(t, c.Save())
	promote()
	if state().Ino != packed.Ino {
		t.Error("it is packed again for few lines")
	}
	c = AppendTo(p)
	for i := range 1000 {
		c.Put(fmt.Sprint("newer", i), st, one, now)
	}
	must(t, c.Save())
	promote()
	again := state()
	if again.Ino == packed.Ino || again.Size > packed.Size+2200*(int64(pathAt)+10) {
		t.Errorf("it is not packed again: %d bytes of %d", again.Size, packed.Size)
	}
	c = OpenCache(p)
	for i := range 1000 {
		if _, _, ok := c.Lookup(fmt.Sprint("newer", i), st); !ok {
			t.Fatal("a line is lost")
		}
	}
}

// Damage loses one block, or the packed part, but no line after it. No answer is
// ever wrong.
func TestCachePackedDamaged(t *testing.T) {
	p := newCache(t)
	paths, st, now := filled(t, p, 1500)
	must(t, OpenCache(p).Compact(1500, everything))
	end := int(lstat(t, p).Size)
	c := AppendTo(p)
	c.Put("behind", st, one, now)
	must(t, c.Save())
	whole, err := os.ReadFile(p)
	must(t, err)
	if files, _, _ := knows(t, OpenCache(p), paths, st); files != 1500 {
		t.Fatalf("%d files", files)
	}
	random := rand.New(rand.NewPCG(5, 6))
	for i := range 90 {
		data := bytes.Clone(whole)
		from := i // its beginning, byte for byte
		if i > 40 {
			from = random.IntN(end)
		}
		to := min(from+1+random.IntN(100)*(i%2), end)
		what := fmt.Sprintf("bytes %d to %d", from, to)
		switch i % 3 {
		case 0:
			data[from] ^= 1 << random.IntN(8)
		case 1:
			clear(data[from:to])
		default:
			data = slices.Delete(data, from, to)
		}
		must(t, os.WriteFile(p, data, 0o644))
		c := OpenCache(p)
		files, _, _ := knows(t, c, paths, st)
		if i%3 == 0 && from > len(packedMagic)+headerLen && from < len(packedMagic)+maxBlock && files < 500 {
			t.Errorf("%s: %d files are left", what, files)
		}
		if got, _, _ := c.Lookup("behind", st); got != one {
			// Unless the damage took the line feed before it.
			if to < end-1 || i%3 != 2 {
				t.Errorf("%s: the line behind it is lost", what)
			}
		}
	}
	// Truncated at any byte.
	for range 15 {
		must(t, os.WriteFile(p, whole[:random.IntN(len(whole))], 0o644))
		c := OpenCache(p)
		knows(t, c, paths, st)
		c.Put("after", st, two, now)
		must(t, c.Save())
		if got, _, _ := OpenCache(p).Lookup("after", st); got != two {
			t.Error("what was written after it is lost")
		}
	}
}

// Reading any packed part, and asking it, does not panic.
func FuzzPacked(f *testing.F) {
	var seed bytes.Buffer
	p := newPacker(&seed)
	p.file("a", cached{size: 1})
	p.file("b/c", cached{size: 2, sealed: true})
	p.pair(pair{digest{1}, digest{2}}, digest{3})
	p.end(digest{1}, 5)
	must(f, p.close())
	f.Add(seed.Bytes(), byte('F'), uint32(2))
	f.Add(seed.Bytes()[40:], byte('C'), uint32(1))
	f.Fuzz(func(t *testing.T, data []byte, kind byte, n uint32) {
		c := OpenCache("")
		c.read(bytes.NewReader(data))
		ask(c)
		// With the right checksum, which no fuzzer finds.
		var sealed bytes.Buffer
		w := newPacker(&sealed)
		w.kind, w.n, w.block = kind, n, data[:min(len(data), maxBlock)]
		w.flush()
		c = OpenCache("")
		c.read(bytes.NewReader(sealed.Bytes()))
		ask(c)
	})
}

func ask(c *Cache) {
	for range 2 {
		c.Lookup("a", Stat{})
		c.Lookup("", Stat{})
		c.Lookup("b/c", Stat{})
		c.Pair(one, two)
		c.Expiry(one)
	}
	live := map[digest]bool{}
	for _, e := range c.each(everything) {
		live[e.sum] = true
	}
	for range c.eachPair(live) {
	}
	for range c.eachEnd(live) {
	}
}

// Several processes append to one file while another one packs it. No answer is
// wrong, and what they append after that is found.
func TestCachePackedBesideWriters(t *testing.T) {
	p := newCache(t)
	paths, st, now := filled(t, p, 1500)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	for w := range 3 {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := 0; i < 500 && ctx.Err() == nil; i++ {
				c := AppendTo(p)
				c.Put(fmt.Sprint("writer", w), Stat{Size: 3, Ino: uint64(i)}, one, now)
				_ = c.Save()
			}
		}()
	}
	for range 10 {
		c := OpenCache(p)
		if files, _, _ := knows(t, c, paths, st); files != 1500 {
			t.Errorf("%d files", files)
		}
		must(t, c.Compact(1503, everything))
	}
	cancel()
	for range 3 {
		<-done
	}
	c := AppendTo(p)
	c.Put("last", st, two, now)
	must(t, c.Save())
	if got, _, _ := OpenCache(p).Lookup("last", st); got != two {
		t.Error("the last line is lost")
	}
}

// An older version skips the packed part as damage, and finds the lines after it.
func TestCachePackedReadByLines(t *testing.T) {
	p := newCache(t)
	_, st, now := filled(t, p, 1500)
	must(t, OpenCache(p).Compact(1500, everything))
	c := AppendTo(p)
	c.Put("behind", st, one, now)
	must(t, c.Save())
	data, err := os.ReadFile(p)
	must(t, err)
	lines := 0
	for line := range bytes.Lines(data) {
		if text, ok := durable.Unline(bytes.TrimSuffix(line, []byte("\n"))); ok {
			lines++
			if !bytes.HasSuffix(text, []byte(" behind")) {
				t.Errorf("a line that nobody wrote: %q", text)
			}
		}
	}
	if lines != 1 {
		t.Errorf("%d lines", lines)
	}
}

// BenchmarkCache opens a cache of 20,000 files and asks for each of them.
func BenchmarkCache(b *testing.B) {
	for _, form := range []string{"lines", "packed"} {
		b.Run(form, func(b *testing.B) {
			p := newCache(b)
			paths, st, _ := filled(b, p, 20_000)
			if form == "packed" {
				must(b, OpenCache(p).Compact(20_000, everything))
			}
			slices.Sort(paths)
			b.ReportAllocs()
			for b.Loop() {
				c := OpenCache(p)
				for _, path := range paths {
					if _, _, ok := c.Lookup(path, st); !ok {
						b.Fatal(path)
					}
				}
			}
		})
	}
}

// A packed file that is cut or written to while it is open knows less, and nothing wrong.
func TestCachePackedSpoiled(t *testing.T) {
	for name, spoil := range map[string]func(f *os.File, size int64) error{
		"cut":     func(f *os.File, size int64) error { return f.Truncate(size / 2) },
		"written": func(f *os.File, size int64) error { _, err := f.WriteAt(make([]byte, 100), size/2); return err },
	} {
		p := newCache(t)
		paths, st, _ := filled(t, p, 4000)
		must(t, OpenCache(p).Compact(len(paths), everything))
		c := OpenCache(p)
		if files, _, _ := knows(t, c, paths, st); files != len(paths) || len(c.packed.blocks) < 4 {
			t.Fatalf("%s: %d files in %d blocks", name, files, len(c.packed.blocks))
		}
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		must(t, err)
		fi, err := f.Stat()
		must(t, err)
		must(t, errors.Join(spoil(f, fi.Size()), f.Close()))
		if files, _, _ := knows(t, c, paths, st); files == 0 || files == len(paths) {
			t.Errorf("%s: then %d files of %d are known", name, files, len(paths))
		}
		c.Release()
		if files, _, _ := knows(t, c, paths, st); files != 0 {
			t.Errorf("%s: after Release %d files are known", name, files)
		}
	}
}
