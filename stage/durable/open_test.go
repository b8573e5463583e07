package durable

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Only a regular file is opened, and opening does not block on a pipe.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(at("file"), []byte("1234"), 0o644))
	must(t, os.Symlink("file", at("link")))
	must(t, os.Symlink("/dev/zero", at("zero")))
	must(t, syscall.Mkfifo(at("pipe"), 0o644))
	must(t, os.Mkdir(at("folder"), 0o755))
	socket, err := net.Listen("unix", at("socket"))
	must(t, err)
	defer socket.Close()

	for name, want := range map[string]error{"file": nil, "link": ErrNotRegular, "zero": ErrNotRegular,
		"pipe":   ErrNotRegular,
		"folder": ErrNotRegular, "socket": ErrNotRegular, "gone": fs.ErrNotExist} {
		for how, open := range map[string]func(string) (*os.File, error){"Open": Open, "OpenAppend": OpenAppend} {
			f, err := open(at(name))
			if !errors.Is(err, want) {
				t.Errorf("%s(%s): %v", how, name, err)
			}
			if err == nil {
				must(t, f.Close())
			}
		}
		if _, err := ReadFile(at(name), 4); !errors.Is(err, want) {
			t.Errorf("ReadFile(%s): %v", name, err)
		}
		if _, err := ReadText(at(name), 4); !errors.Is(err, want) {
			t.Errorf("ReadText(%s): %v", name, err)
		}
		if err := AppendLine(at(name), []byte("\n")); !errors.Is(err, want) {
			t.Errorf("AppendLine(%s): %v", name, err)
		}
		if err := Truncate(at(name), 4); !errors.Is(err, want) {
			t.Errorf("Truncate(%s): %v", name, err)
		}
	}
	for name, want := range map[string]error{"file": nil, "link": nil, "zero": ErrNotRegular, "pipe": ErrNotRegular,
		"folder": ErrNotRegular} {
		f, err := OpenNamed(at(name))
		if !errors.Is(err, want) {
			t.Errorf("OpenNamed(%s): %v", name, err)
		}
		if err == nil {
			must(t, f.Close())
		}
	}
	for _, name := range []string{"file", "link", "folder", "pipe"} {
		if f, err := Create(at(name)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Create(%s): %v, %v", name, f, err)
		}
	}
	_ = SyncDir(at("pipe")) // it returns, that is all
}

func TestReadBounded(t *testing.T) {
	p := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(p, []byte("12345"), 0o644))
	if got, err := ReadFile(p, 5); err != nil || string(got) != "12345" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := ReadFile(p, 4); !errors.Is(err, ErrTooLong) || !strings.Contains(err.Error(), p) {
		t.Errorf("five bytes of four: %v", err)
	}
	if got, err := ReadText(p, 5); err != nil || got != "12345" {
		t.Errorf("%q %v", got, err)
	}
	if got, err := ReadText(p, 4); !errors.Is(err, ErrTooLong) || !strings.Contains(err.Error(), p) || got != "" {
		t.Errorf("five bytes of four: %q, %v", got, err)
	}
	if got, err := ReadBounded(strings.NewReader("1234"), 4); err != nil || string(got) != "1234" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := ReadBounded(strings.NewReader("12345"), 4); !errors.Is(err, ErrTooLong) {
		t.Errorf("five bytes of four: %v", err)
	}
	long := strings.Repeat("x", 100_000)
	if got, err := ReadBounded(strings.NewReader(long), 1<<20); err != nil || string(got) != long {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	// Its size is 0, but reading it does not end.
	if zero, err := os.Open("/dev/zero"); err == nil {
		defer zero.Close()
		if got, err := ReadBounded(zero, 1000); !errors.Is(err, ErrTooLong) || len(got) > 2000 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

func TestOpenDir(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.Mkdir(at("folder"), 0o755))
	must(t, os.Symlink("folder", at("link")))
	must(t, syscall.Mkfifo(at("pipe"), 0o644))
	f, err := OpenDir(at("folder"))
	must(t, err)
	must(t, f.Close())
	for _, name := range []string{"link", "pipe", "gone"} {
		if _, err := OpenDir(at(name)); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
}
