package lock

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestTemporaryExcludesAndVanishes(t *testing.T) {
	p := filepath.Join(t.TempDir(), "x.lock")
	var inside, rounds atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				unlock, err := Temporary(context.Background(), p, Options{Wait: -1})
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				rounds.Add(1)
				inside.Add(-1)
				unlock()
			}
		})
	}
	all.Wait()
	if rounds.Load() != 160 {
		t.Errorf("the lock was taken %d times", rounds.Load())
	}
	if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file stays: %v", err)
	}
}

func TestTemporaryHeld(t *testing.T) {
	p := filepath.Join(t.TempDir(), "x.lock")
	unlock, err := Temporary(context.Background(), p, Options{Now: time.Now()})
	must(t, err)
	held := (*HeldError)(nil)
	if _, err := Temporary(context.Background(), p, Options{}); !errors.As(err, &held) {
		t.Errorf("a second holder gets %v", err)
	}
	if _, state := Look(p); state != Held {
		t.Errorf("Look says %v", state)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Temporary(ctx, p, Options{Wait: -1}); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted wait returns %v", err)
	}
	unlock()
	if _, state := Look(p); state != Free {
		t.Errorf("Look says %v", state)
	}
}

// A waiter that has opened the file before its holder removes it must not take the
// lock of a file without a name.
func TestTemporaryIsOfTheName(t *testing.T) {
	p := filepath.Join(t.TempDir(), "x.lock")
	first, err := Temporary(context.Background(), p, Options{})
	must(t, err)
	must(t, os.Remove(p)) // what a holder does first when it gives the lock back
	second, err := Temporary(context.Background(), p, Options{})
	must(t, err)
	_ = first // its lock is of a file that nobody can find
	held := (*HeldError)(nil)
	if _, err := Temporary(context.Background(), p, Options{}); !errors.As(err, &held) {
		t.Errorf("a third holder gets %v", err)
	}
	second()
	must(t, os.Mkdir(p, 0o700))
	if _, err := Temporary(context.Background(), p, Options{}); err == nil {
		t.Error("a folder was locked")
	}
}

func TestItself(t *testing.T) {
	p := filepath.Join(t.TempDir(), "x.part")
	must(t, os.WriteFile(p, []byte("text"), 0o600))
	locked, held, err := Itself(context.Background(), p, false, Options{})
	if must(t, err); held.Size() != 4 {
		t.Errorf("it locked a file of %d bytes", held.Size())
	}
	other := (*HeldError)(nil)
	if _, _, err := Itself(context.Background(), p, false, Options{}); !errors.As(err, &other) {
		t.Errorf("a second holder gets %v", err)
	}
	must(t, os.Rename(p, p+".done"))
	if _, _, err := Itself(context.Background(), p, false, Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
	next, made, err := Itself(context.Background(), p, true, Options{}) // of the name, not of the file
	if must(t, err); os.SameFile(held, made) || made.Size() != 0 {
		t.Error("it locked the file that has another name now")
	}
	Unlock(next) // and it stays open
	again, _, err := Itself(context.Background(), p, false, Options{})
	must(t, err)
	_, err = next.WriteString("more")
	must(t, errors.Join(err, next.Close()))
	if _, _, err := Itself(context.Background(), p, false, Options{}); !errors.As(err, &other) {
		t.Errorf("closing a file that was unlocked unlocks it for its next holder: %v", err)
	}
	must(t, errors.Join(again.Close(), locked.Close()))
	for _, path := range []string{p, p + ".done"} {
		if fi, err := os.Lstat(path); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, fi, err)
		}
	}
}
