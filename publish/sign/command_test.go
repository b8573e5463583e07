package sign

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A command that hangs is ended after its time, and at once by a signal, with what it started.
func TestCommandHangs(t *testing.T) {
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	for _, script := range []string{
		"echo $$ >pid; exec sleep 1000",
		"sleep 1000 & echo $! >pid; wait",
		"trap '' PIPE; echo $$ >pid; yes 2>&1; sleep 1000", // it writes without end, and does not mind
	} {
		o := Options{OpenPGP: KeyOptions{Command: []string{"sh", "-c", script}}, Dir: dir, Limit: 200 * time.Millisecond}
		s := must(Open(o, now))(t)
		if out, err := s.Inline(context.Background(), []byte("{}")); err == nil || !strings.Contains(script, "yes") &&
			!strings.Contains(err.Error(), "did not end within 200ms") {
			t.Errorf("%s: %q, %v", script, out, err)
		}
		if err := os.Remove(pid); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		o.Limit = 0
		s = must(Open(o, now))(t)
		ctx, cancel := context.WithCancel(context.Background())
		started := make(chan int, 1)
		go func() { // a signal comes when it runs
			defer cancel()
			for {
				data, _ := os.ReadFile(pid)
				if n, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
					started <- n
					return
				}
			}
		}()
		if out, err := s.Inline(ctx, []byte("{}")); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %q, %v", script, out, err)
		}
		for n := <-started; syscall.Kill(n, 0) == nil; { // who adopts it waits for it
			stat, err := os.ReadFile("/proc/" + strconv.Itoa(n) + "/stat")
			if err == nil && strings.Contains(string(stat), ") Z ") {
				break
			}
		}
	}
}

// What a command leaves running may have its output.
func TestCommandLeaves(t *testing.T) {
	dir := t.TempDir()
	key := newMinisign(t)
	s := must(Open(Options{Minisign: KeyOptions{Keys: []string{key.secret}}}, now))(t)
	signature := must(s.Detached(context.Background(), []byte("data"), "a comment"))(t)[0].Data
	if err := os.WriteFile(filepath.Join(dir, "signature"), signature, 0o600); err != nil {
		t.Fatal(err)
	}
	s = must(Open(Options{Minisign: KeyOptions{Command: []string{"sh", "-c", "sleep 1000 & echo $! >pid; cat signature"}},
		Dir: dir}, now))(t)
	list, err := s.Detached(context.Background(), []byte("data"), "a comment")
	n, bad := strconv.Atoi(strings.TrimSpace(string(must(os.ReadFile(filepath.Join(dir, "pid")))(t))))
	if bad = errors.Join(bad, syscall.Kill(n, syscall.SIGKILL)); bad != nil {
		t.Error(bad)
	}
	if err != nil || string(list[0].Data) != string(signature) {
		t.Errorf("%q, %v", list, err)
	}
}
