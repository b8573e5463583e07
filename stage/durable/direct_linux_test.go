package durable

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// For any sizes of writes, and on any file system, the file has what was written.
func TestDirect(t *testing.T) {
	dirs := []string{t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "direct-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		dirs = append(dirs, dir)
	}
	block := Block(64 << 10)
	for i := range block {
		block[i] = byte(rand.Int())
	}
	for _, dir := range dirs {
		for name, pieces := range map[string][][]byte{
			"nothing":      {},
			"whole blocks": {block, block[:4096], block},
			"a tail":       {block, block[:5000]},
			"after a tail": {block, block[:1], block, block[:4096]},
			"unaligned":    {block[1:4097], block},
		} {
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			d, err := NewDirect(f)
			if errors.Is(err, ErrUnsupported) {
				t.Logf("%s: no direct writes", dir)
				f.Close()
				break
			}
			for _, p := range pieces {
				if n, err := d.Write(p); err != nil || n != len(p) {
					t.Errorf("%s: %d, %v", name, n, err)
				}
			}
			if err := errors.Join(err, d.End(), f.Close()); err != nil {
				t.Error(err)
			}
			if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, bytes.Join(pieces, nil)) {
				t.Errorf("%s %s: %d bytes, %v", dir, name, len(got), err)
			}
		}
	}
}

func TestBlock(t *testing.T) {
	for _, size := range []int{1 << 10, 1 << 20, hugePage, 2 * hugePage} {
		b := Block(size)
		align := uintptr(DirectAlign)
		if size >= hugePage {
			align = hugePage
		}
		if len(b) != size || cap(b) != size || address(b)%align != 0 {
			t.Errorf("a block of %d bytes has %d, of %d, at %#x", size, len(b), cap(b), address(b))
		}
		b[0], b[size-1] = 1, 1
	}
}
