package tree

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

func write(t testing.TB, path, data string) Stat {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(data), 0o644))
	return lstat(t, path)
}

func lstat(t testing.TB, path string) Stat {
	t.Helper()
	fi, err := os.Lstat(path)
	must(t, err)
	return StatOf(fi)
}

func TestWalk(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{"b", "a/z", "a.b", "a-b", ".publish-generation", ".publish-incoming/x",
		"a/.publish-generation"} {
		write(t, filepath.Join(dir, p), p)
	}
	must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	must(t, os.Symlink("a", filepath.Join(dir, "link")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	entries, err := Walk(context.Background(), dir+"/")
	must(t, err)
	type named struct {
		Path   string
		Kind   Kind
		Target string
	}
	var got []named
	for _, e := range entries {
		got = append(got, named{e.Path, e.Kind, e.Target()})
		if e.Kind == File && (e.Stat.Size != int64(len(e.Path)) || e.Stat.Ino == 0 || e.Stat.Links != 1) {
			t.Errorf("%s: %+v", e.Path, e.Stat)
		}
	}
	want := []named{{"a-b", File, ""}, {"a.b", File, ""}, {"a/.publish-generation", File, ""}, {"a/z", File, ""},
		{"b", File, ""}, {"link", Symlink, "a"}, {"pipe", Special, ""}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := Walk(context.Background(), filepath.Join(dir, "gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a root that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Walk(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// The id is stored in manifests and histories: it must never change.
func TestID(t *testing.T) {
	rows := []Row{
		{Path: "a", Size: 1, SHA256: sum([]byte("a")), Role: catalog.Content},
		{Path: "b/c", Size: 2, SHA256: sum([]byte("bc")), Role: catalog.Mutable},
		{Path: "l", Size: 1, SHA256: sum([]byte("a")), Role: catalog.Link},
	}
	// Computed by another program: the sha256 over a line for each row, its
	// fields path, role, size, sha256 with a NUL byte between.
	const golden = "b152f069f7ebf3caa1fef9c5ae98f562ce903de526897312fd99c3c7ce3b7e27"
	if got := ID(rows); got != golden {
		t.Errorf("id %s", got)
	}
	if got := ID(nil); got != sum(nil) {
		t.Errorf("id of nothing: %s", got)
	}
	for i := range rows {
		for _, change := range []func(r *Row){
			func(r *Row) { r.Path += "x" }, func(r *Row) { r.Size++ }, func(r *Row) { r.SHA256 = sum([]byte("x")) },
			func(r *Row) { r.Role += "x" },
		} {
			other := append([]Row{}, rows...)
			change(&other[i])
			if ID(other) == golden {
				t.Errorf("another tree has the same id: %+v", other)
			}
		}
	}
}

func TestDigest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, 5*blockSize + 17,
		largeAfter + largeSize + 17} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		m := md5.Sum(data)
		for n := range 4 {
			for name, r := range map[string]io.Reader{
				"whole": bytes.NewReader(data), "half": iotest.HalfReader(bytes.NewReader(data)),
				"data with EOF": iotest.DataErrReader(bytes.NewReader(data)),
			} {
				sums := []Sum{md5.New(), NewSHA256(), md5.New()}[:n]
				got, err := Digest(context.Background(), r, sums...)
				must(t, err)
				if got != int64(size) {
					t.Errorf("%s: %d bytes of %d", name, got, size)
				}
				for i, s := range sums {
					want := m[:]
					if i == 1 {
						want, _ = hex.DecodeString(sum(data))
					}
					if !bytes.Equal(s.Sum(nil), want) {
						t.Errorf("%s, %d bytes, %d sums: the sum %d is wrong", name, size, n, i)
					}
				}
			}
		}
	}
	broken := errors.New("broken")
	for n := range 3 {
		for _, is := range []error{broken, io.ErrUnexpectedEOF} { // the second is that of a stream that was cut
			r := io.MultiReader(bytes.NewReader(make([]byte, 3*blockSize+5)), iotest.ErrReader(is))
			if _, err := Digest(context.Background(), r, []Sum{NewSHA256(), md5.New()}[:n]...); !errors.Is(err, is) {
				t.Errorf("%d sums: err %v", n, err)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := Digest(ctx, bytes.NewReader(make([]byte, blockSize)),
			[]Sum{NewSHA256(), md5.New()}[:n]...); !errors.Is(err, context.Canceled) {
			t.Errorf("%d sums: err %v", n, err)
		}
	}
	// If one of several writers fails, Spread ends.
	for n := range 3 {
		to := append([]io.Writer{failing{broken}}, []io.Writer{NewSHA256(), md5.New()}[:n]...)
		if _, err := Spread(context.Background(), bytes.NewReader(make([]byte, 20*blockSize)), to...); !errors.Is(err,
			broken) {
			t.Errorf("%d writers beside: %v", n, err)
		}
	}
}

// A small file needs small blocks only, and all are aligned as durable.Direct needs.
func TestSpreadBlocks(t *testing.T) {
	sizes := &blockSizes{}
	n, err := Spread(context.Background(), bytes.NewReader(make([]byte, largeAfter+2*largeSize+17)), sizes, io.Discard)
	must(t, err)
	want := append(slices.Repeat([]int{blockSize}, largeAfter/blockSize), largeSize, largeSize, 17)
	if n != largeAfter+2*largeSize+17 || !slices.Equal(sizes.list, want) {
		t.Errorf("%d bytes in blocks of %d, not %d", n, sizes.list, want)
	}
}

type blockSizes struct{ list []int }

func (b *blockSizes) Write(p []byte) (int, error) {
	b.list = append(b.list, len(p))
	return len(p), nil
}

func TestHashFile(t *testing.T) {
	p := filepath.Join(t.TempDir(), "f")
	st := write(t, p, "one")
	f, err := os.Open(p)
	must(t, err)
	defer f.Close()
	m := md5.New()
	got, err := HashFile(context.Background(), f, st, m)
	want := md5.Sum([]byte("one"))
	if err != nil || got != sum([]byte("one")) || !bytes.Equal(m.Sum(nil), want[:]) {
		t.Errorf("%s %v", got, err)
	}
	must(t, os.WriteFile(p, []byte("longer"), 0o644))
	_, err = f.Seek(0, io.SeekStart)
	must(t, err)
	if _, err := HashFile(context.Background(), f, st); !errors.Is(err, ErrChanged) {
		t.Errorf("err %v", err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "d/f"), "x")
	must(t, os.Symlink("d/f", filepath.Join(dir, "link")))
	must(t, os.Symlink("/etc", filepath.Join(dir, "out")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	f, st, err := Open(root, "d/f")
	must(t, err)
	_ = f.Close()
	if st != lstat(t, filepath.Join(dir, "d/f")) {
		t.Errorf("%+v", st)
	}
	for _, p := range []string{"link", "out/passwd", "pipe", "d", "gone", "../x"} {
		if f, _, err := Open(root, p); err == nil {
			_ = f.Close()
			t.Errorf("%s: was opened", p)
		}
	}
	for _, p := range []string{"pipe", "d"} {
		if _, _, err := Open(root, p); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// Both ways to get the state of a file give the same result.
func TestStat(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "text")
	must(t, os.Chmod(filepath.Join(dir, "file"), 0o750|fs.ModeSetgid))
	must(t, os.Symlink("file", filepath.Join(dir, "link")))
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o1777))
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	for _, path := range []string{dir, "/dev"} {
		d, err := durable.List(path)
		must(t, err)
		defer d.Close()
		for _, name := range []string{"file", "link", "folder", "pipe", "null"} {
			want, err := os.Lstat(filepath.Join(path, name))
			if err != nil {
				continue
			}
			got, err := d.Stat(name)
			if err != nil || statOf(&got) != StatOf(want) {
				t.Errorf("%s: %+v, %v, want %+v", name, statOf(&got), err, StatOf(want))
			}
		}
	}
}

// Walk lists the tree that was opened, even if another one is at its path now.
func TestWalkAnOpenTree(t *testing.T) {
	dir := t.TempDir()
	was, is := filepath.Join(dir, "was"), filepath.Join(dir, "is")
	write(t, filepath.Join(was, "a", "1"), "one")
	write(t, filepath.Join(is, "b"), "two")
	src, err := OpenSource(was)
	must(t, err)
	defer src.Close()
	must(t, os.Rename(was, was+".old"))
	must(t, os.Rename(is, was))
	entries, err := src.Walk(t.Context())
	if err != nil || len(entries) != 1 || entries[0].Path != "a/1" {
		t.Errorf("%v, %v", entries, err)
	}
}
