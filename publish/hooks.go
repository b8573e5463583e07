package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// run executes one configured command: a hook or the health check. Its
// environment tells what happened, its standard input is the same as JSON, its
// output goes to Options.HookOutput. A prune's hook gets the plan, too. After the time limit it is killed with all its
// children.
func (r *Repo) run(ctx context.Context, event string, argv []string, limit time.Duration, h Head, plan *Plan) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stdin, err := json.Marshal(struct {
		Event      string `json:"event"`
		Repository string `json:"repository"`
		Production string `json:"production"`
		Head
		Plan *Plan `json:"plan,omitempty"`
	}{event, r.Dir, r.Production(), h, plan})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = r.Dir
	cmd.Stdin = strings.NewReader(string(stdin) + "\n")
	cmd.Stdout, cmd.Stderr = r.opt.HookOutput, r.opt.HookOutput
	cmd.Env = append(os.Environ(), hookMark+"="+r.Dir, "PUBLISH_REPO="+r.Dir, "PUBLISH_EVENT="+event,
		"PUBLISH_PRODUCTION="+r.Production(), "PUBLISH_GENERATION="+strconv.Itoa(h.Generation), "PUBLISH_FROM="+strconv.Itoa(h.From),
		"PUBLISH_ORIGIN="+strconv.Itoa(h.Origin), "PUBLISH_KIND="+string(h.Kind))
	// A group of its own: a terminal's interrupt must not reach it after the
	// switch, and the limit must end its children too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s: %s did not end within %s", event, argv[0], limit)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("%s: %s: %w", event, argv[0], err)
}

// hook runs a hook if one is configured.
func (r *Repo) hook(ctx context.Context, event string, argv []string, h Head) error {
	if len(argv) == 0 {
		return nil
	}
	return r.run(ctx, event, argv, time.Duration(r.Config.Hooks.Timeout), h, nil)
}

// checkHealth runs the health check of production if its switch asked for one,
// and records what it says. When it fails after a promote, production goes
// back to the content before. After a revert it does not: that content was
// left for a reason, and a check that fails on both is more likely at fault.
func (r *Repo) checkHealth(ctx context.Context, s *state) error {
	last, ok := s.history.last()
	if !ok || last.Health != "pending" || len(r.Config.HealthCheck.Command) == 0 {
		return nil
	}
	m := s.current.Manifest
	failure := r.run(ctx, "health_check", r.Config.HealthCheck.Command, time.Duration(r.Config.HealthCheck.Timeout), m.Head, nil)
	e := r.note(s, KindHealth, "")
	if e.Health = "ok"; failure != nil {
		e.Health, e.Message = "failed", failure.Error()
	}
	if err := r.log(s.history, e); err != nil {
		return afterSwitch(m.Generation, "the result of the health check could not be recorded", err)
	}
	if err := r.at("after-health"); err != nil {
		return afterSwitch(m.Generation, "run publish recover", err)
	}
	if failure == nil {
		return nil
	}
	return r.fallBack(ctx, s, failure)
}

// fallBack goes back to the content before a promote that failed its health
// check.
func (r *Repo) fallBack(ctx context.Context, s *state, failure error) error {
	failed := s.current
	switch {
	case failed.From == 0:
		return afterSwitch(failed.Generation, "there is no earlier content to go back to", failure)
	case failed.Kind != KindPromote:
		return afterSwitch(failed.Generation, "nothing was switched back after a revert; look at the check, or revert to another generation", failure)
	}
	m, err := r.manifest(failed.From)
	if err == nil {
		target := &generation{m, r.sw.dir(failed.From)}
		_, err = r.revertTo(ctx, s, target, KindAutoRevert, RevertOptions{Message: failure.Error(), Force: true})
	}
	if err != nil {
		return afterSwitch(failed.Generation, "run publish revert", errors.Join(failure, fmt.Errorf("and going back failed: %w", err)))
	}
	return &Error{Kind: Switched, Err: failure, Hint: "staging is as it was; mend it and promote again, or promote --force if the check was wrong",
		Fact: fmt.Sprintf("generation %d failed its health check; production is generation %d now, with the content of generation %d", failed.Generation, s.current.Generation, s.current.Origin)}
}
