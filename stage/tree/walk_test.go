package tree

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
)

// slowWalk does the same as Walk, with package filepath.
func slowWalk(t testing.TB, root string) []string {
	t.Helper()
	out := []string{}
	must(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, p)
		if err == nil && !d.IsDir() && !catalog.Reserved(rel) {
			out = append(out, rel)
		}
		return err
	}))
	slices.Sort(out)
	return out
}

func walked(t testing.TB, root string) []string {
	t.Helper()
	entries, err := Walk(context.Background(), root)
	must(t, err)
	out := []string{}
	for _, e := range entries {
		out = append(out, e.Path)
	}
	return out
}

// The order is that of whole paths, for any names beside those of folders.
func TestWalkOrder(t *testing.T) {
	names := []string{"p", "p.x", "p-", "pq", "P", "p ", "p!", "p0", "ü", "\x01",
		"common-prefix-1", "common-prefix-10",
		"common-prefix-1.x", "common-prefix-1-", "common-prefix", "common-prefix-12345678", "common-prefix-123456789",
		"common-prefix-12345678.x"}
	random := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		dir := t.TempDir()
		var fill func(at string, depth int)
		fill = func(at string, depth int) {
			for _, n := range names {
				n = filepath.Join(at, n)
				switch random.IntN(4) {
				case 0:
					must(t, os.WriteFile(n, nil, 0o644))
				case 1:
					must(t, os.Mkdir(n, 0o755))
					if depth > 0 {
						fill(n, depth-1)
					}
				}
			}
		}
		fill(dir, random.IntN(3))
		if diff := cmp.Diff(slowWalk(t, dir), walked(t, dir)); diff != "" {
			t.Fatal(diff)
		}
	}
}

// Names of one folder are listed and looked at in several pieces.
func TestWalkLarge(t *testing.T) {
	dir := t.TempDir()
	for i := range 1000 {
		write(t, filepath.Join(dir, "large", strings.Repeat("long-", 40)+fmt.Sprint(i)), "")
		if i%10 == 0 {
			write(t, filepath.Join(dir, fmt.Sprint("small", i%70), fmt.Sprint(i)), "")
		}
	}
	if diff := cmp.Diff(slowWalk(t, dir), walked(t, dir)); diff != "" {
		t.Fatal(diff)
	}
}

// A directory that cannot be listed is an entry in its place in the order.
func TestWalkUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads everything")
	}
	dir := t.TempDir()
	for _, p := range []string{"a/x", "a.x", "a-x", "b"} {
		write(t, filepath.Join(dir, p), "")
	}
	must(t, os.Chmod(filepath.Join(dir, "a"), 0))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "a"), 0o755) })
	entries, err := Walk(context.Background(), dir)
	must(t, err)
	got := []string{}
	for _, e := range entries {
		got = append(got, fmt.Sprint(e.Path, " ", e.Kind, " ", e.Err() != nil))
	}
	want := []string{"a 3 true", "a-x 0 false", "a.x 0 false", "b 0 false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// While others write to the tree, files that do not change are listed.
func TestWalkBesideAWriter(t *testing.T) {
	dir := t.TempDir()
	for i := range 500 {
		write(t, filepath.Join(dir, fmt.Sprint(i%7), fmt.Sprint("stays", i)), "")
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			p := filepath.Join(dir, fmt.Sprint(i%9), "comes")
			_ = os.MkdirAll(filepath.Dir(p), 0o755)
			_ = os.WriteFile(p, nil, 0o644)
			_ = os.RemoveAll(filepath.Join(dir, fmt.Sprint(7+i%2)))
			_ = os.Remove(p)
		}
	}()
	for range 50 {
		got := slices.DeleteFunc(walked(t, dir), func(p string) bool { return !strings.Contains(p, "stays") })
		if len(got) != 500 || !slices.IsSorted(got) {
			t.Errorf("%d files", len(got))
		}
	}
	close(stop)
	<-done
}

// BenchmarkWalk lists 20,000 files: compare it with
// find DIR -printf '%s %i %T@ %C@'.
func BenchmarkWalk(b *testing.B) {
	for _, folders := range []int{1, 200} {
		b.Run(fmt.Sprint(folders, "-folders"), func(b *testing.B) {
			dir := os.Getenv("WALK")
			if dir == "" {
				dir = b.TempDir()
				for i := range 20_000 {
					write(b, filepath.Join(dir, fmt.Sprint("images-", i%folders), sum(fmt.Append(nil, i))+".squashfs"),
						"")
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				entries, err := Walk(context.Background(), dir)
				must(b, err)
				if len(entries) < 20_000 {
					b.Fatal(len(entries))
				}
			}
		})
	}
}

// The strings that the caller has for paths are used, and no others.
func TestWalkLike(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{"a", "b/a", "b/b", "b/c", "b.x", "c/d/e"} {
		write(t, filepath.Join(dir, p), "")
	}
	src, err := OpenSource(dir)
	must(t, err)
	defer src.Close()
	known := []string{"a", "b", "b/a", "b/c", "c/d", "c/d/e", "x"}
	entries, err := src.WalkLike(context.Background(), func() func(string) string {
		at := NewFinger(known, func(p *string) string { return *p })
		return func(path string) string {
			if i := at.Find(path); i >= 0 {
				return known[i]
			}
			return ""
		}
	})
	must(t, err)
	got := []string{}
	for _, e := range entries {
		got = append(got, e.Path)
		i := slices.Index(known, e.Path)
		if same := i >= 0 && unsafe.StringData(known[i]) == unsafe.StringData(e.Path); same != (i >= 0) {
			t.Errorf("%s has a string of its own", e.Path)
		}
	}
	if diff := cmp.Diff(slowWalk(t, dir), got); diff != "" {
		t.Error(diff)
	}
}
