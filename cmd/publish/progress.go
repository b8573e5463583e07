package main

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// patience is how long a step runs before it shows a bar.
const patience = 500 * time.Millisecond

// progress shows one bar at a time, of the step that runs now.
type progress struct {
	to io.Writer

	mu    sync.Mutex
	name  string
	total int64
	done  int64
	since time.Time
	bars  *mpb.Progress
	bar   *mpb.Bar
}

// possible reports whether somebody can see a bar.
func (g *progress) possible() bool {
	return isTerminal(g.to) && os.Getenv("TERM") != "dumb"
}

// step begins a step that will read so many bytes; it ends the one before.
func (g *progress) step(name string, bytes int64) func(int64) {
	g.end()
	if bytes <= 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.name, g.total, g.done, g.since = name, bytes, 0, time.Now()
	since := g.since
	return func(n int64) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.since.Equal(since) {
			return // a straggler of a step that has ended
		}
		g.done += n
		switch {
		case g.bar != nil:
			g.bar.SetCurrent(min(g.done, g.total-1)) // end takes it away
		case time.Since(g.since) > patience:
			g.show()
		}
	}
}

func (g *progress) show() {
	g.bars = mpb.New(mpb.WithOutput(g.to), mpb.WithWidth(64))
	g.bar = g.bars.New(g.total, mpb.BarStyle(),
		mpb.PrependDecorators(decor.Name(g.name+" ")),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f of % .1f"), decor.AverageETA(decor.ET_STYLE_GO,
			decor.WC{W: 7})))
	g.bar.DecoratorAverageAdjust(g.since)
	g.bar.SetCurrent(g.done)
}

// end takes the bar away.
func (g *progress) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bar != nil {
		g.bar.Abort(true)
		g.bars.Wait()
	}
	g.bar, g.bars, g.since = nil, nil, time.Time{}
}
