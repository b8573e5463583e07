package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/fanout"
)

func (p *program) syncCommand() *command {
	return verb(&cli.Command{
		Name: "sync", Category: "production", ArgsUsage: "[TARGET...]",
		Usage: "bring targets to production's generation",
		Description: "Brings each target that publish.yaml names, or only these, to the generation that is production " +
			"here: the same number and the same tree. Only contents that the target lacks are sent. The target switches " +
			"by itself, or from here if it lies in an object store, carries what its own clients may still ask for, and " +
			"deletes what was revoked. promote, revert and revoke end with a sync of all targets.\n\n" +
			"A target that fails stops no other, and goes on where it was with the next sync. Then the exit status is 7, " +
			"or that of the targets if all of them were refused, or locked. publish help targets has a guide.",
	}, 0, -1, p.sync).
		example("bring all targets forward", "publish sync").
		example("bring one target forward", "publish sync rack2").
		completes(every(p.targets))
}

// targets are the names in publish.yaml.
func (p *program) targets() []string {
	r, err := p.open()
	if err != nil {
		return nil
	}
	var out []string
	for _, name := range r.Config.TargetNames() {
		out = append(out, name+"\t"+r.Config.Targets[name].To)
	}
	return out
}

// syncedAnswer is the answer of sync.
type syncedAnswer struct {
	Generation int            `json:"generation"`
	Targets    []syncedTarget `json:"targets"`
}

// syncedTarget is what a sync did to a target.
type syncedTarget struct {
	Name       string   `json:"name"`
	To         string   `json:"to"`
	Generation int      `json:"generation"` // that it serves; 0 for none, or if that is not known
	From       int      `json:"from"`       // that it served before
	Switched   bool     `json:"switched"`
	Carried    int      `json:"carried"`
	Redacted   int      `json:"redacted"` // files of revoked content that were deleted there
	Sent       int      `json:"sent"`     // contents
	SentBytes  int64    `json:"sent_bytes"`
	Warnings   []string `json:"warnings"`
	// NotAtomic is true for a target in an object store whose readers do not see each switch as
	// a whole; absent else.
	NotAtomic bool `json:"not_atomic,omitempty"`
	format    string
	Error     *syncFailure `json:"error"` // null: it is up to date
}

type syncFailure struct {
	Code    exitCode `json:"code"`
	Message string   `json:"message"`
	Hint    string   `json:"hint"`
}

func (p *program) sync(c *cli.Context) error {
	r, err := p.open()
	if err != nil {
		return err
	}
	p.warnConfig(r)
	answer, err := p.syncTargets(c.Context, r, c.Args().Slice(), nil)
	if answer == nil {
		return err
	}
	if werr := p.answer(answer, func() { p.printSynced(answer.Targets) }); werr != nil {
		return errors.Join(err, werr)
	}
	return err
}

// syncTargets brings targets forward. The error is about all of them; the answer is nil if
// none was asked. lines are those of followTargets.
func (p *program) syncTargets(ctx context.Context, r *publish.Repo, names []string, lines *targetLines) (
	*syncedAnswer, error) {
	warn := p.oneByOne()
	opt := fanout.Options{Host: p.target(warn, nil), Now: p.clock, Waiting: p.waiting}
	if p.wait != nil {
		opt.Wait = *p.wait
	}
	p.progress.end()
	end := p.followTargets(&opt, lines)
	n, results, err := fanout.Sync(ctx, r, names, opt)
	end()
	if err != nil {
		return nil, err
	}
	out := &syncedAnswer{Generation: n, Targets: []syncedTarget{}}
	var failed []fanout.Result
	for _, res := range results {
		t := syncedTarget{Name: res.Name, To: res.To, Generation: res.Generation, From: res.From, Switched: res.Switched,
			Carried: res.Carried, Redacted: res.Redacted, Sent: res.Sent, SentBytes: res.Bytes, NotAtomic: res.NotAtomic,
			Warnings: append([]string{}, res.Warnings...), format: r.Config.Format}
		if res.Err != nil {
			failed = append(failed, res)
			f := explain(res.Err)
			t.Error = &syncFailure{f.Code, f.Message, f.Hint}
		}
		out.Targets = append(out.Targets, t)
	}
	return out, behind(n, results, failed)
}

// behind is the error for targets that do not have generation n. If all of them were
// refused, or locked, nothing happened: the exit status says that.
func behind(n int, all, failed []fanout.Result) error {
	if len(failed) == 0 {
		return nil
	}
	code := codeOf(failed[0].Err)
	names := make([]string, 0, len(failed))
	for _, res := range failed {
		serves := "what it serves is not known"
		if res.Generation > 0 {
			serves = fmt.Sprintf("it serves generation %d", res.Generation)
		}
		names = append(names, fmt.Sprintf("%s (%s)", res.Name, serves))
		if codeOf(res.Err) != code {
			code = exitSwitched
		}
	}
	kind := publish.Switched
	if len(failed) == len(all) {
		switch code {
		case exitRefused:
			kind = publish.Refused
		case exitLocked:
			kind = publish.Locked
		case exitUsage:
			kind = publish.Usage
		case exitInterrupted:
			kind = publish.Interrupted
		}
	}
	fact := fmt.Sprintf("%s not brought to generation %d: %s",
		english.PluralWord(len(failed), "a target was", "targets were"), n, strings.Join(names, ", "))
	hint := "publish sync tries again"
	if len(all) == 1 { // nothing else says why
		f := explain(failed[0].Err)
		fact += ": " + f.Message
		if f.Hint != "" {
			hint = f.Hint
		}
	}
	return &publish.Error{Kind: kind, Fact: fact, Hint: hint}
}

// printSynced prints a line for each target. Those that failed are on standard error.
func (p *program) printSynced(list []syncedTarget) { p.tellSynced(list, p.say) }

// tellSynced is printSynced, with what prints the line of a target that has switched.
func (p *program) tellSynced(list []syncedTarget, say func(string, ...any)) {
	for _, t := range list {
		for _, w := range t.Warnings {
			p.note("warning: %s: %s", t.Name, w)
		}
		switch {
		case t.Error != nil && len(list) > 1:
			p.note("error: %s: %s", t.Name, t.Error.Message)
			if t.Error.Hint != "" {
				p.note("  hint: %s", t.Error.Hint)
			}
		case t.Error != nil:
		case !t.Switched && t.Redacted == 0:
			p.idle("%s: generation %d: up to date", t.Name, t.Generation)
		default:
			say("%s", syncedLine(t))
			if t.NotAtomic {
				p.note("%s: %s", t.Name, notAtomic(t.format))
			}
		}
	}
}

func syncedLine(t syncedTarget) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: generation %d", t.Name, t.Generation)
	switch {
	case t.Switched && t.From == 0:
		b.WriteString(", the first")
	case t.Switched:
		fmt.Fprintf(&b, " after %d", t.From)
	}
	fmt.Fprintf(&b, ": %s sent (%s), %s carried", count(t.Sent, "content"), size(t.SentBytes), count(t.Carried, "file"))
	if t.Redacted > 0 {
		fmt.Fprintf(&b, "; %s of revoked content deleted", count(t.Redacted, "file"))
	}
	return b.String()
}

// follows brings all targets to what a promote, a revert or a revoke made production. err is
// the error of that. It does nothing if there are no targets, or with --no-sync; if nothing
// was switched, only if a target is known to be behind.
func (p *program) follow(c *cli.Context, r *publish.Repo, switched bool, err error) ([]syncedTarget, error) {
	if c.Bool("no-sync") || c.Bool("dry-run") {
		return nil, err
	}
	return p.followed(c.Context, r, switched, err, nil)
}

// followed is follow for a command that has no such flags.
func (p *program) followed(ctx context.Context, r *publish.Repo, switched bool, err error, lines *targetLines) (
	[]syncedTarget, error) {
	if len(r.Config.Targets) == 0 {
		return nil, err
	}
	if err != nil && codeOf(err) != exitSwitched {
		return nil, err
	}
	if !switched && err == nil {
		s, err := r.Status(ctx)
		if err != nil || !late(s.Targets) {
			return nil, err
		}
	}
	answer, serr := p.syncTargets(ctx, r, nil, lines)
	if e := new(publish.Error); errors.As(serr, &e) {
		serr = &publish.Error{Kind: publish.Switched, Fact: e.Fact, Hint: e.Hint, Err: e.Err}
	} else if serr != nil {
		serr = &publish.Error{Kind: publish.Switched, Fact: "the targets were not asked", Err: serr,
			Hint: "publish sync tries again"}
	}
	if answer == nil {
		return nil, errors.Join(err, serr)
	}
	if err != nil {
		return answer.Targets, errors.Join(err, serr)
	}
	return answer.Targets, serr
}

func late(targets []publish.TargetState) bool {
	for _, t := range targets {
		if t.LagS > 0 {
			return true
		}
	}
	return false
}

func noSyncFlag() cli.Flag {
	return &cli.BoolFlag{Name: "no-sync", Usage: "do not bring the targets forward"}
}
