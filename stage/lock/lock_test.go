package lock

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be another process that holds a lock until its
// standard input ends.
func TestMain(m *testing.M) {
	if p := os.Getenv("LOCK_TEST_HOLD"); p != "" {
		unlock, err := Acquire(context.Background(), p, Options{Verb: "gc", Now: time.Now()})
		fmt.Println("held", err)
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		if err == nil {
			unlock()
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newLock(t *testing.T) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "lock")
	must(t, Create(p, 0o664))
	return p
}

// hold starts another process that holds the lock.
func hold(t *testing.T, p string) (*exec.Cmd, func()) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	c := exec.Command(self)
	c.Env = append(os.Environ(), "LOCK_TEST_HOLD="+p)
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "held <nil>\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return c, func() { _ = in.Close() }
}

func try(p string) error {
	unlock, err := Acquire(context.Background(), p, Options{Verb: "promote", Now: time.Now()})
	if err == nil {
		unlock()
	}
	return err
}

func TestExcludesProcesses(t *testing.T) {
	p := newLock(t)
	c, release := hold(t, p)
	held := (*HeldError)(nil)
	if err := try(p); !errors.As(err, &held) || held.Holder.PID != c.Process.Pid || held.Holder.Verb != "gc" || held.Holder.User == "" || held.Path != p {
		t.Errorf("err %v", err)
	}
	if !strings.HasPrefix(held.Error(), fmt.Sprintf("%s: locked by pid %d (publish gc by ", p, c.Process.Pid)) {
		t.Errorf("message %q", held)
	}
	if h, ok := Look(p); !ok || h.PID != c.Process.Pid {
		t.Errorf("look: %v %v", h, ok)
	}
	release()
	must(t, c.Wait())
	if _, ok := Look(p); ok {
		t.Error("a lock that was given back is held")
	}
	must(t, try(p))
}

// The kernel frees the lock of a process that dies, and nobody believes the
// text that it left.
func TestHolderDies(t *testing.T) {
	p := newLock(t)
	c, _ := hold(t, p)
	must(t, c.Process.Kill())
	_ = c.Wait()
	if data, err := os.ReadFile(p); err != nil || len(data) == 0 {
		t.Errorf("the dead process left no text: %v", err)
	}
	if h, ok := Look(p); ok {
		t.Errorf("the dead hold it: %v", h)
	}
	must(t, try(p))
	for _, text := range []string{"garbage", `{"pid":-1}`, `{"pid":1`, strings.Repeat("x", 10_000)} {
		must(t, os.WriteFile(p, []byte(text), 0o644))
		if _, ok := Look(p); ok {
			t.Errorf("%.20s: is believed", text)
		}
		must(t, try(p))
	}
	// The text of a dead one does not stand for a holder that could not write.
	must(t, os.WriteFile(p, []byte(`{"pid":999999999,"verb":"revert"}`), 0o644))
	if got := (&HeldError{p, holder(p)}).Error(); got != p+": locked by another process" {
		t.Errorf("message %q", got)
	}
}

func TestExcludesGoroutines(t *testing.T) {
	p := newLock(t)
	var inside, most, count atomic.Int32
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			for range 5 {
				unlock, err := Acquire(context.Background(), p, Options{Verb: "x", Now: time.Now(), Wait: -1})
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n > most.Load() {
					most.Store(n)
				}
				count.Add(1)
				inside.Add(-1)
				unlock()
			}
		})
	}
	done.Wait()
	if most.Load() != 1 || count.Load() != 40 {
		t.Errorf("%d inside at once, %d in all", most.Load(), count.Load())
	}
}

func TestWait(t *testing.T) {
	p := newLock(t)
	unlock, err := Acquire(context.Background(), p, Options{Verb: "first", Now: time.Now()})
	must(t, err)
	told := 0
	opt := Options{Verb: "second", Now: time.Now(), Wait: 20 * time.Millisecond, Waiting: func(h Holder) {
		if told++; h.Verb != "first" {
			t.Errorf("waiting for %v", h)
		}
	}}
	if _, err := Acquire(context.Background(), p, opt); !errors.As(err, new(*HeldError)) {
		t.Errorf("the wait ended with %v", err)
	}
	for name, end := range map[string]func() (context.Context, context.CancelFunc){
		"cancelled": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(10*time.Millisecond, cancel)
			return ctx, cancel
		},
		"deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 10*time.Millisecond)
		},
	} {
		ctx, cancel := end()
		opt.Wait = -1
		if _, err := Acquire(ctx, p, opt); err == nil || !errors.Is(err, ctx.Err()) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	if told != 3 {
		t.Errorf("told %d times of three", told)
	}
	got := make(chan error)
	waiting := make(chan struct{})
	go func() {
		unlock, err := Acquire(context.Background(), p, Options{Verb: "third", Now: time.Now(), Wait: time.Minute, Waiting: func(Holder) { close(waiting) }})
		if err == nil {
			unlock()
		}
		got <- err
	}()
	<-waiting
	unlock()
	must(t, <-got)
}

func TestNoLockFile(t *testing.T) {
	p := filepath.Join(t.TempDir(), "gone")
	if err := try(p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err %v", err)
	}
	if _, err := os.Stat(p); err == nil {
		t.Error("it was made: two repositories in one")
	}
}

func TestCreate(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	p := newLock(t)
	before, err := os.Stat(p)
	must(t, err)
	if before.Mode() != 0o664 {
		t.Errorf("mode %v", before.Mode())
	}
	unlock, err := Acquire(context.Background(), p, Options{Verb: "x", Now: time.Unix(1, 5)})
	must(t, err)
	must(t, Create(p, 0o664))
	var h Holder
	data, err := os.ReadFile(p)
	must(t, err)
	must(t, json.Unmarshal(data, &h))
	if h.PID != os.Getpid() || !h.Since.Equal(time.Unix(1, 0)) {
		t.Errorf("%+v", h)
	}
	if err := try(p); !errors.As(err, new(*HeldError)) {
		t.Errorf("making the file again freed it: %v", err)
	}
	unlock()
	if after, err := os.Stat(p); err != nil || !os.SameFile(before, after) || after.Size() != 0 {
		t.Errorf("the file was replaced, or tells of who is gone: %v %v", after, err)
	}
}
