package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"example.com/publish/stage/catalog"
)

// bytesOf returns n bytes that are the same each time.
func bytesOf(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(b)
	return b
}

func sha(b []byte) catalog.Digest {
	return catalog.Digest{Algorithm: catalog.SHA256, Hex: fmt.Sprintf("%x", sha256.Sum256(b))}
}

// server answers requests for a content, with faults.
type server struct {
	data []byte
	// fault may change the n-th answer, counted from 0: its bytes, where they begin, and
	// the error after them.
	fault func(n int, from int64) (body []byte, first int64, err error, ok bool)

	asked atomic.Int64
	sent  atomic.Int64
	froms []int64
}

func (s *server) get(_ context.Context, from int64) (io.ReadCloser, int64, error) {
	n := int(s.asked.Add(1)) - 1
	s.froms = append(s.froms, from)
	body, first, end := s.data[min(from, int64(len(s.data))):], from, error(nil)
	if s.fault != nil {
		if b, f, err, ok := s.fault(n, from); ok {
			body, first, end = b, f, err
		}
	}
	if body == nil && end != nil {
		return nil, 0, end
	}
	r := io.Reader(&counted{bytes.NewReader(body), &s.sent})
	if end != nil {
		r = io.MultiReader(r, iotest.ErrReader(end))
	}
	return io.NopCloser(r), first, nil
}

type counted struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func newContent(t testing.TB, dir string) *Content {
	c := NewContent(ContentOptions{Dir: dir})
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func contentOf(t testing.TB, c *Content, d catalog.Digest) []byte {
	t.Helper()
	f, err := c.Open(d)
	must(t, err)
	b, err := io.ReadAll(f)
	must(t, errors.Join(err, f.Close()))
	return b
}

var errCut = errors.New("connection reset")

// faultOf is what the n-th request for data is answered with; see server.fault.
type faultOf func(data []byte, n int, from int64) (body []byte, first int64, err error, ok bool)

func TestBringFaults(t *testing.T) {
	const large = 3<<20 + 17
	page := []byte("<html>log in</html>")
	for _, c := range []struct {
		name  string
		size  int // of the content
		fault faultOf
		class catalog.Failure // "" means that it comes
		again bool
		asked int64
		most  float64 // of the bytes that were sent
	}{
		{name: "as it should be", size: 100, asked: 1, most: 1},
		{name: "large", size: large, asked: 1, most: 1},
		{name: "nothing", size: 0, asked: 0},
		{name: "one block", size: blockSize, asked: 1, most: 1},
		{name: "cut three times", size: large,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				return data[from : from+large/4], from, errCut, n < 3
			}, asked: 4, most: 1},
		{name: "ends early three times", size: large,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				return data[from : from+large/4], from, nil, n < 3
			}, asked: 4, most: 1},
		{name: "cut without an end", size: 1000,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				return data[from : from+1], from, errCut, true
			}, class: catalog.Unreachable, again: true, asked: maxCuts + 1, most: 1},
		{name: "cut at once", size: 1000,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				return []byte{}, from, errCut, true
			}, class: catalog.Unreachable, again: true, asked: 1, most: 1},
		{name: "range ignored", size: large,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				if n == 0 {
					return data[:large/2], 0, errCut, true
				}
				return data, 0, nil, true
			}, asked: 2, most: 1.5},
		{name: "range ignored and cut", size: large,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				return data[:large/2], 0, errCut, true
			}, class: catalog.Unreachable, again: true, asked: 2, most: 1.1},
		{name: "range begins earlier", size: large,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				if n == 0 {
					return data[:large/2], 0, errCut, true
				}
				return data[from-10:], from - 10, nil, true
			}, asked: 2, most: 1.1},
		{name: "range begins later", size: 1000,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				switch n {
				case 0:
					return data[:500], 0, errCut, true
				case 1:
					return data[600:], 600, nil, true
				}
				return data, 0, nil, true
			}, asked: 3, most: 2},
		{name: "range says less than it does", size: 1000,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				switch n {
				case 0:
					return data[:500], 0, errCut, true
				case 1:
					return data[501:], 500, nil, true // shifted: one byte is missing at its end
				}
				return data[from:], from, nil, true
			}, asked: 4, most: 2.1},
		{name: "wrong bytes once", size: large,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				b := bytes.Clone(data)
				b[7]++
				return b, 0, nil, n == 0
			}, asked: 2, most: 2},
		{name: "a page once", size: 1000,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				return page, 0, nil, n == 0
			}, asked: 3, most: 2.1},
		{name: "long bytes once", size: 1000,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				return append(bytes.Clone(data), "more"...), 0, nil, n == 0
			}, asked: 2, most: 2.1},
		{name: "long bytes always", size: 1000,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				return append(bytes.Clone(data), "more"...), 0, nil, true
			}, class: catalog.WrongDigest, asked: 3, most: 3.1},
		{name: "wrong bytes always", size: 1000,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				return make([]byte, 1000), 0, nil, true
			}, class: catalog.WrongDigest, asked: 3, most: 3.1},
		{name: "refused", size: 1000,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				return nil, 0, catalog.Failed(catalog.Unauthorized, "example.com", "no"), true
			}, class: catalog.Unauthorized, asked: 1, most: 0},
		{name: "refused after a cut", size: 1000,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				if n == 0 {
					return data[:500], 0, errCut, true
				}
				return nil, 0, catalog.Failed(catalog.NotFound, "example.com", "no"), true
			}, class: catalog.NotFound, asked: 2, most: 0.5},
		{name: "an error after all bytes", size: 1000,
			fault: func(data []byte, n int, from int64) ([]byte, int64, error, bool) {
				return data, 0, errCut, true
			}, asked: 1, most: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := bytesOf(c.size)
			s := &server{data: data}
			if c.fault != nil {
				s.fault = func(n int, from int64) ([]byte, int64, error, bool) { return c.fault(data, n, from) }
			}
			dir := t.TempDir()
			store := newContent(t, dir)
			err := store.Bring(ctx, sha(data), int64(c.size), s.get)
			remote := (*catalog.RemoteError)(nil)
			switch {
			case c.class == "":
				must(t, err)
				must(t, store.Sync(ctx))
				if !bytes.Equal(contentOf(t, newContent(t, dir), sha(data)), data) {
					t.Error("other bytes are stored")
				}
				if store.Done() != int64(c.size) {
					t.Errorf("%d bytes are done", store.Done())
				}
			case !errors.As(err, &remote) || remote.Class != c.class || remote.Again != c.again:
				t.Errorf("the error is %#v", err)
			}
			if s.asked.Load() != c.asked || float64(s.sent.Load()) > c.most*float64(c.size)+5 {
				t.Errorf("asked %d times (%v), %d bytes were sent", s.asked.Load(), s.froms, s.sent.Load())
			}
			if c.class == catalog.WrongDigest {
				left, err := os.ReadDir(filepath.Join(dir, catalog.SHA256))
				if must(t, err); len(left) > 0 {
					t.Errorf("wrong bytes stay: %v", left)
				}
			}
		})
	}
}

// What a killed process left is gone on with, if it is right.
func TestBringGoesOn(t *testing.T) {
	data := bytesOf(1 << 20)
	half := len(data) / 2
	for _, c := range []struct {
		name string
		part []byte
		from []int64
	}{
		{"half", data[:half], []int64{int64(half)}},
		{"all of it", data, nil},
		{"zeros of a power cut", append(bytes.Clone(data[:half-4096]), make([]byte, 4096)...), []int64{int64(half), 0}},
		{"all zeros", make([]byte, len(data)), []int64{0}},
		{"too long", append(bytes.Clone(data), 0), []int64{0}},
		{"empty", nil, []int64{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			store := newContent(t, dir)
			must(t, store.create())
			must(t, os.WriteFile(store.path(sha(data), partSuffix), c.part, 0o444))
			s := &server{data: data}
			must(t, store.Bring(ctx, sha(data), int64(len(data)), s.get))
			must(t, store.Sync(ctx))
			if !bytes.Equal(contentOf(t, store, sha(data)), data) {
				t.Error("other bytes are stored")
			}
			if fmt.Sprint(s.froms) != fmt.Sprint(c.from) {
				t.Errorf("asked from %v", s.froms)
			}
		})
	}
}

func TestBringSHA512(t *testing.T) {
	data := bytesOf(1000)
	d := catalog.Digest{Algorithm: catalog.SHA512, Hex: fmt.Sprintf("%x", sha512.Sum512(data))}
	store := newContent(t, t.TempDir())
	must(t, store.Bring(ctx, d, 1000, (&server{data: data}).get))
	if !bytes.Equal(contentOf(t, store, d), data) {
		t.Error("other bytes are stored")
	}
	bad := catalog.Digest{Algorithm: catalog.SHA256, Hex: "../../etc"}
	remote := (*catalog.RemoteError)(nil)
	if err := store.Bring(ctx, bad, 3, nil); !errors.As(err, &remote) || remote.Class != catalog.WrongDigest {
		t.Errorf("a digest that climbs: %v", err)
	}
	if store.Has(bad) {
		t.Error("a digest that climbs is there")
	}
}

// A descriptor with a wrong size must not damage what another job has.
func TestBringWrongSize(t *testing.T) {
	data := bytesOf(1000)
	dir := t.TempDir()
	first, second := newContent(t, dir), newContent(t, dir)
	must(t, first.Bring(ctx, sha(data), 1000, (&server{data: data}).get))
	for _, size := range []int64{-1, 0, 999, 1001} {
		remote := (*catalog.RemoteError)(nil)
		if err := second.Bring(ctx, sha(data), size, (&server{data: data}).get); !errors.As(err, &remote) ||
			remote.Class != catalog.WrongDigest {
			t.Errorf("size %d: %v", size, err)
		}
	}
	must(t, first.Sync(ctx))
	if !bytes.Equal(contentOf(t, first, sha(data)), data) {
		t.Error("other bytes are stored")
	}
}

// Many jobs that share contents fetch each once.
func TestBringOnce(t *testing.T) {
	dir := t.TempDir()
	blobs := [][]byte{bytesOf(10), bytesOf(1000), bytesOf(600 << 10)}
	var asked atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			c := NewContent(ContentOptions{Dir: dir})
			var job sync.WaitGroup
			for _, b := range blobs {
				job.Go(func() {
					err := c.Bring(ctx, sha(b), int64(len(b)), func(_ context.Context, from int64) (io.ReadCloser, int64, error) {
						asked.Add(1)
						return io.NopCloser(iotest.HalfReader(bytes.NewReader(b[from:]))), from, nil
					})
					if err != nil {
						t.Error(err)
					}
				})
			}
			job.Wait()
			if err := errors.Join(c.Sync(ctx), c.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if int(asked.Load()) != len(blobs) {
		t.Errorf("%d contents were asked for %d times", len(blobs), asked.Load())
	}
	store := newContent(t, dir)
	for _, b := range blobs {
		if !bytes.Equal(contentOf(t, store, sha(b)), b) {
			t.Error("other bytes are stored")
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, catalog.SHA256))
	if must(t, err); len(files) != len(blobs) {
		t.Errorf("the directory has %v", files)
	}
}

func TestBringWaitsWithContext(t *testing.T) {
	data := bytesOf(10)
	dir := t.TempDir()
	first, second := newContent(t, dir), newContent(t, dir)
	stop, cancel := context.WithCancel(ctx)
	must(t, first.Bring(ctx, sha(data), 10, func(context.Context, int64) (io.ReadCloser, int64, error) {
		cancel()
		if err := second.Bring(stop, sha(data), 10, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("the wait for a part ends with %v", err)
		}
		return io.NopCloser(bytes.NewReader(data)), 0, nil
	}))
}

// A signal keeps the bytes that came.
func TestBringInterrupted(t *testing.T) {
	data := bytesOf(1 << 20)
	dir := t.TempDir()
	stop, cancel := context.WithCancel(ctx)
	first := newContent(t, dir)
	err := first.Bring(stop, sha(data), int64(len(data)), func(context.Context, int64) (io.ReadCloser, int64, error) {
		rest := io.MultiReader(bytes.NewReader(data[:len(data)/2]), readerFunc(func([]byte) (int, error) {
			cancel()
			return 0, context.Canceled
		}))
		return io.NopCloser(rest), 0, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	s := &server{data: data}
	must(t, newContent(t, dir).Bring(ctx, sha(data), int64(len(data)), s.get))
	if len(s.froms) != 1 || s.froms[0] != int64(len(data)/2) {
		t.Errorf("asked from %v", s.froms)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestElsewhere(t *testing.T) {
	data := bytesOf(100)
	tree := filepath.Join(t.TempDir(), "in-the-tree")
	must(t, os.WriteFile(tree, data, 0o644))
	c := NewContent(ContentOptions{Dir: filepath.Join(t.TempDir(), "blobs"),
		Elsewhere: func(d catalog.Digest) (string, bool) { return tree, d == sha(data) }})
	if !c.Has(sha(data)) || c.Has(sha([]byte("x"))) {
		t.Error("Has is wrong")
	}
	must(t, c.Bring(ctx, sha(data), 100, nil))
	if !bytes.Equal(contentOf(t, c, sha(data)), data) || c.Done() != 100 {
		t.Error("other bytes")
	}
	must(t, c.Sync(ctx))
}

func TestNoRoom(t *testing.T) {
	dir := t.TempDir()
	c := NewContent(ContentOptions{Dir: dir, Free: 1 << 60})
	remote := (*catalog.RemoteError)(nil)
	if err := c.Expect(1, 1); !errors.As(err, &remote) || remote.Class != catalog.NoSpace || !remote.Again {
		t.Errorf("Expect returns %v", err)
	}
	must(t, c.Expect(0, 0))
	data := bytesOf(leap + 1)
	if err := c.Bring(ctx, sha(data), leap+1, nil); !errors.As(err, &remote) || remote.Class != catalog.NoSpace {
		t.Errorf("Bring returns %v", err)
	}
	must(t, c.Close())
	must(t, NewContent(ContentOptions{Dir: dir}).Expect(1, 1))
}

func TestSweepContent(t *testing.T) {
	dir := t.TempDir()
	c := newContent(t, dir)
	var all []catalog.Digest
	for i := range 4 {
		data := bytesOf(100 + i)
		must(t, c.Bring(ctx, sha(data), int64(len(data)), (&server{data: data}).get))
		all = append(all, sha(data))
	}
	must(t, c.Sync(ctx))
	part := sha([]byte("part"))
	must(t, os.WriteFile(c.path(part, partSuffix), []byte("pa"), 0o600))
	must(t, os.Chmod(c.path(part, partSuffix), 0o444)) // a kill in Sync
	must(t, os.WriteFile(filepath.Join(dir, catalog.SHA256, "notes.txt"), nil, 0o600))
	now := time.Now()
	keep := func(d catalog.Digest) bool { return d == all[0] }
	s, err := SweepContent(ctx, dir, keep, now.Add(-time.Hour))
	if must(t, err); s.Files != 0 || len(s.Left) != 1 {
		t.Errorf("what is new: %+v", s)
	}
	s, err = SweepContent(ctx, dir, keep, now.Add(time.Hour))
	if must(t, err); s.Files != 4 || s.Bytes != 101+102+103+2 || len(s.Left) != 1 {
		t.Errorf("what is old: %+v", s)
	}
	if !c.Has(all[0]) || c.Has(all[1]) {
		t.Error("the wrong ones stay")
	}
	left, err := os.ReadDir(filepath.Join(dir, catalog.SHA256))
	if must(t, err); len(left) != 2 {
		t.Errorf("the directory has %v", left)
	}
	if s, err := SweepContent(ctx, filepath.Join(dir, "none"), keep, now); err != nil || s.Files != 0 {
		t.Errorf("a missing directory: %+v, %v", s, err)
	}
}
