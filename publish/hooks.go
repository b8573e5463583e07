package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage"
)

// detail is what only some events report, in addition to the head.
type detail struct {
	Freed *journal.Freed `json:"freed,omitempty"` // of after_gc
	Plan  *Plan          `json:"plan,omitempty"`  // of after_prune
}

// run executes one configured command: a hook or the health check. Its environment
// describes the event, and its standard input has the same as JSON. Its output goes to
// a writer of Options.HookOutput. After the time limit it is killed with all its
// children.
func (r *Repo) run(
	ctx context.Context, event string, argv []string, limit time.Duration, h generation.Head, d detail,
) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	h.Added, h.Removed, h.Changed, h.BarredTrees = noNil(h.Added), noNil(h.Removed), noNil(h.Changed),
		noNil(h.BarredTrees)
	stdin, err := json.Marshal(struct {
		Event      string    `json:"event"`
		Repository string    `json:"repository"`
		Production string    `json:"production"`
		Actor      string    `json:"actor"` // who runs this verb; who and time in the head belong to the generation
		At         time.Time `json:"at"`
		generation.Head
		detail
	}{event, r.Dir, r.Production(), r.who(), r.now().UTC(), h, d})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = r.Dir
	cmd.Stdin = strings.NewReader(string(stdin) + "\n")
	finish := func() {}
	if r.opt.HookOutput != nil {
		out := r.opt.HookOutput()
		defer out.Close()
		if finish, err = capture(cmd, out); err != nil {
			return err
		}
	}
	cmd.Env = append(os.Environ(), hookMark+"="+r.Dir, hookOf+"="+stage.Self(), "PUBLISH_REPO="+r.Dir,
		"PUBLISH_EVENT="+event,
		"PUBLISH_PRODUCTION="+r.Production(), "PUBLISH_GENERATION="+strconv.Itoa(h.Generation),
		"PUBLISH_FROM="+strconv.Itoa(h.From),
		"PUBLISH_ORIGIN="+strconv.Itoa(h.Origin), "PUBLISH_KIND="+string(h.Kind))
	// It runs in its own process group: an interrupt from the terminal must not
	// reach it after the switch, and the time limit must also kill its children.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	finish()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // it succeeded, but a child still has the input open
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s: %s did not end within %s", event, argv[0], limit)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("%s: %s: %w", event, argv[0], err)
}

// maxPipe is the most that a pipe buffers, in bytes, unless the administrator allows
// more.
const maxPipe = 1 << 20

// capture sends the output of a command, which is about to run, to out. Call finish
// after it has run: then out has everything that the command itself printed, even on a
// slow machine. finish does not wait for a child process that still has the output
// open.
func capture(cmd *exec.Cmd, out io.Writer) (finish func(), err error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = write, write
	copied := make(chan error)
	go func() {
		_, err := io.Copy(out, read)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			_, err = io.Copy(io.Discard, read) // out failed; keep reading, so that the command does not block
		}
		copied <- err
	}()
	return func() {
		defer read.Close()
		_ = write.Close()
		_ = read.SetReadDeadline(time.Unix(1, 0))
		if err := <-copied; !errors.Is(err, os.ErrDeadlineExceeded) {
			return // everything was read, to the end
		}
		// Read what the command printed before it ended and is still in the pipe.
		_ = read.SetReadDeadline(time.Time{})
		conn, err := read.SyscallConn()
		if err != nil {
			return
		}
		left := make([]byte, maxPipe)
		_ = conn.Read(func(fd uintptr) bool {
			for n := 0; n < len(left); {
				got, err := syscall.Read(int(fd), left[n:])
				if errors.Is(err, syscall.EINTR) {
					continue
				}
				if err != nil || got == 0 { // EAGAIN: empty
					left = left[:n]
					break
				}
				n += got
			}
			return true
		})
		_, _ = out.Write(left)
	}, nil
}

// hook runs a hook if one is configured.
func (r *Repo) hook(ctx context.Context, event string, argv []string, h generation.Head) error {
	if len(argv) == 0 {
		return nil
	}
	return r.run(ctx, event, argv, time.Duration(r.Config.Hooks.Timeout), h, detail{})
}

// hookGC runs the hook of gc with what was deleted, if anything was.
func (r *Repo) hookGC(ctx context.Context, s *state, res *GCResult) error {
	argv := r.Config.Hooks.AfterGC
	if len(argv) == 0 || s.current == nil || len(res.Generations)+res.Files == 0 {
		return nil
	}
	return r.run(ctx, "after_gc", argv, time.Duration(r.Config.Hooks.Timeout), s.current.Head,
		detail{Freed: &res.Freed})
}

// checkHealth runs the health check if the switch asked for one, and records the
// result. If it fails after a promote, production goes back to the previous content.
// After a revert it does not go back: that content was left for a reason, and if the
// check fails on both, the check is probably wrong.
func (r *Repo) checkHealth(ctx context.Context, s *state) error {
	if !r.unchecked(s.history) {
		return nil
	}
	m := s.current.Manifest
	failure := r.run(ctx, "health_check", r.Config.HealthCheck.Command, time.Duration(r.Config.HealthCheck.Timeout),
		m.Head, detail{})
	e := r.note(s, journal.KindHealth, "")
	said := &journal.Health{Result: journal.HealthOK}
	if e.Body = said; failure != nil {
		said.Result, e.Message = journal.HealthFailed, failure.Error()
	}
	if failure != nil {
		// Go back before recording the result. If this is killed in between, the
		// check has no result, so recovery runs it again. In the other order,
		// recovery would find the result and not go back.
		failure = r.fallBack(ctx, s, failure)
		e.Time = s.now
	}
	err := errors.Join(r.log(s.history, e), r.at("after-health"))
	if err != nil {
		err = afterSwitch(s.current.Generation,
			"the result of the health check could not be recorded; run publish recover", err)
	}
	return errors.Join(failure, err)
}

// fallBack goes back to the previous content after a promote failed its health check.
func (r *Repo) fallBack(ctx context.Context, s *state, failure error) error {
	failed := s.current
	switch {
	case r.led():
		return afterSwitch(failed.Generation, "a target does not go back by itself: revert in the repository that leads, "+
			"and sync", failure)
	case failed.From == 0:
		return afterSwitch(failed.Generation, "there is no earlier content to go back to", failure)
	case failed.Kind != generation.KindPromote:
		return afterSwitch(failed.Generation,
			"nothing was switched back after a revert; look at the check, or revert to another generation", failure)
	}
	target, err := r.tree(failed.From)
	revert := func() error {
		_, err := r.revertTo(ctx, s, target, generation.KindAutoRevert, RevertOptions{Message: failure.Error(),
			Force: true})
		return err
	}
	switch {
	case err != nil:
	case r.shared != nil:
		err = r.shared.goBack(ctx, s, failed, revert)
	default:
		err = revert()
	}
	if err != nil {
		return afterSwitch(failed.Generation, "run publish revert",
			errors.Join(failure, fmt.Errorf("and going back failed: %w", err)))
	}
	return &Error{Kind: Switched, Err: failure,
		Hint: "staging is unchanged; fix it and promote again, or promote --force if the check was wrong",
		Fact: fmt.Sprintf("generation %d failed its health check; production is generation %d now, with the content "+
			"of generation %d", failed.Generation, s.current.Generation, s.current.Origin)}
}
