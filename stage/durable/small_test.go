package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadSmall(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, text := range []string{"", "x", strings.Repeat("y", 100)} {
		if err := os.WriteFile(at("file"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadSmall(at("file"), 100); err != nil || string(got) != text {
			t.Errorf("%d bytes are read as %d: %v", len(text), len(got), err)
		}
	}
	if _, err := ReadSmall(at("file"), 99); !errors.Is(err, ErrTooLong) {
		t.Errorf("one byte too long: %v", err)
	}
	if _, err := ReadSmall(at("none"), 99); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := errors.Join(os.Symlink(at("file"), at("link")), syscall.Mkfifo(at("pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, at("link"), at("pipe")} {
		if _, err := ReadSmall(path, 100); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
