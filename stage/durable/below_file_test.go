package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestBelowFiles(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenBelow(dir, ".")
	must(t, err)
	defer d.Close()
	must(t, d.WriteFile("a", []byte("one"), 0o644))
	must(t, d.WriteFile("a", []byte("two"), 0o640))
	data, fi, err := d.ReadSmall("a", 3)
	must(t, err)
	if string(data) != "two" || fi.Mode().Perm() != 0o640 {
		t.Errorf("%q, mode %v", data, fi.Mode())
	}
	if list, err := d.Names(); err != nil || len(list) != 1 {
		t.Errorf("names %q, %v", list, err)
	}
	if _, _, err := d.ReadSmall("a", 2); !errors.Is(err, ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
	if _, _, err := d.ReadSmall("b", 2); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	must(t, os.Symlink("a", filepath.Join(dir, "link")))
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o755))
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	for _, name := range []string{"link", "folder", "pipe"} {
		if _, _, err := d.ReadSmall(name, 9); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is replaced is a link, not what it leads to.
	must(t, d.WriteFile("link", []byte("three"), 0o644))
	if data, _, err := d.ReadSmall("a", 9); err != nil || string(data) != "two" {
		t.Errorf("a is %q, %v", data, err)
	}
	// A failure leaves nothing behind.
	if err := d.WriteFile("folder", nil, 0o644); err == nil {
		t.Error("a file replaced a folder")
	}
	if list, err := d.Names(); err != nil || len(list) != 4 {
		t.Errorf("names %q, %v", list, err)
	}
}
