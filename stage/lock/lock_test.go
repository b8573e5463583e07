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
	must(t, Create(p, Private()))
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

func attempt(p string) error {
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
	if err := attempt(p); !errors.As(err, &held) || held.Holder.PID != c.Process.Pid || held.Holder.Verb != "gc" ||
		held.Holder.User == "" || held.Path != p {
		t.Errorf("err %v", err)
	}
	if !strings.HasPrefix(held.Error(), fmt.Sprintf("%s: locked by pid %d (publish gc by ", p, c.Process.Pid)) {
		t.Errorf("message %q", held)
	}
	if h, state := Look(p); state != Held || h.PID != c.Process.Pid {
		t.Errorf("look: %v %v", h, state)
	}
	release()
	must(t, c.Wait())
	if _, state := Look(p); state != Free {
		t.Error("a lock that was given back is held")
	}
	must(t, attempt(p))
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
	if h, state := Look(p); state != Free {
		t.Errorf("the dead hold it: %v", h)
	}
	must(t, attempt(p))
	for _, text := range []string{"garbage", `{"pid":-1}`, `{"pid":1`, strings.Repeat("x", 10_000)} {
		must(t, os.WriteFile(p, []byte(text), 0o644))
		if _, state := Look(p); state != Free {
			t.Errorf("%.20s: is believed", text)
		}
		must(t, attempt(p))
	}
}

// A text that names a process which runs is not proof that it holds the lock:
// PID 1 of a container that was killed is alive everywhere.
func TestTextOfALivingProcess(t *testing.T) {
	p := newLock(t)
	must(t, os.WriteFile(p, fmt.Appendf(nil, `{"pid":%d,"verb":"promote"}`, os.Getpid()), 0o600))
	if h, state := Look(p); state != Free {
		t.Errorf("held by %v", h)
	}
	must(t, attempt(p))
}

// A user who may take a lock may write to its file. What he writes is shown to
// others, on their terminals.
func TestHostileText(t *testing.T) {
	p := newLock(t)
	unlock, err := Acquire(context.Background(), p, Options{Verb: "x", Now: time.Now()})
	must(t, err)
	defer unlock()
	for text, want := range map[string]string{
		`{"pid":7,"verb":"a\u001b[2Jb\nc\u202ed","user":"` + strings.Repeat("u", 3000) +
			`","since":"2026-01-01T00:00:00+02:00"}`: "pid 7 (publish a[2Jbcd by " + strings.Repeat("u", 64) +
			", since 2025-12-31T22:00:00Z)",
		`{"pid":7,"verb":"` + strings.Repeat("v", 10_000) +
			`"}`: "another process",
		`{"pid":999999999,"verb":"revert"}`: "another process",
		`{"pid":-1,"verb":"revert"}`:        "another process",
		strings.Repeat("[", 10_000):         "another process",
	} {
		must(t, os.WriteFile(p, []byte(text), 0o600))
		if h, state := Look(p); state != Held || h.String() != want {
			t.Errorf("%.60s: %v, %q", text, state, h)
		}
	}
}

// A reader that asks has the lock for an instant. A writer that comes then
// tries again, and does not say that somebody is at work.
func TestAskingDisturbsNobody(t *testing.T) {
	p := newLock(t)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					Look(p)
				}
			}
		})
	}
	for range 20 {
		// As long as it takes: how soon a machine with other work lets a writer
		// in between four readers that never rest is no property of this program.
		unlock, err := Acquire(context.Background(), p, Options{Verb: "x", Now: time.Now(), Wait: -1})
		if err != nil {
			t.Fatal(err)
		}
		if _, state := Look(p); state != Held {
			t.Errorf("held by this test: %v", state)
		}
		unlock()
	}
	close(stop)
	readers.Wait()
}

// A holder that gives the lock up within the first tries is not reported.
func TestTriesBeforeItGivesUp(t *testing.T) {
	p := newLock(t)
	first, err := Acquire(context.Background(), p, Options{Verb: "first", Now: time.Now()})
	must(t, err)
	ctx := &countdown{Context: context.Background(), left: 3, then: first}
	unlock, err := Acquire(ctx, p, Options{Verb: "second", Now: time.Now()})
	must(t, err)
	unlock()
	if ctx.left > 0 {
		t.Errorf("it was had with %d tries left before it was free", ctx.left)
	}
}

// countdown is a context that is asked before each try.
type countdown struct {
	context.Context
	left int
	then func()
}

func (c *countdown) Err() error {
	if c.left--; c.left == 0 {
		c.then()
	}
	return nil
}

// Nobody waits for what is not a file, or follows a link to one.
func TestNoRegularFile(t *testing.T) {
	dir := t.TempDir()
	link, pipe := filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	must(t, Create(filepath.Join(dir, "file"), Private()))
	must(t, os.Symlink("file", link))
	must(t, syscall.Mkfifo(pipe, 0o600))
	for _, p := range []string{link, pipe} {
		if err := attempt(p); err == nil || errors.As(err, new(*HeldError)) {
			t.Errorf("%s: %v", p, err)
		}
		if err := Create(p, Private()); err == nil {
			t.Errorf("%s: is taken for a lock", p)
		}
		if _, state := Look(p); state != Unknown {
			t.Errorf("%s: %v", p, state)
		}
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
		opt.Wait, opt.Waiting = -1, nil
		if _, err := Acquire(ctx, p, opt); err == nil || !errors.Is(err, ctx.Err()) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	if told != 1 {
		t.Errorf("told %d times that it waits", told)
	}
	got := make(chan error)
	waiting := make(chan struct{})
	go func() {
		unlock, err := Acquire(context.Background(), p, Options{Verb: "third", Now: time.Now(), Wait: -1,
			Waiting: func(Holder) { close(waiting) }})
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
	if err := attempt(p); !errors.Is(err, fs.ErrNotExist) {
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
	if before.Mode() != 0o600 {
		t.Errorf("mode %v", before.Mode())
	}
	unlock, err := Acquire(context.Background(), p, Options{Verb: "x", Now: time.Unix(1, 5)})
	must(t, err)
	must(t, Create(p, Private()))
	var h Holder
	data, err := os.ReadFile(p)
	must(t, err)
	must(t, json.Unmarshal(data, &h))
	if h.PID != os.Getpid() || !h.Since.Equal(time.Unix(1, 0)) {
		t.Errorf("%+v", h)
	}
	if err := attempt(p); !errors.As(err, new(*HeldError)) {
		t.Errorf("making the file again freed it: %v", err)
	}
	unlock()
	if after, err := os.Stat(p); err != nil || !os.SameFile(before, after) || after.Size() != 0 {
		t.Errorf("the file was replaced, or names a holder that is gone: %v %v", after, err)
	}
}
