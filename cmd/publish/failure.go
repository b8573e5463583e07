package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"example.com/publish/publish"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lock"
)

// exitCode is the program's exit status; scripts depend on the numbers.
type exitCode int

const (
	exitOK          exitCode = 0
	exitFailed      exitCode = 1
	exitUsage       exitCode = 2
	exitFindings    exitCode = 3
	exitLocked      exitCode = 4
	exitNotFound    exitCode = 5
	exitRefused     exitCode = 6
	exitSwitched    exitCode = 7
	exitInterrupted exitCode = 130
)

// exitStatus is the table that the manual shows.
var exitStatus = []struct {
	code    exitCode
	meaning string
}{
	{exitOK, "done, and the change survives a power cut; or there was nothing to do"},
	{exitFailed, "failed; production is unchanged"},
	{exitUsage, "wrong usage, or a bad configuration"},
	{exitFindings, "findings: the tree to promote or to verify is not valid; diff --exit-code: the trees differ; " +
		"status --check: something is wrong; mirror update: a locked name moved"},
	{exitLocked, "locked by another process"},
	{exitNotFound, "no such generation, product, version, tag or file"},
	{exitRefused, "refused: production is on hold; or the change would bring back reverted or revoked content; or " +
		"the plan is out of date or was edited"},
	{exitSwitched, "production was switched, and a later step failed (the message reports the state); or revoked " +
		"content is not deleted everywhere yet"},
	{exitInterrupted, "interrupted before the switch"},
}

// Error makes an exit status an error for which nothing is printed.
func (c exitCode) Error() string { return fmt.Sprintf("exit status %d", int(c)) }

// codeOf is the one place where errors become exit statuses.
func codeOf(err error) exitCode {
	var (
		code     exitCode
		e        *publish.Error
		invalid  *publish.FindingsError
		invalid2 *stage.FindingsError
		bad      *stage.UsageError
		input    *catalog.InputError
		held     *lock.HeldError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return code
	case errors.As(err, &e) && e.Kind != publish.Failed:
		switch e.Kind {
		case publish.Usage:
			return exitUsage
		case publish.Invalid:
			return exitFindings
		case publish.Locked:
			return exitLocked
		case publish.NotFound:
			return exitNotFound
		case publish.Refused:
			return exitRefused
		case publish.Switched:
			return exitSwitched
		case publish.Interrupted:
			return exitInterrupted
		}
		return exitFailed
	case errors.As(err, &invalid), errors.As(err, &invalid2):
		return exitFindings
	case errors.As(err, &held):
		return exitLocked
	case errors.As(err, &bad):
		return exitUsage
	case errors.As(err, &input):
		return exitFindings
	case errors.Is(err, stage.ErrNotFound):
		return exitNotFound
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}

// failure is what is printed of an error.
type failure struct {
	Code     exitCode          `json:"code"`
	Message  string            `json:"message"`
	Hint     string            `json:"hint"`
	Findings []catalog.Finding `json:"findings"`
	Warnings []string          `json:"warnings"`
}

// hinted is an error with a remedy that only the command knows.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// untouched is an error of a command that could have changed production, and did not.
type untouched struct{ error }

func (u *untouched) Unwrap() error { return u.error }

// staying is an error of a command that made the repository dir, which stays.
type staying struct {
	error
	dir string
}

func (s *staying) Unwrap() error { return s.error }

// switching marks an error of a verb that switches, so that the message says
// whether production changed.
func switching(err error) error {
	if err == nil || codeOf(err) == exitSwitched {
		return err
	}
	return &untouched{err}
}

func explain(err error) failure {
	f := failure{Code: codeOf(err), Message: message(err), Findings: []catalog.Finding{}, Warnings: []string{}}
	var (
		e        *publish.Error
		bad      *stage.UsageError
		h        *hinted
		u        *untouched
		stays    *staying
		invalid  *publish.FindingsError
		invalid2 *stage.FindingsError
	)
	if errors.As(err, &invalid) {
		f.Findings = append(f.Findings, invalid.Report.Findings...)
	} else if errors.As(err, &invalid2) {
		f.Findings = append(f.Findings, invalid2.Report.Findings...)
	}
	if errors.As(err, &e) {
		f.Hint = e.Hint
	}
	if f.Hint == "" && errors.As(err, &bad) {
		f.Hint = bad.Hint
	}
	if input := new(catalog.InputError); f.Hint == "" && errors.As(err, &input) {
		f.Hint = input.Hint
	}
	if held := new(lock.HeldError); f.Hint == "" && errors.As(err, &held) {
		f.Hint = publish.LockedHint(held)
	}
	if f.Hint == "" && errors.As(err, &h) {
		f.Hint = h.hint
	}
	if f.Hint == "" {
		f.Hint = publish.Remedy(err)
	}
	if errors.As(err, &u) && !strings.Contains(f.Message, "production is unchanged") {
		f.Message += "; production is unchanged"
	}
	if errors.As(err, &stays) {
		f.Message += "; the repository " + stays.dir + " was made, and stays"
	}
	return f
}

// message puts the path first, also in errors of the operating system.
func message(err error) string {
	var e *publish.Error
	var pe *fs.PathError
	var le *os.LinkError
	text := err.Error()
	switch {
	case codeOf(err) == exitInterrupted:
		// Once, and without the place: that may be an internal one.
		if errors.As(err, &e) && e.Kind == publish.Interrupted {
			return e.Error()
		}
		return "interrupted"
	case errors.As(err, &pe) && (text == pe.Error() || text == pe.Path+": "+pe.Error()):
		return fmt.Sprintf("%s: %s: %s", pe.Path, pe.Op, pe.Err)
	case errors.As(err, &le) && text == le.Error():
		return fmt.Sprintf("%s: %s to %s: %s", le.Old, le.Op, le.New, le.Err)
	}
	return text
}

// since is when what an error says is in the way began; zero if nothing is.
func since(err error) time.Time {
	if held := new(lock.HeldError); errors.As(err, &held) && held.Holder.PID != 0 {
		return held.Holder.Since
	}
	if e := new(publish.Error); errors.As(err, &e) {
		return e.Since
	}
	return time.Time{}
}

// report writes the error, if there is one, and returns the exit status.
func (p *program) report(err error) int {
	code := codeOf(err)
	if silent := exitCode(0); err == nil || errors.As(err, &silent) {
		if p.json {
			for _, w := range p.warnings {
				p.tellJSON(map[string]string{"warning": w})
			}
		}
		return int(code)
	}
	f := explain(err)
	if since := since(err); !p.json && isTerminal(p.stderr) && !since.IsZero() {
		f.Hint = "it began " + publish.Distance(p.clock(), since) + "; " + f.Hint
	}
	if p.json {
		f.Warnings = append(f.Warnings, p.warnings...)
		p.tellJSON(f)
		return int(code)
	}
	for _, x := range f.Findings {
		fmt.Fprintln(p.stderr, findingLine(x))
	}
	fmt.Fprintln(p.stderr, "publish: "+printable(f.Message))
	if f.Hint != "" {
		fmt.Fprintln(p.stderr, "hint: "+printable(f.Hint))
	}
	return int(code)
}

func (p *program) tellJSON(v any) {
	_ = writeJSON(p.stderr, v) // there is nowhere left to report it
}
