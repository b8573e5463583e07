package durable

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// A file comes to its name complete, in place of an older one, and alone.
func TestWriteNameless(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar")
	rng := rand.NewChaCha8([32]byte{})
	for _, size := range []int{0, 5, 1 << 20, 3<<20 + 17} {
		want := make([]byte, size)
		_, _ = rng.Read(want)
		err := WriteNameless(path, 0o640, func(w io.Writer) error {
			for i := 0; i < len(want); i += 70001 {
				if _, err := w.Write(want[i:min(i+70001, len(want))]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: they are others: %v", size, err)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o640 {
			t.Errorf("mode %v: %v", fi.Mode(), err)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
			t.Errorf("%d files, want 1: %v", len(list), err)
		}
	}
}

// While it is written nothing is to be seen, and after a failure neither.
func TestWriteNamelessFails(t *testing.T) {
	dir := t.TempDir()
	failed := errors.New("no more")
	empty := func(when string) {
		t.Helper()
		if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
			t.Errorf("%s there are %d files: %v", when, len(list), err)
		}
	}
	err := WriteNameless(filepath.Join(dir, "a.tar"), 0o644, func(w io.Writer) error {
		_, err := w.Write(make([]byte, 2<<20))
		if fi, ok := w.(*blockWriter); ok && fi != nil {
			empty("while it is written")
		}
		return errors.Join(err, failed)
	})
	if !errors.Is(err, failed) {
		t.Error(err)
	}
	empty("after it failed")
}
