package publish

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/journal"
)

// slow is a writer that blocks until ready is closed.
type slow struct {
	bytes.Buffer
	ready chan struct{}
}

func (s *slow) Write(b []byte) (int, error) {
	<-s.ready
	return s.Buffer.Write(b)
}

// finish returns everything that a command printed, however late it is read. It does
// not wait for a child process that keeps the output open.
func TestCaptureOnASlowMachine(t *testing.T) {
	for name, script := range map[string]string{
		"alone":        `seq 5000`,
		"with a child": `exec 3<&0; cat <&3 & seq 5000`,
		"silent":       `exec 3<&0; cat <&3 &`,
	} {
		t.Run(name, func(t *testing.T) {
			read, write, err := os.Pipe()
			must(t, err)
			defer write.Close() // the child ends with this test
			defer read.Close()
			cmd := exec.Command("sh", "-c", script)
			cmd.Stdin = read
			out := &slow{ready: make(chan struct{})}
			finish, err := capture(cmd, out)
			must(t, err)
			must(t, cmd.Run())
			close(out.ready)
			finish()
			want := 0
			if strings.Contains(script, "seq") {
				want = 5000
			}
			if n := bytes.Count(out.Bytes(), []byte("\n")); n != want || want > 0 && !strings.HasSuffix(out.String(),
				"\n5000\n") {
				t.Errorf("%d lines of %d", n, want)
			}
		})
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, os.ErrClosed }

// A command does not block if the output writer fails.
func TestCaptureOfABrokenOutput(t *testing.T) {
	cmd := exec.Command("sh", "-c", "seq 100000")
	finish, err := capture(cmd, broken{})
	must(t, err)
	must(t, cmd.Run())
	finish()
}

// A command that cannot be started has printed nothing.
func TestCaptureOfNothing(t *testing.T) {
	cmd := exec.Command("/no/such/command")
	out := &bytes.Buffer{}
	finish, err := capture(cmd, out)
	must(t, err)
	if err := cmd.Run(); err == nil {
		t.Error("it ran")
	}
	finish()
	if out.Len() > 0 {
		t.Errorf("%q", out)
	}
}

func TestHealthCheckFailureGoesBack(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.cfg = func(c *Config) {
			c.HealthCheck.Command = []string{"sh", "-c", `test "$PUBLISH_GENERATION" != 2`}
		}
		w.put(map[string]string{"a/1": "one", "a/2": "two"})
		_, err := w.repo().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Switched)
		wantItems(t, w, map[string]string{"a/1": "one"})
		_, err = w.repo().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Refused)
		w.put(map[string]string{"a/1": "one", "a/2": "two", "b/1": "more"})
		w.promote()
		events, err := w.repo().History(HistoryFilter{})
		if err != nil || events[0].Record().Health != "ok" || events[1].Kind != journal.KindAutoRevert ||
			events[2].Record().Health != "failed" {
			t.Fatalf("%+v, %v", events, err)
		}
	})
}

func TestHealthCheckIsKilledAtItsLimit(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.cfg = func(c *Config) {
		c.HealthCheck.Command = []string{"sh", "-c", "sleep 1000 & wait"}
		c.HealthCheck.Timeout = Duration(50 * time.Millisecond)
	}
	w.put(map[string]string{"a/2": "two"})
	_, err := w.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Switched)
	if !strings.Contains(err.Error(), "did not end within") {
		t.Fatal(err)
	}
	wantItems(t, w, map[string]string{"a/1": "one"})
}

func TestBeforeSwitchHookVetoes(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.cfg = func(c *Config) { c.Hooks.BeforeSwitch = []string{"false"} }
	w.put(map[string]string{"a/2": "two"})
	if _, err := w.repo().Promote(ctx, PromoteOptions{}); err == nil {
		t.Fatal("went on")
	}
	wantItems(t, w, map[string]string{"a/1": "one"})
	w.cfg = nil
	if res := w.promote(); res.Generation != 3 {
		t.Fatalf("the abandoned number was used again: %+v", res)
	}
}

// If the command is killed between the failed health check and the revert, the next
// command goes back.
func TestKilledInAFailingHealthCheck(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.put(map[string]string{"a/2": "two"})
		w.cfg = func(c *Config) { c.HealthCheck.Command = []string{"false"} }
		w.step = func(n string) error {
			if n == "after-health" {
				panic(errInjected)
			}
			return nil
		}
		func() {
			defer func() { recover() }()
			w.repo().Promote(ctx, PromoteOptions{})
		}()
		w.step = nil
		done, err := w.repo().Recover(ctx)
		st, _ := w.repo().Status(ctx)
		if st.Production.Origin != 1 {
			t.Errorf("production is generation %d health %q; recover: %v %v pending %v", st.Production.Generation,
				st.Production.Health, done, err, st.RecoveryPending)
		}
	})
}

// A health check that succeeds and leaves a child process running has passed.
func TestHealthCheckThatLeavesAChild(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.put(map[string]string{"a/2": "two"})
	c, _ := LoadConfig(w.dir, choices)
	c.HealthCheck.Command = []string{"sh", "-c", "sleep 5 & exit 0"}
	r, _ := Open(w.dir, c, listed{}, sites, Options{Now: func() time.Time { return w.now }, HookOutput: onStderr})
	_, err := r.Promote(ctx, PromoteOptions{})
	if err != nil {
		t.Errorf("%v", err)
	}
}

// If a health check did not run before a crash, and is no longer configured, nothing
// waits for it.
func TestHealthCheckRemovedFromConfig(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.cfg = func(c *Config) { c.HealthCheck.Command = []string{"true"} }
	w.step = func(n string) error {
		if n == "after-history" {
			panic(errInjected)
		}
		return nil
	}
	func() {
		defer func() { recover() }()
		w.repo().Promote(ctx, PromoteOptions{})
	}()
	w.step, w.cfg = nil, nil
	for range 2 {
		if _, err := w.repo().Recover(ctx); err != nil {
			t.Error(err)
		}
	}
	st, _ := w.repo().Status(ctx)
	if st.RecoveryPending {
		t.Errorf("recovery pending for good")
	}
}

// After a hook has refused a switch there is nothing to recover.
func TestVetoLeavesNothingPending(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.cfg = func(c *Config) { c.Hooks.BeforeSwitch = []string{"false"} }
	_, err := w.repo().Promote(ctx, PromoteOptions{})
	st, _ := w.repo().Status(ctx)
	if st.RecoveryPending {
		t.Errorf("%v; pending %v", err, st.RecoveryPending)
	}
}

// A hook that fails stops promotes, but not reverts.
func TestVetoDoesNotStopAWayBack(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.cfg = func(c *Config) {
		c.Hooks.BeforeSwitch = []string{"sh", "-c", `test "$PUBLISH_KIND" = promote`}
		c.HealthCheck.Command = []string{"sh", "-c", `test "$PUBLISH_GENERATION" != 2`}
	}
	w.put(map[string]string{"a/2": "two"})
	_, err := w.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Switched)
	wantItems(t, w, map[string]string{"a/1": "one"})
	w.put(map[string]string{"a/3": "three"})
	w.promote()
	w.revert(0)
	wantItems(t, w, map[string]string{"a/1": "one"})
}
