package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/publish/publish"
)

// disk is a file that takes only so many bytes, and then fails.
type disk struct {
	text string
	room int
}

func (d *disk) Write(b []byte) (int, error) {
	n := min(len(b), d.room)
	d.text, d.room = d.text+string(b[:n]), d.room-n
	if n < len(b) {
		return n, errors.New("the disk is full")
	}
	return n, nil
}

// After a failed write the access log goes on. Each trouble is logged once, with how many
// lines it cost; a line that was cut off stands by itself.
func TestAccessLogAfterTrouble(t *testing.T) {
	for _, c := range []struct {
		room int // when the trouble begins
		text string
		lost int
	}{
		{0, "line 6\nline 7\n", 6},
		{3, "lin\nline 6\nline 7\n", 6},
		{7, "line 0\nline 6\nline 7\n", 5},
		{13, "line 0\nline 1\nline 6\nline 7\n", 4}, // only its end is missing
	} {
		d, own := &disk{room: c.room}, &logged{}
		a, err := openAccessLog("-", d, slog.New(slog.NewTextHandler(own, nil)), nil)
		if err != nil {
			t.Fatal(err)
		}
		put := func(from, to int) {
			for n := from; n < to; n++ {
				fmt.Fprintf(a, "line %d\n", n)
			}
			a.flush()
		}
		put(0, 2)
		put(2, 4)
		put(4, 6)
		d.room = 1 << 10
		put(6, 7)
		put(7, 8)
		a.close()
		if d.text != c.text {
			t.Errorf("room for %d bytes: %q, want %q", c.room, d.text, c.text)
		}
		said := own.String()
		if strings.Count(said, "cannot be written") != 1 || strings.Count(said, "written again") != 1 ||
			!strings.Contains(said, fmt.Sprintf("lost=%d\n", c.lost)) {
			t.Errorf("room for %d bytes: %s, want %d lost", c.room, said, c.lost)
		}
	}
}

// What was lost until the end is said at the end.
func TestAccessLogEndsInTrouble(t *testing.T) {
	own := &logged{}
	a, err := openAccessLog("-", &disk{}, slog.New(slog.NewTextHandler(own, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(a, "line")
	a.close()
	if !strings.Contains(own.String(), "lost=1") {
		t.Error(own)
	}
}

// A new file begins with a whole line, whatever the one before ended with.
func TestAccessLogIsReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	a, err := openAccessLog(path, nil, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, moved := range []bool{false, true} {
		a.cut = true
		if moved {
			err = os.Rename(path, path+".1")
		}
		a.reopen()
		fmt.Fprintln(a, "line")
		a.flush()
		text, err2 := os.ReadFile(path)
		want := map[bool]string{false: "\nline\n", true: "line\n"}[moved]
		if err != nil || err2 != nil || string(text) != want {
			t.Errorf("moved: %t: %q, want %q, %v %v", moved, text, want, err, err2)
		}
	}
	a.close()
}

// The access log never lands in production, or in what a repository keeps for itself: not
// at the start, and not after a link on the way was moved.
func TestAccessLogIsOutside(t *testing.T) {
	for _, mode := range modes {
		w := streams(t, mode)
		refused := func(name string) {
			t.Helper()
			path := filepath.Join(w.dir, name)
			a, err := openAccessLog(path, nil, slog.New(slog.DiscardHandler), w.repo.CheckOutside)
			if e := new(publish.Error); !errors.As(err, &e) || e.Kind != publish.Usage || e.Hint == "" {
				t.Errorf("%s: %s: %v", mode, name, err)
				a.close()
			}
		}
		refused("production") // no promote yet
		w.promoteOne()
		w.no(os.Symlink("production/x", filepath.Join(w.dir, "dangling")))
		w.no(os.Symlink("staging", filepath.Join(w.dir, "link")))
		for _, name := range []string{"production/a.log", "production/streams/a.log", "staging/a", "link/a", "dangling",
			".publish/history", ".publish/a", "generations/a", "publish.yaml"} {
			refused(name)
		}
		logs := filepath.Join(w.dir, "logs")
		w.no(os.Mkdir(logs, 0o755))
		own := &logged{}
		a, err := openAccessLog(filepath.Join(logs, "a"), nil, slog.New(slog.NewTextHandler(own, nil)), w.repo.CheckOutside)
		w.no(err)
		w.no(os.Rename(logs, logs+".old"))
		w.no(os.Symlink("staging", logs))
		a.reopen()
		fmt.Fprintln(a, "line")
		a.close()
		text, err := os.ReadFile(filepath.Join(logs+".old", "a"))
		if err != nil || string(text) != "line\n" || !strings.Contains(own.String(), "lines go on to the old file") {
			t.Errorf("%s: %q %v: %s", mode, text, err, own)
		}
		if _, err := os.Lstat(filepath.Join(w.dir, "staging", "a")); err == nil {
			t.Error("the access log is in staging")
		}
	}
}
