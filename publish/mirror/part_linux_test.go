package mirror

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// A large content is written past the page cache, also after a cut at any byte, and of
// several at once each comes as it is.
func TestBringPastTheCache(t *testing.T) {
	const odd = largeSize + 4096 + 17
	dir := t.TempDir()
	store := newContent(t, dir)
	must(t, store.create())
	f, err := durable.Create(filepath.Join(dir, "direct"))
	must(t, err)
	_, none := durable.NewDirect(f)
	must(t, f.Close())
	var all sync.WaitGroup
	for i := range cap(direct) + 2 {
		data := bytesOf(largeAbove + odd + i)
		path := store.path(sha(data), partSuffix)
		looked := false
		look := readerFunc(func([]byte) (int, error) {
			if looked = true; i == 0 && none == nil && !isDirect(t, path) {
				t.Error("it is not written past the page cache")
			}
			return 0, io.EOF
		})
		get := func(_ context.Context, from int64) (io.ReadCloser, int64, error) {
			if from == 0 { // a cut
				return io.NopCloser(io.MultiReader(bytes.NewReader(data[:odd]), look)), 0, nil
			}
			return io.NopCloser(bytes.NewReader(data[from:])), from, nil
		}
		bring := func() {
			if err := store.Bring(ctx, sha(data), int64(len(data)), get); err != nil || !looked {
				t.Error(err)
			}
		}
		if i == 0 {
			bring() // alone, so that it has its place
		} else {
			all.Go(bring)
		}
		defer func() {
			if !bytes.Equal(contentOf(t, store, sha(data)), data) {
				t.Error("other bytes are stored")
			}
		}()
	}
	all.Wait()
	if n := len(direct); n != 0 {
		t.Errorf("%d places are taken for good", n)
	}
	must(t, store.Sync(ctx))
}

// isDirect reports whether this process has a file open for direct writes.
func isDirect(t *testing.T, path string) bool {
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, e := range list {
		if at, err := os.Readlink("/proc/self/fd/" + e.Name()); err != nil || at != path {
			continue
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + e.Name())
		must(t, err)
		_, flags, _ := strings.Cut(string(info), "flags:\t")
		flags, _, _ = strings.Cut(flags, "\n")
		n, err := strconv.ParseInt(flags, 8, 64)
		if must(t, err); n&syscall.O_DIRECT != 0 {
			return true
		}
	}
	return false
}

// The part is its lock: nothing else is made for a content.
func TestBringMakesOneFile(t *testing.T) {
	data := bytesOf(10)
	store := newContent(t, t.TempDir())
	must(t, store.Bring(ctx, sha(data), 10, func(context.Context, int64) (io.ReadCloser, int64, error) {
		list, err := os.ReadDir(filepath.Join(store.opt.Dir, catalog.SHA256))
		if must(t, err); len(list) != 1 {
			t.Errorf("the directory has %v", list)
		}
		return io.NopCloser(bytes.NewReader(data)), 0, nil
	}))
}

// Who waits for a part takes no bytes for the ones that he locked after another one gave
// them their name.
func TestBringAfterANameWasGiven(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		data := bytesOf(100 + i)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				store := newContent(t, dir)
				s := &server{data: data}
				err := store.Bring(ctx, sha(data), int64(len(data)), s.get)
				if err == nil {
					err = store.Sync(ctx)
				}
				if err != nil {
					t.Error(err)
				} else if !bytes.Equal(contentOf(t, store, sha(data)), data) {
					t.Error("other bytes are stored")
				}
			})
		}
		all.Wait()
		if list, err := os.ReadDir(filepath.Join(dir, catalog.SHA256)); err != nil || len(list) != i+1 {
			t.Errorf("the directory has %v, %v", list, err)
		}
	}
}
