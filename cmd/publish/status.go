package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/stage/lock"
)

func (p *program) statusCommand() *command {
	return verb(&cli.Command{
		Name: "status", Category: "look",
		Usage: "report what is live, what is staged, and what can be reverted to",
		Description: "Takes no lock and reads no image, so it counts only the findings that need no reading; publish " +
			"validate reports all. With --check it exits with 3 if a command did not end, if the clock is behind " +
			"the history, if production failed its health check, if a job of the mirror failed, or if a threshold is " +
			"passed, and prints a line for each. With --prometheus it writes a file for the textfile collector of " +
			"node_exporter and prints nothing.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "check",
				Usage: "for a monitor: report what is wrong, and exit with status 3 if anything is"},
			&cli.StringFlag{Name: "max-age",
				Usage: "with --check: the last promote that stayed was at most `DURATION` ago"},
			&cli.StringFlag{Name: "max-wait",
				Usage: "with --check: staging equals production, or one of them changed at most `DURATION` ago"},
			&cli.StringFlag{Name: "min-free", Usage: "with --check: at least `SIZE`, such as 20GiB, is free"},
			&cli.IntFlag{Name: "max-errors",
				Usage: "with --check: staging has at most `N` findings that stop a promote"},
			&cli.StringFlag{Name: "max-queue",
				Usage: "with --check: no job of the mirror has been due, and not begun, for more than `DURATION`"},
			&cli.StringFlag{Name: "prometheus", Usage: "write metrics to `FILE`, atomically; - means standard output"},
		},
	}, 0, 0, p.status).
		note("takes no lock").
		completesFlag("prometheus", these(":files")).
		example("look", "publish status").
		example("in a monitor: fail if production is older than a month", "publish status --check --max-age 31d")
}

func (p *program) status(c *cli.Context) error {
	if c.Bool("check") || c.IsSet("prometheus") || thresholdSet(c) {
		return p.monitor(c)
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	p.warnConfig(r)
	s, err := r.Status(c.Context)
	if err != nil {
		return err
	}
	return p.answer(s, func() { p.table(p.statusRows(s)) })
}

// notAtomic is said of a production whose paths change one after the other.
func notAtomic(format string) string {
	if refs(format) {
		return "not atomic: each tag is, the set of tags is not; readers meet the changes of a switch one by one"
	}
	return "not atomic: readers meet the changes of a switch one by one"
}

// rebases is said where other machines promoted since staging was made.
const rebases = "promote merges what others promoted since"

func (p *program) statusRows(s *publish.Status) [][]string {
	rows := [][]string{{"repository", fmt.Sprintf("%s, format %s, switch %s", s.Repository, s.Format, s.Switch)}}
	row := func(name, format string, args ...any) {
		rows = append(rows, []string{name, oneLine(fmt.Sprintf(format, args...))})
	}
	if live := s.Production; live == nil {
		if s.RecoveryPending {
			row("production", "missing: publish recover puts it back")
		} else {
			row("production", "not there yet: publish promote makes it")
		}
	} else {
		row("production", "generation %d, %s by %s since %s%s", live.Generation, live.Kind, live.Who,
			p.when(live.Since), said(live.Message))
		content := fmt.Sprintf("%s, %s", count(live.Files, "file"), size(live.Bytes))
		if live.Origin != live.Generation {
			content += fmt.Sprintf(", the content of generation %d", live.Origin)
		}
		if live.Health != "" {
			content += ", health check " + live.Health
		}
		row("", "%s", content)
		row("", "%s", live.Path)
		if g := live.Signatures; g != nil {
			until := "without end"
			if g.Until != nil {
				until = "good until " + p.when(*g.Until)
			}
			row("", "signed %s, %s", p.when(g.Made), until)
		}
		if s.SignaturesDue {
			row("", "publish sign is due")
		}
		if s.NotAtomic {
			row("", "%s", notAtomic(s.Format))
		}
	}
	st := s.Staging
	what := changes(st.Added, st.Removed, st.Changed)
	switch {
	case st.Equal && s.Production == nil:
		what = "empty"
	case st.Equal:
		what = "equals production"
	}
	if !st.Equal || st.Warnings > 0 || st.Errors > 0 && s.Production != nil {
		what += fmt.Sprintf("; %s, %s", count(st.Errors, "error"), count(st.Warnings, "warning"))
	}
	if s.Leader == nil { // nothing is staged in a target
		row("staging", "%s", what)
	}
	if st.Base != 0 {
		row("", "made from generation %d; %s", st.Base, rebases)
	}
	if s.Carried.Files+s.Carried.Held > 0 {
		row("carried", "%s", p.carried(s.Carried))
	}
	for i, g := range s.Generations {
		name := ""
		if i == 0 {
			name = "kept"
		}
		text := fmt.Sprintf("generation %d", g.Generation)
		if g.Origin != g.Generation {
			text += fmt.Sprintf(" (content of %d)", g.Origin)
		}
		if g.Until != nil {
			text += " until " + p.when(*g.Until)
		} else if g.KeptBy != "" {
			text += ", " + keptBy(g.KeptBy)
		}
		row(name, "%s, %s%s", text, size(g.Bytes), said(g.Message))
	}
	if s.RevertUntil != nil {
		row("revert", "the previous content is kept until %s", p.when(*s.RevertUntil))
	} else if s.RevertKept != "" {
		row("revert", "the previous content is %s", keptBy(s.RevertKept))
	}
	if f := s.Foreign; f != nil && f.Objects > 0 {
		row("others", "%s below the prefix, as of %s; publish never touches them", count(f.Objects, "object"),
			p.when(f.Seen))
	}
	for i, text := range p.mirrorRows(s.Mirror) {
		name := ""
		if i == 0 {
			name = "mirror"
		}
		row(name, "%s", text)
	}
	for i, t := range s.Targets {
		name := ""
		if i == 0 {
			name = "targets"
		}
		row(name, "%s", p.targetRow(t))
	}
	if l := s.Leader; l != nil {
		row("leader", "it is the target %s of the repository %s", l.Target, l.ID)
	}
	if h := s.Hold; h != nil {
		row("hold", "by %s since %s%s; publish unhold ends it", h.Who, p.when(h.Since), said(h.Why))
	}
	for _, l := range s.Locks {
		row("lock", "%s: %s", l.Name, p.holder(l.Holder))
	}
	if len(s.LocksUnknown) > 0 {
		row("locks", "unknown: this user may not ask whether somebody holds %s", strings.Join(s.LocksUnknown, ", "))
	}
	switch {
	case len(s.Missing) > 0:
		row("recovery", "pending: %s lost: publish recover makes that anew", strings.Join(s.Missing, ", "))
	case s.HistoryFlaw != "":
		row("history", "%s: publish recover repairs it", s.HistoryFlaw)
	case s.RecoveryPending && slices.Contains(s.LocksUnknown, "production"):
		row("recovery", "pending, or a command is at work: only the owner of the repository can tell which")
	case s.RecoveryPending:
		row("recovery", "pending: a command did not end; publish recover, or the next one, finishes it")
	}
	for i, l := range s.Leftovers {
		name := ""
		if i == 0 {
			name = "left over"
		}
		row(name, "%s", l)
	}
	if s.ClockBehind {
		row("clock", "stands before the newest line of the history, of %s: nothing is deleted until then",
			p.when(*s.ClockBehindUntil))
		row("", "%s", publish.ClockRemedy)
	}
	return rows
}

// holder describes who holds a lock, on a terminal with how long that is.
func (p *program) holder(h lock.Holder) string {
	if h.PID == 0 || !isTerminal(p.stdout) {
		return h.String()
	}
	return fmt.Sprintf("%s, %s", h, publish.Distance(p.clock(), h.Since))
}

// longMessage is how much of a message is printed in a line about something else,
// in columns of a terminal. history and show have the whole of it.
const longMessage = 72

// said is a message within such a line, cut if it is very long.
func said(message string) string {
	if message = strings.TrimSpace(message); message == "" {
		return ""
	}
	return ": " + terminal.Truncate(oneLine(message), longMessage, "...")
}

// carried says what is served for clients of earlier generations.
func (p *program) carried(c publish.CarriedState) string {
	text := fmt.Sprintf("%s, %s", count(c.Files, "file"), size(c.Bytes))
	if c.Held > 0 {
		text += fmt.Sprintf(", %s held", count(c.Held, "digest"))
	}
	if c.NextExpiry != nil {
		text += ", the first until " + p.when(*c.NextExpiry)
	}
	return text
}

// targetRow is what is known of a target.
func (p *program) targetRow(t publish.TargetState) string {
	text := t.Name + ", " + t.To + ": "
	switch {
	case t.Asked == nil:
		text += "never synced"
	case t.Generation == 0:
		text += "nothing yet"
	default:
		text += fmt.Sprintf("generation %d", t.Generation)
	}
	if t.Asked != nil {
		text += ", as of " + p.when(*t.Asked)
	}
	if t.LagS > 0 {
		text += ", behind for " + publish.Duration(time.Duration(t.LagS)*time.Second).String()
	}
	if t.LastError != "" {
		text += "; the last sync failed: " + t.LastError
	}
	return text
}
