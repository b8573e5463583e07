//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/publish/scripts/crash/check"
	"example.com/publish/scripts/crash/trace"
)

// judge holds what matrix says of a point against the repository in which the
// command was broken.
func (b *bench) judge(ctx context.Context, repo string, f fault, result *trace.Result) error {
	// What a client sees at once, before anything is mended.
	now, err := b.production(repo)
	if err != nil {
		return fmt.Errorf("at once: %w", err)
	}
	if err := b.served(now); err != nil {
		return fmt.Errorf("at once: %w", err)
	}
	if err := oldOrNew("production", now, b.before.production, b.after[0].production); err != nil {
		return fmt.Errorf("at once: %w", err)
	}
	// The way back goes on without a signature that fails.
	if way := b.verb[0]; f.kills() || way != "revert" && way != "revoke" {
		if err := b.shell(ctx, repo, b.clients); err != nil {
			return fmt.Errorf("at once, what clients find: %w", err)
		}
	}
	if f.request != nil && !f.kills() && result.ExitCode != 0 {
		return fmt.Errorf("exit %d for a request that is spoiled once\n%s", result.ExitCode, result.Stderr)
	}
	if !f.kills() {
		if err := b.judgeExit(now, repo, result); err != nil {
			return fmt.Errorf("%w\n%s%s", err, result.Stdout, result.Stderr)
		}
	}
	worked := false
	if b.recovers(now) {
		if worked, err = b.judgeRecovered(ctx, repo); err != nil {
			return err
		}
	}
	if err := b.shell(ctx, repo, b.due); err != nil {
		return fmt.Errorf("what waits: %w", err)
	}
	if out, err := b.publishRun(ctx, repo, b.command()...); err != nil {
		if !(worked || b.finish != nil) || !b.done(err) {
			return fmt.Errorf("the command, again: %w\n%s", err, out)
		}
		if b.finish != nil {
			if out, err := b.publishRun(ctx, repo, b.finish...); err != nil {
				return fmt.Errorf("%q: %w\n%s", b.finish, err, out)
			}
		}
	}
	again, err := b.holds(ctx, repo)
	if err != nil {
		return fmt.Errorf("after the command, again: %w", err)
	}
	var differences []string
	for _, want := range b.after {
		diff := differ(again, want)
		if diff == "" {
			return b.through(ctx, repo)
		}
		differences = append(differences, diff)
	}
	return fmt.Errorf("the command, again, leaves something else: %s", strings.Join(differences, "; "))
}

// judgeRecovered has the repository recovered, and reports whether it is then
// as after the command.
func (b *bench) judgeRecovered(ctx context.Context, repo string) (worked bool, err error) {
	// Twice: recovery that was needed must not be needed again.
	for range 2 {
		if out, err := b.publishRun(ctx, repo, "recover"); err != nil {
			return false, fmt.Errorf("recover: %w\n%s", err, out)
		}
		if out, err := b.publishRun(ctx, repo, "verify"); err != nil {
			return false, fmt.Errorf("verify: %w\n%s", err, out)
		}
	}
	recovered, err := b.holds(ctx, repo)
	if err != nil {
		return false, fmt.Errorf("after recover: %w", err)
	}
	if err := oldOrNew("production", recovered.production, b.before.production, b.after[0].production); err != nil {
		return false, fmt.Errorf("after recover: %w", err)
	}
	if err := oldOrNew("staging", recovered.staging, b.before.staging, b.after[0].staging); err != nil && !b.unites {
		return false, fmt.Errorf("after recover: %w", err)
	}
	found, err := b.find(repo)
	if err != nil {
		return false, err
	}
	if len(found) > 0 && (!slices.Equal(keptOf(found), keptOf(b.found)) || b.wreck != nil) {
		return false, fmt.Errorf("after recover: revoked content is left, but not everywhere: %q", found)
	}
	return differ(recovered, b.after[0]) == "", nil
}

// keptOf leaves out what lies in the spare, which may be gone at any time.
func keptOf(found []string) []string {
	return slices.DeleteFunc(slices.Clone(found),
		func(p string) bool { return strings.HasPrefix(p, "generations/.spare/") })
}

// judgeExit holds the exit code of a command that met an error against what
// it did.
func (b *bench) judgeExit(production *check.View, repo string, result *trace.Result) error {
	switch result.ExitCode {
	case 0:
		if b.due != "" {
			break // what failed waits, and the next command ends what was begun
		}
		now, err := b.look(repo)
		if err != nil {
			return fmt.Errorf("exit 0: %w", err)
		}
		if diff := differ(now, b.after[0]); diff != "" {
			return fmt.Errorf("exit 0, and the work is not done: %s", diff)
		}
		if err := b.allGone(repo); err != nil {
			return fmt.Errorf("exit 0: %w", err)
		}
	case 1, 2, 3, 4, 5, 6, 130:
		if diff := check.SameContent(production, b.before.production); diff != "" {
			return fmt.Errorf("exit %d, and production changed: %s", result.ExitCode, diff)
		}
		if b.adopts && !b.bucket && production.Generation > 0 {
			return fmt.Errorf("exit %d, and production is adopted", result.ExitCode)
		}
		if len(bytes.TrimSpace(result.Stderr)) == 0 {
			return fmt.Errorf("exit %d without a word", result.ExitCode)
		}
	case 7:
	default:
		return fmt.Errorf("exit %d", result.ExitCode)
	}
	return nil
}

// oldOrNew checks that a tree's indexes name what they did before, or what the
// unbroken command leaves.
func oldOrNew(which string, now, before, after *check.View) error {
	if d1, d2 := check.SameContent(now, before), check.SameContent(now, after); d1 != "" && d2 != "" {
		return fmt.Errorf("%s is neither as before (%s) nor as after the command (%s)", which, d1, d2)
	}
	return nil
}

func differ(a, b state) string {
	return check.SameContent(a.production, b.production) + check.SameContent(a.staging, b.staging)
}

// served checks that production still has what it had before. A generation
// that came after it has nothing of what is revoked.
func (b *bench) served(now *check.View) error {
	before := b.before.production
	if before != nil && now != nil && now.Generation != before.Generation {
		for name, f := range now.Files {
			if _, named := now.Named[name]; b.bucket && !named {
				continue // it is deleted after the switch
			}
			if b.secrets[f] {
				return fmt.Errorf("generation %d has revoked content: %s", now.Generation, name)
			}
		}
	}
	return check.StillServed(before, now, !b.dropsCarried, b.secrets)
}

// holds checks what must be true of a repository that is in order.
func (b *bench) holds(ctx context.Context, repo string) (state, error) {
	s, err := b.look(repo)
	if err != nil {
		return s, err
	}
	if err := b.served(s.production); err != nil {
		return s, err
	}
	if err := errors.Join(leftOver(repo), check.Spare(repo)); err != nil {
		return s, err
	}
	out, err := b.publishRun(ctx, repo, "history", "--json")
	if err != nil {
		return s, fmt.Errorf("history: %w\n%s", err, out)
	}
	newest, err := newestGeneration(out)
	switch {
	case err != nil:
		return s, err
	case s.production == nil && newest == 0:
	case s.production == nil || newest != s.production.Generation:
		return s, fmt.Errorf("history ends with generation %d, and production is another", newest)
	}
	return s, nil
}

// through checks a repository in which the command has come to its end.
func (b *bench) through(ctx context.Context, repo string) error {
	if err := b.allGone(repo); err != nil || b.probe == "" {
		return err
	}
	if err := b.shell(ctx, repo, b.probe); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if _, err := b.holds(ctx, repo); err != nil {
		return fmt.Errorf("after the probe: %w", err)
	}
	return b.allGone(repo)
}

// shell runs a script in the repository; "" does nothing.
func (b *bench) shell(ctx context.Context, repo, script string) error {
	if script == "" {
		return nil
	}
	cmd := exec.CommandContext(ctx, "sh", "-ec", script)
	cmd.Dir, cmd.Env = repo, b.env(repo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// allGone checks that no copy is left of what is revoked.
func (b *bench) allGone(repo string) error {
	if left, err := b.find(repo); err != nil || len(left) > 0 {
		return errors.Join(err, fmt.Errorf("revoked content is left: %q", left))
	}
	return nil
}

// done reports whether a command that ran again says that its work is done.
func (s *scenario) done(err error) bool {
	var exit *exec.ExitError
	return s.again != 0 && errors.As(err, &exit) && exit.ExitCode() == s.again
}

// leftOver finds what only a command at work may have beside the trees.
func leftOver(repo string) error {
	known := regexp.MustCompile(`^(publish\.yaml|\.?mirror\.lock\.yaml.*|staging|production|generations|\.publish|` +
		`\.?plan\.json.*|production\.before-publish)$`)
	for dir, allowed := range map[string]*regexp.Regexp{
		repo: known,
		// A copy of what is in a store takes no lock, so it is left until it is old.
		filepath.Join(repo, "generations"): regexp.MustCompile(`^([0-9]{6,}|\.spare|\.copy-[0-9]+)$`),
	} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if !allowed.MatchString(entry.Name()) {
				return fmt.Errorf("%s is left over", filepath.Join(dir, entry.Name()))
			}
		}
	}
	return nil
}

// newestGeneration reads history's lines: their generations differ, and the
// largest is the newest.
func newestGeneration(out []byte) (int, error) {
	newest := 0
	seen := map[int]bool{}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var line struct {
			Kind       string
			Generation int
			Time       time.Time
		}
		switch err := dec.Decode(&line); {
		case err == io.EOF:
			return newest, nil
		case err != nil:
			return 0, fmt.Errorf("history: %w\n%s", err, out)
		}
		switch line.Kind {
		case "promote", "revert", "adopt", "revoke", "sign":
			if seen[line.Generation] {
				return 0, fmt.Errorf("history names generation %d twice", line.Generation)
			}
			seen[line.Generation] = true
			newest = max(newest, line.Generation)
		}
		if line.Time.IsZero() || line.Kind == "" {
			return 0, errors.New("history: a line without time or kind: " + string(out))
		}
	}
}
