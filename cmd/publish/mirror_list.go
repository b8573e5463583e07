package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
)

// jobStates are all, in the order of a job's way.
var jobStates = mirror.States()

func stateWords() (words []string) {
	for _, s := range jobStates {
		words = append(words, string(s))
	}
	return words
}

func (p *program) mirrorListCommand() *command {
	return verb(&cli.Command{
		Name: "list", Aliases: []string{"ls"},
		Usage: "list the jobs of the mirror",
		Description: "Lists the jobs, the oldest first; those that ended stay for 30 days, failed ones for 90. Takes no " +
			"lock.",
		Flags: []cli.Flag{&cli.StringSliceFlag{Name: "state", Usage: "only jobs in `STATE`; may be given again"}},
	}, 0, 0, p.mirrorList).
		example("see what failed", "publish mirror list --state failed").
		completesFlag("state", stateWords)
}

func (p *program) mirrorList(c *cli.Context) error {
	var states []mirror.State
	for _, word := range c.StringSlice("state") {
		if !slices.Contains(stateWords(), word) {
			return usage("one of "+strings.Join(stateWords(), ", "), "--state: %q is no state of a job", word)
		}
		states = append(states, mirror.State(word))
	}
	m, err := p.mirrorOf()
	if err != nil {
		return err
	}
	read := states
	if slices.Contains(states, mirror.Published) {
		read = append(slices.Clone(states), mirror.Staged)
	}
	list, bad, err := m.Queue.List(read...)
	if err != nil {
		return err
	}
	p.problems(bad)
	rows := [][]string{{"JOB", "STATE", "IMAGE", "DIGEST", "ADDED", "NOTE"}}
	seen, err := m.See(c.Context, list...)
	if err != nil {
		return err
	}
	for _, j := range seen {
		if len(states) > 0 && !slices.Contains(states, j.State) {
			continue
		}
		if p.json {
			if err := p.object(j); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{j.ID, string(j.State), imageOf(j.Canonical, j.Reference), short(j.Digest),
			p.when(j.Created), noteOf(p, j)})
	}
	switch {
	case p.json:
	case len(rows) == 1 && len(states) > 0:
		p.note("no job is in that state")
	case len(rows) == 1:
		p.note("the queue is empty; publish mirror add asks for an image")
	default:
		p.table(rows)
	}
	return nil
}

// noteOf is what a list says of a job beside its state.
func noteOf(p *program, j mirror.Seen) string {
	switch {
	case j.Orphaned:
		return orphanedNote
	case j.Gone:
		return goneNote
	}
	switch j.State {
	case mirror.Running:
		if j.BytesTotal > 0 {
			return fmt.Sprintf("%s, %s of %s", j.Phase, size(j.BytesDone), size(j.BytesTotal))
		}
		return string(j.Phase)
	case mirror.Waiting:
		return fmt.Sprintf("%s until %s", j.Reason, p.when(j.Until))
	case mirror.Failed:
		return string(j.Class)
	}
	return ""
}

func (p *program) mirrorStatusCommand() *command {
	return verb(&cli.Command{
		Name: "status", ArgsUsage: "[ID...]",
		Usage: "report on jobs of the mirror",
		Description: "Without ID: how many jobs are in which state, and which hosts must not be asked for a while, and " +
			"when schedules ask for images. ID is the name of a job, or enough of its beginning. Takes no lock.",
	}, 0, -1, p.mirrorStatus).
		example("see what the mirror has to do", "publish mirror status").
		completes(every(p.jobs()))
}

// mirrorState is the answer of mirror status without ID.
type mirrorState struct {
	Jobs  map[mirror.State]int   `json:"jobs"` // by state; those that no job is in are 0
	Hosts map[string]mirror.Hold `json:"hosts"`
	// Schedules are those of publish.yaml, in its order.
	Schedules []mirror.Scheduled `json:"schedules"`
	// Orphaned are those of running whose runner is gone, and Gone those of staged that
	// neither staging nor production has any more.
	Orphaned int `json:"orphaned"`
	Gone     int `json:"gone"`
}

func (p *program) mirrorStatus(c *cli.Context) error {
	m, err := p.mirrorOf()
	if err != nil {
		return err
	}
	if c.NArg() > 0 {
		for _, id := range c.Args().Slice() {
			j, err := seenJob(c.Context, m, id)
			if err != nil {
				return err
			}
			if err := p.answer(j, func() { p.describeJob(m, j) }); err != nil {
				return err
			}
		}
		return nil
	}
	list, bad, err := m.Queue.List()
	if err != nil {
		return err
	}
	p.problems(bad)
	out := mirrorState{Jobs: map[mirror.State]int{}, Hosts: m.Hosts.All()}
	if out.Schedules, err = m.Schedules(); err != nil {
		return err
	}
	for _, s := range jobStates {
		out.Jobs[s] = 0
	}
	seen, err := m.See(c.Context, list...)
	if err != nil {
		return err
	}
	for _, j := range seen {
		out.Jobs[j.State]++
		if j.Orphaned {
			out.Orphaned++
		}
		if j.Gone {
			out.Gone++
		}
	}
	return p.answer(out, func() {
		var parts []string
		for _, s := range jobStates {
			if n := out.Jobs[s]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, s))
			}
		}
		if len(parts) == 0 {
			parts = []string{"no jobs"}
		}
		p.say("%s", strings.Join(parts, ", "))
		if out.Orphaned > 0 {
			p.say("%s running without a runner: publish mirror run goes on with what it left", count(out.Orphaned, "job"))
		}
		if out.Gone > 0 {
			p.say("%s staged, and not in staging any more", count(out.Gone, "job"))
		}
		hosts := make([]string, 0, len(out.Hosts))
		for host := range out.Hosts {
			hosts = append(hosts, host)
		}
		slices.Sort(hosts)
		for _, host := range hosts {
			p.say("%s: is not asked until %s", host, p.when(out.Hosts[host].Until))
		}
		p.saySchedules(out.Schedules)
	})
}

// describeJob prints all of one job.
func (p *program) describeJob(m *mirror.Mirror, j mirror.Seen) {
	line := func(label, format string, args ...any) {
		p.say("%-12s %s", label+":", fmt.Sprintf(format, args...))
	}
	p.say("%s", j.ID)
	line("image", "%s", j.Canonical)
	if j.Reference != j.Canonical {
		line("asked for", "%s", j.Reference)
	}
	if name := m.NameOf(j.Canonical); name != j.Canonical {
		line("in the tree", "%s", name)
	}
	if len(j.Platforms) > 0 {
		line("platforms", "%s", strings.Join(j.Platforms, ", "))
	}
	if j.Versions > 0 {
		line("versions", "the newest %d", j.Versions)
	}
	if len(j.Filters) > 0 {
		line("filters", "%s", oneLine(strings.Join(j.Filters, ", ")))
	}
	switch j.State {
	case mirror.Waiting:
		line("state", "%s (%s) until %s", j.State, j.Reason, p.when(j.Until))
	case mirror.Running:
		line("state", "%s, %s", j.State, noteOf(p, j))
	case mirror.Staged:
		line("state", "%s%s", j.State, after(", ", noteOf(p, j)))
	case mirror.Failed:
		line("state", "%s (%s)", j.State, j.Class)
	default:
		line("state", "%s", j.State)
	}
	if j.Error != "" {
		line("error", "%s", j.Error)
	}
	if j.Hint != "" {
		line("hint", "%s", j.Hint)
	}
	if j.Digest != "" {
		line("digest", "%s", j.Digest)
	}
	if len(j.MissingPlatforms) > 0 {
		line("lacks", "%s", strings.Join(j.MissingPlatforms, ", "))
	}
	for _, text := range j.LeftOut {
		line("left out", "%s", oneLine(text))
	}
	switch {
	case j.Drift == nil:
	case j.Drift.To == j.Digest:
		line("drift", "the name was locked to %s", j.Drift.From)
	default:
		line("drift", "the name stood for %s", j.Drift.To)
	}
	if j.State == mirror.Published {
		line("address", "%s", j.Address)
	}
	for _, r := range j.Requesters {
		line("asked by", "%s, %s", r.Who, p.when(r.At))
	}
	line("attempts", "%d", j.Attempts)
}

func (p *program) mirrorHistoryCommand() *command {
	return verb(&cli.Command{
		Name: "history", ArgsUsage: "[ID]",
		Usage:       "report who asked for what, and what became of it",
		Description: "The oldest first, also of jobs that are not kept any more: these by their whole ID.",
	}, 0, 1, p.mirrorHistory).
		example("see everything that the mirror did", "publish mirror history").
		completes(upTo(1, p.jobs()))
}

func (p *program) mirrorHistory(c *cli.Context) error {
	m, err := p.mirrorOf()
	if err != nil {
		return err
	}
	id, gone := "", error(nil)
	if c.NArg() > 0 {
		j, err := m.Queue.Get(c.Args().First())
		id = j.ID
		if e := new(publish.Error); errors.As(err, &e) && e.Kind == publish.NotFound {
			id, gone = c.Args().First(), err // it may be one that is not kept any more
		} else if err != nil {
			return err
		}
	}
	rows := [][]string{{"TIME", "JOB", "EVENT", "WHO", "IMAGE", "DIGEST", "DETAIL"}}
	for e, err := range m.Queue.History(id) {
		if err != nil {
			p.warn(err.Error())
			continue
		}
		gone = nil
		if p.json {
			if err := p.object(e); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{p.when(e.Time), e.ID, e.Event, oneLine(e.Who), imageOf(e.Canonical, e.Reference),
			short(e.Digest), oneLine(e.Detail)})
	}
	switch {
	case gone != nil:
		return gone
	case p.json:
	case len(rows) == 1:
		p.note("the history is empty")
	default:
		p.table(rows)
	}
	return nil
}

// imageOf is the name of an image, or what was denied because it is none.
func imageOf(canonical, reference string) string { return cmp.Or(canonical, oneLine(reference)) }
