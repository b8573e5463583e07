package stage

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lock"
)

func resume(t *testing.T, s *Stage) *Delivery {
	t.Helper()
	d, err := s.Resume(context.Background(), "mirror", "job-1")
	must(t, err)
	t.Cleanup(d.Close)
	return d
}

func digestOf(data string) catalog.Digest {
	return catalog.Digest{Algorithm: catalog.SHA256, Hex: sum([]byte(data))}
}

// What was received goes on where it ended, in any process, and however the
// one before came to its end.
func TestResume(t *testing.T) {
	content := strings.Repeat("0123456789", 500_000)
	long := catalog.Digest{Algorithm: catalog.SHA512, Hex: fmt.Sprintf("%x", sha512.Sum512([]byte(content)))}
	for _, want := range []catalog.Digest{digestOf(content), long} {
		for name, end := range map[string]func(d *Delivery){
			"closed": (*Delivery).Close,
			"killed": func(d *Delivery) { // the kernel gives the lock back, and nobody tidies
				must(t, os.WriteFile(filepath.Join(d.up.path(), "17"), nil, 0o600))
				d.unlock()
				d.unlock = nil
			},
			"sealed": func(d *Delivery) {
				must(t, os.Chmod(filepath.Join(d.up.path(), keptName(keptPart, want)), 0o444))
				d.Close()
			},
		} {
			t.Run(want.Algorithm+" "+name, func(t *testing.T) {
				s := newStage(t)
				for from := 0; from < len(content); from += 1_500_000 {
					d := resume(t, s)
					n, whole, err := d.Received(want)
					must(t, err)
					if int(n) != from || whole {
						t.Fatalf("%d bytes of %d, whole %v", n, from, whole)
					}
					rest := io.Reader(strings.NewReader(content[from:]))
					if from+1_500_000 < len(content) {
						rest = io.MultiReader(strings.NewReader(content[from:from+1_500_000]), &failing{})
					}
					_, size, err := d.Append(context.Background(), "images/x", rest, want)
					if last := from+1_500_000 >= len(content); (err == nil) != last || last &&
						int(size) != len(content) {
						t.Fatalf("from %d: %d bytes, %v", from, size, err)
					}
					if err != nil {
						end(d)
						continue
					}
					d.Close()
				}
				unlock, err := s.Exclusive(context.Background(), "test") // which sweeps
				must(t, err)
				unlock()
				d := resume(t, s)
				if n, whole, err := d.Received(want); int(n) != len(content) || !whole || err != nil {
					t.Errorf("%d bytes, whole %v, %v", n, whole, err)
				}
				if got, _, err := d.Append(context.Background(), "images/x", &failing{}, want); err != nil ||
					got != digestOf(content) {
					t.Errorf("%v, %v", got, err)
				}
				_, err = d.Commit(context.Background(), makes(&catalog.Change{}))
				must(t, err)
				d.Close()
				if fi := stat(t, s.Dir, "images/x"); fi.Mode() != 0o444 ||
					string(read(t, join(s.Dir, "images/x"))) != content {
					t.Errorf("mode %v, or other bytes", fi.Mode())
				}
				clean(t, s)
			})
		}
	}
}

func TestResumeWrongBytes(t *testing.T) {
	s := newStage(t)
	d := resume(t, s)
	want := digestOf("content")
	if _, _, err := d.Append(context.Background(), "x", strings.NewReader("consent"), want); !errors.Is(err,
		catalog.ErrDigest) {
		t.Errorf("%v", err)
	}
	if n, _, err := d.Received(want); n != 0 || err != nil {
		t.Errorf("%d bytes of it stay, %v", n, err)
	}
	if _, _, err := d.Append(context.Background(), "x", strings.NewReader("content"), want); err != nil {
		t.Errorf("%v", err)
	}
	d.Discard()
	clean(t, s)
}

func TestResumeIsOnes(t *testing.T) {
	s := newStage(t)
	d := resume(t, s)
	if _, err := s.Resume(context.Background(), "mirror", "job-1"); !errors.As(err, new(*lock.HeldError)) {
		t.Errorf("%v", err)
	}
	other, err := s.Resume(context.Background(), "mirror", "job-2")
	must(t, err)
	other.Discard()
	d.Close()
	again := resume(t, s)
	// Nobody has come back for a week.
	again.Close()
	s.Now = func() time.Time { return time.Now().Add(8 * 24 * time.Hour) }
	unlock, err := s.Exclusive(context.Background(), "test")
	must(t, err)
	unlock()
	clean(t, s)
	for _, bad := range []string{"", "..", "a/b", "A", strings.Repeat("a", 101)} {
		if _, err := s.Resume(context.Background(), "mirror", bad); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
}
