package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"example.com/publish/stage/sha256x2"
	"example.com/publish/stage/tree"
)

// oneAtATime makes a worker read one file at a time, as on a processor without the instructions.
func oneAtATime(t *testing.T) {
	was := sha256x2.Enabled
	sha256x2.Enabled = false
	t.Cleanup(func() { sha256x2.Enabled = was })
}

// needsOf are needs of all these files, as a walk would make them.
func needsOf(t *testing.T, dir string, names []string) []*need {
	var all []*need
	for _, name := range names {
		all = append(all, needAt(name, "", tree.StatOf(stat(t, filepath.Join(dir, name)))))
	}
	return all
}

// The sums of files that are read two at a time are their own, however long each is.
func TestTwoFilesAtATime(t *testing.T) {
	contents, names := map[string][]byte{}, []string(nil)
	sizes := []int{0, 1, 63, 64, 65, 4096, 64 << 10, 64<<10 + 1, laneSize - 1, laneSize, laneSize + 1, 3*laneSize + 77}
	for i, size := range append(sizes, sizes...) {
		name := fmt.Sprintf("in/%02d", i)
		data := bytes.Repeat([]byte{byte(i), byte(size), 3}, size/3+1)[:size]
		contents[name], names = data, append(names, name)
	}
	dir := files(t, contents)
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	check := func(t *testing.T) {
		for from := range names {
			some := append(slices.Clone(names[from:]), names[:from]...) // other neighbours each time
			var told atomic.Int64
			list, read, err := readAll(context.Background(), root, needsOf(t, dir, some),
				func(n int64) { told.Add(n) })
			must(t, err)
			var all int64
			for _, n := range list {
				all += int64(len(contents[n.path]))
				if want := sum(contents[n.path]); n.got.err() != nil || n.got.sha256 != want {
					t.Errorf("%s of %d bytes: %s, %v; want %s", n.path, len(contents[n.path]), n.got.sha256, n.got.err(), want)
				}
			}
			if read != all || told.Load() != all {
				t.Errorf("read %d bytes and told of %d; want %d", read, told.Load(), all)
			}
		}
	}
	t.Run("two", check)
	t.Run("one", func(t *testing.T) {
		oneAtATime(t)
		check(t)
	})
}

// What is wrong with one file says nothing of the file beside it.
func TestWrongFileBesideAGoodOne(t *testing.T) {
	big := bytes.Repeat([]byte("big"), laneSize)
	dir := files(t, map[string][]byte{"good1": big, "changed": big, "good2": big, "small": []byte("s"), "good3": big})
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	list := needsOf(t, dir, []string{"good1", "changed", "good2", "small", "good3"})
	for _, p := range []string{"changed", "small"} {
		must(t, os.WriteFile(filepath.Join(dir, p), []byte("other bytes"), 0o644))
	}
	list = append(list, &need{path: "gone"})
	_, _, err = readAll(context.Background(), root, list, func(int64) {})
	must(t, err)
	for _, n := range list {
		switch n.path {
		case "changed", "small":
			if !errors.Is(n.got.err(), tree.ErrChanged) {
				t.Errorf("%s: %v, want that it has changed", n.path, n.got.err())
			}
		case "gone":
			if !errors.Is(n.got.err(), fs.ErrNotExist) {
				t.Errorf("%s: %v", n.path, n.got.err())
			}
		default:
			if n.got.err() != nil || n.got.sha256 != sum(big) {
				t.Errorf("%s: %s, %v", n.path, n.got.sha256, n.got.err())
			}
		}
	}
}

// A file that another process shortens or extends while it is read has no sum, and a
// reading that is called off ends.
func TestFileChangesWhileItIsRead(t *testing.T) {
	big := bytes.Repeat([]byte("big"), 4*laneSize)
	for name, size := range map[string]int64{"shorter": laneSize, "longer": int64(len(big)) + 1} {
		dir := files(t, map[string][]byte{"a": big, "b": big})
		root, err := os.OpenRoot(dir)
		must(t, err)
		list := needsOf(t, dir, []string{"a"})
		var once atomic.Bool
		_, _, err = readAll(context.Background(), root, list, func(int64) {
			if !once.Swap(true) {
				if err := os.Truncate(filepath.Join(dir, "a"), size); err != nil {
					t.Error(err)
				}
			}
		})
		must(t, err)
		if !errors.Is(list[0].got.err(), tree.ErrChanged) {
			t.Errorf("%s: %s, %v", name, list[0].got.sha256, list[0].got.err())
		}
		ctx, cancel := context.WithCancel(context.Background())
		_, _, err = readAll(ctx, root, needsOf(t, dir, []string{"a", "b"}), func(int64) { cancel() })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("called off: %v", err)
		}
		must(t, root.Close())
	}
}

// Sums of one reading are right in any number: the file's own, and those of pairs.
func TestManySumsOfOneReading(t *testing.T) {
	root := bytes.Repeat([]byte("root"), laneSize)
	contents := map[string][]byte{"root": root}
	var firsts []string
	for i := range 4 {
		name := fmt.Sprintf("first%d", i)
		contents[name], firsts = bytes.Repeat([]byte(name), 1+i*10_000), append(firsts, name)
		dir := files(t, contents)
		at, err := os.OpenRoot(dir)
		must(t, err)
		list, _, err := readAll(context.Background(), at,
			[]*need{{path: "root", odd: &odd{after: firsts, md5: i == 2, long: i == 3}}}, func(int64) {})
		must(t, err)
		for _, n := range list {
			if n.got.sha256 != sum(contents[n.path]) {
				t.Errorf("%s: %s", n.path, n.got.sha256)
			}
			if n.path != "root" {
				continue
			}
			for _, first := range firsts {
				if want := (pairSum{first, sum(contents[first], root)}); !slices.Contains(n.got.more.pairs, want) {
					t.Errorf("%d firsts: %v lacks %v", len(firsts), n.got.more.pairs, want)
				}
			}
		}
		must(t, at.Close())
	}
}
