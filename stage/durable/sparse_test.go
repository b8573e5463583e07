package durable

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// For holes at any place, a file is read correctly, and its copy has the same bytes
// and holes.
func TestSparse(t *testing.T) {
	data := bytes.Repeat([]byte("data"), 3<<10)
	for name, pieces := range map[string][]int64{ // where data is
		"empty":          {},
		"no hole":        {0},
		"only a hole":    {-1},
		"at the front":   {1 << 20},
		"at the end":     {0, -1},
		"in the middle":  {0, 5 << 20, 5<<20 + 12<<10, 7<<20 + 123, -1},
		"an odd ending":  {64 << 10, -2},
		"data at an end": {3 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			src, err := os.Create(filepath.Join(dir, "src"))
			must(t, err)
			defer src.Close()
			for _, at := range pieces {
				switch at {
				case -1:
					must(t, src.Truncate(8<<20))
				case -2:
					must(t, src.Truncate(8<<20+123))
				default:
					_, err := src.WriteAt(data, at)
					must(t, err)
				}
			}
			want, err := os.ReadFile(src.Name())
			must(t, err)
			got, err := io.ReadAll(NewSparse(src))
			must(t, err)
			if !bytes.Equal(got, want) {
				t.Errorf("read %d bytes, want %d", len(got), len(want))
			}
			// The copy, in pieces of any size.
			dst, err := os.Create(filepath.Join(dir, "dst"))
			must(t, err)
			defer dst.Close()
			w := NewHoleWriter(dst)
			for rest := want; len(rest) > 0; {
				n, err := w.Write(rest[:min(len(rest), 1+rand.IntN(300_000))])
				must(t, err)
				rest = rest[n:]
			}
			must(t, w.End())
			copied, err := os.ReadFile(dst.Name())
			must(t, err)
			if !bytes.Equal(copied, want) {
				t.Errorf("copied %d bytes, want %d", len(copied), len(want))
			}
			if runtime.GOOS == "linux" && blocks(t, dst) > blocks(t, src)+int64(len(pieces))*256 {
				t.Errorf("the copy has %d blocks, the source %d", blocks(t, dst), blocks(t, src))
			}
		})
	}
}

func blocks(t *testing.T, f *os.File) int64 {
	must(t, f.Sync()) // some file systems count them only then
	fi, err := f.Stat()
	must(t, err)
	return int64(fi.Sys().(*syscall.Stat_t).Blocks)
}

// If a file is truncated while it is read, reading ends there.
func TestSparseCut(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("head"), 0)
	must(t, err)
	must(t, f.Truncate(1<<20))
	r := NewSparse(f)
	_, err = io.ReadFull(r, make([]byte, 2))
	must(t, err)
	must(t, f.Truncate(0))
	rest, err := io.ReadAll(r)
	if err != nil || len(rest) > 1<<20 {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
}
