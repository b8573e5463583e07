package tree

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.com/publish/stage/catalog"
)

func sha(n int) catalog.Digest {
	return catalog.Digest{Algorithm: catalog.SHA256, Hex: sumOf(n)}
}

func recalled(f *Facts, n int) string {
	text, ok := f.Recall(sha(n))
	if !ok {
		return "-"
	}
	return string(text)
}

func TestFacts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "facts")
	f := OpenFacts(path)
	if got := recalled(f, 1); got != "-" {
		t.Error(got)
	}
	f.Remember(sha(1), []byte("one\n\x00"))
	f.Remember(sha(2), nil)
	f.Remember(sha(3), bytes.Repeat([]byte("x"), maxFact+1))
	long := catalog.Digest{Algorithm: catalog.SHA512, Hex: strings.Repeat("01", 64)}
	f.Remember(long, []byte("long"))
	f.Remember(catalog.Digest{Algorithm: catalog.SHA512, Hex: sha(5).Hex}, []byte("short"))
	f.Remember(catalog.Digest{Algorithm: catalog.SHA256, Hex: "0"}, []byte("x"))
	if got := recalled(f, 1); got != "one\n\x00" {
		t.Errorf("before it is saved: %q", got)
	}
	if err := f.Save(); err != nil {
		t.Fatal(err)
	}
	look := ReadFacts(path)
	look.Remember(sha(4), []byte("four"))
	if got := recalled(look, 4); got != "four" || look.Save() != nil {
		t.Errorf("in memory: %q", got)
	}
	again := OpenFacts(path)
	for n, want := range []string{"-", "one\n\x00", "", "-", "-"} {
		if got := recalled(again, n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	if text, ok := again.Recall(long); !ok || string(text) != "long" {
		t.Errorf("of a sha512: %q", text)
	}
	if got := recalled(again, 5); got != "-" {
		t.Errorf("half a sha512 counts: %q", got)
	}
	again.Remember(sha(1), []byte("new"))
	if err := again.Save(); err != nil {
		t.Fatal(err)
	}
	if got := recalled(OpenFacts(path), 1); got != "new" {
		t.Errorf("the newest line counts: %q", got)
	}
}

// A damaged line is forgotten, and no other; nothing is believed of a file that others
// can write to.
func TestFactsDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "facts")
	fill := func() []byte {
		_ = os.Remove(path)
		f := OpenFacts(path)
		for n := range 3 {
			f.Remember(sha(n), fmt.Append(nil, "fact ", n))
		}
		if err := f.Save(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	whole := fill()
	for i := range whole {
		broken := bytes.Clone(whole)
		broken[i] ^= 4
		cut := whole[:i]
		for _, data := range [][]byte{broken, cut} {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			f := OpenFacts(path)
			known := 0
			for n := range 3 {
				switch got := recalled(f, n); got {
				case fmt.Sprint("fact ", n):
					known++
				case "-":
				default:
					t.Fatalf("byte %d: %q", i, got)
				}
			}
			if len(data) == len(whole) && known < 1 {
				t.Fatalf("byte %d: %d are known", i, known)
			}
			f.Remember(sha(9), []byte("nine"))
			if err := f.Save(); err != nil || recalled(OpenFacts(path), 9) != "nine" {
				t.Fatalf("byte %d: what comes after half a line: %v", i, err)
			}
		}
	}
	long := append([]byte(strings.Repeat("x", 10*maxFact)+"\n"), whole...)
	if err := os.WriteFile(path, long, 0o644); err != nil || recalled(OpenFacts(path), 2) != "fact 2" {
		t.Error("a long line spoils those after it")
	}
	fill()
	if err := os.Chmod(path, 0o666); err != nil || recalled(OpenFacts(path), 1) != "-" {
		t.Error("a file that anybody can write to is believed")
	}
	f := OpenFacts(path)
	f.Remember(sha(1), []byte("own"))
	if err := f.Save(); err != nil || recalled(OpenFacts(path), 1) != "own" || recalled(OpenFacts(path), 2) != "-" {
		t.Errorf("it is not replaced: %v", err)
	}
	if err := os.Remove(path); err != nil || os.Symlink("elsewhere", path) != nil {
		t.Fatal(err)
	}
	f = OpenFacts(path)
	f.Remember(sha(1), []byte("x"))
	if err := f.Save(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(path), "elsewhere")); err == nil {
		t.Error("a link was followed")
	}
}

func TestFactsCompact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "facts")
	f := OpenFacts(path)
	for n := range 3000 {
		f.Remember(sha(n), fmt.Append(nil, n))
	}
	if err := f.Save(); err != nil || f.Compact() != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	if bytes.Count(before, []byte("\n")) != 3000 {
		t.Fatal("facts in use went")
	}
	f = OpenFacts(path)
	for n := range 100 {
		if recalled(f, n) != fmt.Sprint(n) {
			t.Fatal(n)
		}
	}
	f.Remember(sha(3000), []byte("3000"))
	f.Remember(sha(98), nil)
	if err := f.Save(); err != nil || f.Compact() != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadFile(path)
	f = OpenFacts(path)
	if n := bytes.Count(after, []byte("\n")); n != 101 || recalled(f, 99) != "99" || recalled(f, 3000) != "3000" ||
		recalled(f, 100) != "-" || recalled(f, 98) != "" {
		t.Errorf("%d lines", n)
	}
}

// A process that learns very much keeps little of it in memory, and knows all of it.
func TestFactsAreWrittenAsTheyCome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "facts")
	for v := range 3 {
		f := OpenFacts(path)
		text := func(n int) string { return strings.Repeat(fmt.Sprint(n+v, " "), 100) }
		const n = 5000
		for i := range n {
			f.Remember(sha(i), []byte(text(i)))
		}
		if f.saved.n < n/2 || len(f.newer) > n/2 || f.size > 2*maxFresh {
			t.Errorf("%d facts are in memory, and %d are not", len(f.newer), f.saved.n)
		}
		for _, f := range []*Facts{f, f, OpenFacts(path)} {
			for i := range n {
				if got := recalled(f, i); got != text(i) {
					t.Fatalf("%d: %q, want %q", i, got, text(i))
				}
			}
			if err := f.Save(); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Compact(); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(path); err != nil || v < 2 && bytes.Count(data, []byte("\n")) != n*(v+1) ||
			v == 2 && bytes.Count(data, []byte("\n")) != n {
			t.Errorf("%d lines", bytes.Count(data, []byte("\n")))
		}
		if got := recalled(OpenFacts(path), 7); got != text(7) {
			t.Errorf("compacted: %q", got)
		}
	}
}

func TestFactsTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "facts")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			f := OpenFacts(path)
			for n := range 500 {
				f.Remember(sha(w*1000+n), fmt.Append(nil, w, n))
			}
			if err := f.Save(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f := OpenFacts(path)
	for w := range 4 {
		for n := range 500 {
			if got := recalled(f, w*1000+n); got != fmt.Sprint(w, n) && got != fmt.Sprint(w, " ", n) {
				t.Fatalf("%d %d: %q", w, n, got)
			}
		}
	}
}

func FuzzFacts(f *testing.F) {
	f.Add(factLine(nil, digest{1}, []byte("x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		x := OpenFacts("")
		x.saved.from = bytes.NewReader(data)
		x.read(bytes.NewReader(data))
		for _, at := range x.saved.places(false) {
			if at < 0 || at >= int64(len(data)) {
				t.Fatalf("a line at %d of %d bytes", at, len(data))
			}
		}
	})
}

func BenchmarkFacts(b *testing.B) {
	path := filepath.Join(b.TempDir(), "facts")
	f := OpenFacts(path)
	for n := range 100_000 {
		f.Remember(sha(n), bytes.Repeat([]byte("x"), 150))
	}
	if err := f.Save(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f := OpenFacts(path)
		if recalled(f, 99_999) == "-" {
			b.Fatal("unknown")
		}
	}
}
