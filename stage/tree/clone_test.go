package tree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/durable"
)

// cloned runs ops from a new source with some files into a new directory.
func cloned(t *testing.T, ops func(src *Source) []Op) (string, []Cloned, error) {
	t.Helper()
	dir := t.TempDir()
	for _, p := range []string{"a", "d/b", "d/e/c"} {
		write(t, filepath.Join(dir, p), p)
	}
	must(t, os.Symlink("b", filepath.Join(dir, "d/link")))
	src, err := OpenSource(dir)
	must(t, err)
	t.Cleanup(func() { _ = src.Close() })
	dst := t.TempDir()
	batch, err := durable.NewBatch(dst)
	must(t, err)
	defer batch.Close()
	c := Cloner{Dst: dst, Batch: batch}
	out, err := c.Run(context.Background(), ops(src))
	if err == nil {
		must(t, batch.Flush())
	}
	return dst, out, err
}

func TestClone(t *testing.T) {
	var source *Source
	dst, out, err := cloned(t, func(src *Source) []Op {
		source = src
		st := func(p string) Stat { return lstat(t, filepath.Join(src.Dir, p)) }
		return []Op{
			{Path: "shared", Name: "a", From: src, How: Share, SHA256: one, Stat: st("a")},
			{Path: "x/y/copy", Name: "d/b", From: src, How: Copy, Stat: st("d/b")},
			{Path: "known", Name: "d/b", From: src, How: Copy, SHA256: sum([]byte("d/b")), Mode: 0o755},
			{Path: "d/link", From: src, How: Relink},
			{Path: "written", Bytes: []byte("text"), Mode: 0o640},
			{Path: "empty", Bytes: []byte{}},
		}
	})
	must(t, err)
	for i, want := range []Cloned{
		{SHA256: one, Size: 1, Shared: true},
		{SHA256: sum([]byte("d/b")), Size: 3},
		{SHA256: sum([]byte("d/b")), Size: 3},
		{SHA256: sum([]byte("b")), Size: 1},
		{SHA256: sum([]byte("text")), Size: 4},
		{SHA256: sum(nil)},
	} {
		out[i].Reflink = false // where the file system can
		if diff := cmp.Diff(want, out[i]); diff != "" {
			t.Errorf("%d: %s", i, diff)
		}
	}
	if lstat(t, filepath.Join(dst, "shared")).Ino != lstat(t, filepath.Join(source.Dir, "a")).Ino {
		t.Error("not shared")
	}
	for p, want := range map[string]fs.FileMode{"x/y/copy": 0o444, "known": 0o755, "written": 0o640, "empty": 0o444} {
		if got := lstat(t, filepath.Join(dst, p)); got.Mode != want {
			t.Errorf("%s: mode %v", p, got.Mode)
		}
	}
	if text, err := os.Readlink(filepath.Join(dst, "d/link")); err != nil || text != "b" {
		t.Errorf("link %q %v", text, err)
	}
}

// Twins are links to files of the clone, made after all others; a file that has no more
// links becomes a copy.
func TestCloneTwins(t *testing.T) {
	dst, out, err := cloned(t, func(src *Source) []Op {
		return []Op{
			{Path: "a/twin", Name: "z/copy", How: Twin, SHA256: one, Stat: Stat{Size: 1}},
			{Path: "b/linked", Name: "shared", How: Twin, SHA256: one, Stat: Stat{Size: 1}},
			{Path: "c/none", Name: "failed", How: Twin, SHA256: two, Stat: Stat{Size: 1}},
			{Path: "failed", Name: "gone", From: src, How: Copy},
			{Path: "shared", Name: "a", From: src, How: Share, SHA256: one, Stat: Stat{Size: 1}},
			{Path: "z/copy", Name: "d/b", From: src, How: Copy},
		}
	})
	must(t, err)
	for _, pair := range [][2]string{{"a/twin", "z/copy"}, {"b/linked", "shared"}} {
		if lstat(t, filepath.Join(dst, pair[0])).Ino != lstat(t, filepath.Join(dst, pair[1])).Ino {
			t.Errorf("%v are two files", pair)
		}
	}
	if !out[0].Shared || !errors.Is(out[2].Err, fs.ErrNotExist) {
		t.Errorf("%+v", out)
	}
}

// An error of one source file is reported for that file, and the others are made.
func TestCloneBadSources(t *testing.T) {
	dst, out, err := cloned(t, func(src *Source) []Op {
		changed := lstat(t, filepath.Join(src.Dir, "a"))
		changed.Mtime--
		must(t, os.Symlink("/etc", filepath.Join(src.Dir, "out")))
		return []Op{
			{Path: "changed", Name: "a", From: src, How: Copy, Stat: changed},
			{Path: "gone", From: src, How: Copy},
			{Path: "gone too", From: src, How: Share},
			{Path: "link", Name: "d/link", From: src, How: Copy},
			{Path: "outside", Name: "out/passwd", From: src, How: Copy},
			{Path: "folder", Name: "d", From: src, How: Copy},
			{Path: "shared and changed", Name: "a", From: src, How: Share, SHA256: one, Stat: changed},
			{Path: "shared through a link", Name: "out/passwd", From: src, How: Share, SHA256: one, Stat: changed},
			{Path: "no link", Name: "a", From: src, How: Relink},
			{Path: "good", Name: "a", From: src, How: Copy},
		}
	})
	must(t, err)
	for i, o := range out {
		if (o.Err == nil) != (i == len(out)-1) {
			t.Errorf("%d: %v", i, o.Err)
		}
	}
	for _, i := range []int{0, 6} {
		if !errors.Is(out[i].Err, ErrChanged) {
			t.Errorf("%d: %v", i, out[i].Err)
		}
	}
	list, err := os.ReadDir(dst)
	must(t, err)
	if len(list) != 1 || list[0].Name() != "good" {
		t.Errorf("in the clone: %v", list)
	}
}

// An error of the destination stops everything.
func TestCloneBadDestination(t *testing.T) {
	for name, ops := range map[string]func(src *Source) []Op{
		"twice": func(src *Source) []Op {
			return []Op{{Path: "x", Bytes: []byte{}}, {Path: "x", Bytes: []byte{}}}
		},
		"name too long": func(src *Source) []Op { return []Op{{Path: strings.Repeat("y", 300), Bytes: []byte{}}} },
	} {
		if _, _, err := cloned(t, ops); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A file that cannot be linked is copied, and keeps its time, whatever that is.
func TestCloneAcrossFileSystems(t *testing.T) {
	for _, when := range []time.Time{time.Unix(1234, 5000), time.Unix(0, 0)} {
		other, err := os.MkdirTemp("/dev/shm", "publish-test-")
		if err != nil {
			t.Skip("no second file system")
		}
		defer os.RemoveAll(other)
		dir := t.TempDir()
		write(t, filepath.Join(dir, "f"), "f")
		must(t, os.Chtimes(filepath.Join(dir, "f"), when, when))
		src, err := OpenSource(dir)
		must(t, err)
		defer src.Close()
		batch, err := durable.NewBatch(other)
		must(t, err)
		defer batch.Close()
		c := Cloner{Dst: other, Batch: batch}
		out, err := c.Run(context.Background(), []Op{{Path: "f", From: src, How: Share, SHA256: sum([]byte("f")),
			Stat: lstat(t, filepath.Join(dir, "f"))}})
		must(t, err)
		if out[0].Err != nil || out[0].Shared || out[0].SHA256 != sum([]byte("f")) {
			t.Errorf("%+v", out[0])
		}
		must(t, batch.Flush())
		if got := lstat(t, filepath.Join(other, "f")); got.Mtime != when.UnixNano() {
			t.Errorf("time %d, want %v", got.Mtime, when)
		}
	}
}

func TestCloneIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dst := t.TempDir()
	batch, err := durable.NewBatch(dst)
	must(t, err)
	defer batch.Close()
	c := Cloner{Dst: dst, Batch: batch}
	if _, err := c.Run(ctx, []Op{{Path: "x", Bytes: []byte("x")}}); !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
}

func BenchmarkDigest(b *testing.B) {
	data := strings.Repeat("x", 64<<20)
	for n, name := range []string{"", "one", "two"} {
		if n == 0 {
			continue
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				sums := []Sum{NewSHA256(), NewSHA256()}[:n]
				if _, err := Digest(context.Background(), strings.NewReader(data), sums...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// If a file system has no hard links, whatever error it returns, a copy is made. An
// error of the destination stays an error.
func TestUnlinkable(t *testing.T) {
	for errno, want := range map[syscall.Errno]bool{
		syscall.EPERM: true, syscall.EACCES: true, syscall.EMLINK: true, syscall.EXDEV: true,
		syscall.ENOSYS: true, syscall.EOPNOTSUPP: true, syscall.EINVAL: true,
		syscall.ENOSPC: false, syscall.EIO: false, syscall.EROFS: false, syscall.EEXIST: false, syscall.EDQUOT: false,
	} {
		if got := unlinkable(&os.LinkError{Op: "link", Err: errno}); got != want {
			t.Errorf("%v: %v", errno, got)
		}
	}
}
