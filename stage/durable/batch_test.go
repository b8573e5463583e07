package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// flushes has the calls of one batch, in the order in which they ended.
type flushes struct {
	mu      sync.Mutex
	synced  []string
	syncfs  int
	failing string // a name whose flush fails
}

var errFlush = errors.New("this flush fails")

// counted starts a batch that records its calls.
func counted(t *testing.T, dir string) (*Batch, *flushes) {
	t.Helper()
	b, err := NewBatch(dir)
	must(t, err)
	t.Cleanup(func() { _ = b.Close() })
	did := &flushes{}
	one, all := b.sync, b.syncfs
	b.sync = func(f *os.File) error {
		did.mu.Lock()
		defer did.mu.Unlock()
		did.synced = append(did.synced, f.Name())
		if filepath.Base(f.Name()) == did.failing {
			return errFlush
		}
		return one(f)
	}
	b.syncfs = func(f *os.File) error {
		did.syncfs++
		return all(f)
	}
	return b, did
}

// created returns a new file that is open for writing.
func created(t *testing.T, path string) *os.File {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.Create(path)
	must(t, err)
	return f
}

func TestBatch(t *testing.T) {
	for _, n := range []int{0, 1, 2, syncers + 1, syncfsAbove, syncfsAbove + 1} {
		for _, open := range []bool{false, true} {
			dir := t.TempDir()
			b, did := counted(t, dir)
			for i := range n {
				f := created(t, filepath.Join(dir, fmt.Sprint(i)))
				if open {
					must(t, b.Take(f))
					continue
				}
				must(t, f.Close())
				b.Add(f.Name(), f.Name()) // twice is once
			}
			must(t, b.Flush())
			must(t, b.Flush())
			wantSyncs, wantSyncfs := n, 0
			if n > syncfsAbove {
				wantSyncs, wantSyncfs = 0, 1
			}
			if errors.Is(syncfs(b.root), ErrUnsupported) { // another Unix
				wantSyncs = n
			}
			if len(did.synced) != wantSyncs || did.syncfs != wantSyncfs {
				t.Errorf("%d files, open %v: %d flushes and %d syncfs", n, open, len(did.synced), did.syncfs)
			}
			slices.Sort(did.synced)
			if len(slices.Compact(did.synced)) != wantSyncs {
				t.Errorf("%d files, open %v: some are flushed twice, and others never", n, open)
			}
		}
	}
	b, _ := counted(t, t.TempDir())
	b.Add(filepath.Join(b.root.Name(), "gone"))
	if err := b.Flush(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err %v", err)
	}
}

// Files are flushed before directories, and each directory before its parent,
// in whatever order they were added.
func TestBatchOrder(t *testing.T) {
	dir := t.TempDir()
	b, did := counted(t, dir)
	in := func(p string) string { return filepath.Join(dir, p) }
	for _, p := range []string{"a/b/c/1", "a/b/2", "3", "d/4"} {
		must(t, b.Take(created(t, in(p))))
	}
	closed := created(t, in("a/b/c/5"))
	must(t, closed.Close())
	b.Add(dir, in("d"), in("a"), in("a/b/c"), dir, in("a/b"), closed.Name())
	must(t, b.Flush())
	at := func(p string) int { return slices.Index(did.synced, p) }
	for _, p := range []string{"a/b/c/1", "a/b/2", "3", "d/4", "a/b/c/5", "a/b/c", "a/b", "a", "d"} {
		if at(in(p)) < 0 || at(in(p)) > at(filepath.Dir(in(p))) {
			t.Errorf("%s is flushed after its directory, or not at all: %q", p, did.synced)
		}
	}
	if len(did.synced) != 10 || did.syncfs != 0 {
		t.Errorf("%d flushes, %d syncfs", len(did.synced), did.syncfs)
	}
}

// A failed sync is not repeated, and no parent directory is synced after it. Every
// file is closed.
func TestBatchFails(t *testing.T) {
	dir := t.TempDir()
	for _, failing := range []string{"1", "d"} {
		b, did := counted(t, dir)
		did.failing = failing
		var files []*os.File
		for i := range 3 {
			f := created(t, filepath.Join(dir, "d", fmt.Sprint(i)))
			files = append(files, f)
			must(t, b.Take(f))
		}
		b.Add(dir, filepath.Join(dir, "d"))
		if err := b.Flush(); !errors.Is(err, errFlush) {
			t.Errorf("%s: err %v", failing, err)
		}
		if slices.Contains(did.synced, dir) || failing == "1" && slices.Contains(did.synced, filepath.Join(dir, "d")) {
			t.Errorf("%s: what lies above it was flushed: %q", failing, did.synced)
		}
		if i := slices.Index(did.synced, filepath.Join(dir, "d", failing)); i >= 0 && slices.Contains(did.synced[i+1:],
			did.synced[i]) {
			t.Errorf("%s: it was flushed again", failing)
		}
		for _, f := range files {
			if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("%s: %s was left open", failing, f.Name())
			}
		}
	}
	// If syncfs is not supported, each file is synced.
	b, did := counted(t, dir)
	b.syncfs = func(*os.File) error { return ErrUnsupported }
	b.Expect(syncfsAbove + 1)
	for i := range syncfsAbove + 1 {
		must(t, b.Take(created(t, filepath.Join(dir, "many", fmt.Sprint(i)))))
	}
	must(t, b.Flush())
	if len(did.synced) != syncfsAbove+1 {
		t.Errorf("%d flushes", len(did.synced))
	}
	b, did = counted(t, dir)
	b.syncfs = func(*os.File) error { return errFlush }
	for i := range syncfsAbove + 1 {
		b.Add(filepath.Join(dir, "many", fmt.Sprint(i)))
	}
	if err := b.Flush(); !errors.Is(err, errFlush) || len(did.synced) > 0 {
		t.Errorf("err %v, and then %d flushes", err, len(did.synced))
	}
}

// A file is synced through the descriptor that wrote it, even if its name is gone. A
// file that somebody else closed is an error. In a large batch no file stays open.
func TestBatchTake(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []int{1, syncfsAbove, syncfsAbove + 1} {
		b, did := counted(t, dir)
		b.Expect(n)
		var first *os.File
		for i := range n {
			f := created(t, filepath.Join(dir, fmt.Sprint(i)))
			if i == 0 {
				first = f
			}
			must(t, b.Take(f))
		}
		if _, err := first.Stat(); (err == nil) != (n <= syncfsAbove) {
			t.Errorf("%d files: the first one: %v", n, err)
		}
		if n <= syncfsAbove {
			must(t, os.Rename(filepath.Join(dir, "0"), filepath.Join(dir, "moved")))
		}
		must(t, b.Flush())
		if n <= syncfsAbove && !slices.Contains(did.synced, filepath.Join(dir, "0")) {
			t.Errorf("%d files: the one that was renamed is not flushed", n)
		}
	}
	b, _ := counted(t, dir)
	f := created(t, filepath.Join(dir, "closed"))
	must(t, f.Close())
	must(t, b.Take(f))
	if err := b.Flush(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("err %v", err)
	}
	f = created(t, filepath.Join(dir, "discarded"))
	must(t, b.Take(f))
	must(t, b.Close())
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("the batch left it open: %v", err)
	}
}

// A patient batch of some files calls syncfs once, unless the machine has much to write, or
// does not say how much.
func TestBatchPatient(t *testing.T) {
	if n, err := pending(); err != nil && runtime.GOOS == "linux" || n < 0 {
		t.Errorf("%d bytes are to be written: %v", n, err)
	}
	dir := t.TempDir()
	for _, c := range []struct {
		files  int
		bytes  int64
		err    error
		syncfs int
	}{
		{patientAbove, 0, nil, 0}, {patientAbove + 1, 0, nil, 1}, {patientAbove + 1, patientBytes, nil, 1},
		{patientAbove + 1, patientBytes + 1, nil, 0}, {patientAbove + 1, 0, errFlush, 0},
		{syncfsAbove + 1, patientBytes + 1, nil, 1},
	} {
		b, did := counted(t, dir)
		b.above, b.pending = patientAbove, func() (int64, error) { return c.bytes, c.err }
		b.syncfs = func(*os.File) error { did.syncfs++; return nil }
		files := make([]*os.File, c.files)
		for i := range files {
			files[i] = created(t, filepath.Join(dir, fmt.Sprint(i)))
			must(t, b.Take(files[i]))
		}
		must(t, b.Flush())
		if did.syncfs != c.syncfs || len(did.synced) != (1-c.syncfs)*c.files {
			t.Errorf("%v: %d flushes and %d syncfs", c, len(did.synced), did.syncfs)
		}
		if err := files[0].Close(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%v: a file was left open: %v", c, err)
		}
	}
}
