package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"example.com/publish/publish/fanout"
)

// logEvery is how often a sync says how far it is where nobody sees a bar.
const logEvery = 30 * time.Second

// targetLines know how far the sync of each target is: one line for each.
type targetLines struct {
	mu   sync.Mutex
	list []*targetLine // in the order in which they began
}

type targetLine struct {
	name        string
	step        string // "" before the first
	done, total int64
	over        string // how it ended; "" while it goes on
	logged      int64  // what was done when log printed it
}

// begin adds the line of a target. Each call of the result begins a step.
func (t *targetLines) begin(name string) fanout.Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &targetLine{name: name}
	t.list = append(t.list, l)
	return func(step string, bytes int64) func(int64) {
		t.mu.Lock()
		defer t.mu.Unlock()
		l.step, l.done, l.total, l.logged = step, 0, bytes, 0
		return func(n int64) {
			t.mu.Lock()
			defer t.mu.Unlock()
			if l.step == step {
				l.done += n
			}
		}
	}
}

// end says how the sync of a target ended.
func (t *targetLines) end(res fanout.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.list {
		if l.name != res.Name {
			continue
		}
		switch l.done = l.total; {
		case res.Err != nil:
			l.over = "failed"
		case res.Switched:
			l.over = fmt.Sprintf("generation %d", res.Generation)
		default:
			l.over = "up to date"
		}
	}
}

// text says how far a target is.
func (l *targetLine) text() string {
	switch {
	case l.over != "":
		return l.over
	case l.step == "":
		return "asks what it has"
	case l.total <= 0:
		return l.step
	}
	return fmt.Sprintf("%s, %s of %s", l.step, size(l.done), size(l.total))
}

// bars are the lines as bars.
func (t *targetLines) bars() []barLine {
	t.mu.Lock()
	defer t.mu.Unlock()
	const columns = 20
	out := make([]barLine, len(t.list))
	for i, l := range t.list {
		name := l.name
		if over := terminal.StringWidth(name) - columns; over > 0 {
			name = terminal.Truncate(name, columns, "...")
		}
		out[i] = barLine{l.name, fmt.Sprintf("%-*s ", min(columns, widest(t.list)), name), " " + l.text(), l.done, l.total}
	}
	return out
}

func widest(list []*targetLine) int {
	n := 0
	for _, l := range list {
		n = max(n, terminal.StringWidth(l.name))
	}
	return n
}

// log prints a line for each target that goes on, and is further than at the last call.
func (t *targetLines) log(to io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.list {
		if l.over == "" && l.done > l.logged {
			l.logged = l.done
			fmt.Fprintf(to, "%s: %s\n", l.name, l.text())
		}
	}
}

// reset forgets the lines.
func (t *targetLines) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = nil
}

// followTargets shows how far a sync is, as bars or as lines of a log, until the result is
// called. t are lines that somebody else shows; nil: nobody does.
func (p *program) followTargets(opt *fanout.Options, t *targetLines) (end func()) {
	if t != nil {
		opt.Progress, opt.Done = t.begin, t.end
		return t.reset
	}
	if p.json || p.quiet {
		return func() {}
	}
	t = &targetLines{}
	opt.Progress, opt.Done = t.begin, t.end
	if p.progress.possible() {
		return p.followLines(t.bars)
	}
	return tick(logEvery, func() { t.log(p.stderr) })
}
