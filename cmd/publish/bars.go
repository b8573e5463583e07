package main

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// drawEvery is how often the bars of several things at once are drawn.
const drawEvery = 150 * time.Millisecond

// barLine is what the bar of one thing shows.
type barLine struct {
	id          string
	name, text  string // before and after the bar
	done, total int64  // of the bar
}

// lineBars shows a bar for each of several things that go on at once, below the lines that
// are written to it.
type lineBars struct {
	to    io.Writer
	width int // of a bar, in columns; where to is no terminal, of all of its line

	mu   sync.Mutex
	all  *mpb.Progress // nil: no bar is shown
	bars map[string]*lineBar
}

// lineBar is a bar, from when its thing has been seen for a moment.
type lineBar struct {
	since time.Time
	bar   *mpb.Bar // nil: not yet
	line  atomic.Pointer[barLine]
}

// Write writes lines above the bars.
func (b *lineBars) Write(lines []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		return b.to.Write(lines)
	}
	return b.all.Write(lines)
}

// show has a bar for each of these lines, and for no other.
func (b *lineBars) show(lines []barLine, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	there := map[string]bool{}
	for _, l := range lines {
		there[l.id] = true
		bar := b.bars[l.id]
		if bar == nil {
			bar = &lineBar{since: now}
			b.bars[l.id] = bar
		}
		bar.line.Store(&l)
		if bar.bar == nil && now.Sub(bar.since) >= patience {
			if b.all == nil {
				b.all = mpb.New(mpb.WithOutput(b.to), mpb.WithWidth(b.width), mpb.WithRefreshRate(drawEvery),
					mpb.WithAutoRefresh())
			}
			bar.bar = b.all.New(0, mpb.BarStyle(), // the total may not be known: it ends when it is taken away
				mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return bar.line.Load().name })),
				mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return bar.line.Load().text })))
		}
		if bar.bar != nil {
			bar.bar.SetTotal(l.total, false)
			bar.bar.SetCurrent(min(l.done, l.total))
		}
	}
	shown := 0
	for id, bar := range b.bars {
		switch {
		case there[id] && bar.bar != nil:
			shown++
		case !there[id]:
			if bar.bar != nil {
				bar.bar.Abort(true)
			}
			delete(b.bars, id)
		}
	}
	if shown == 0 && b.all != nil {
		b.all.Wait()
		b.all = nil
	}
}

// followLines shows lines, where somebody can see that, until the result is called. What goes to
// standard error meanwhile comes above them.
func (p *program) followLines(lines func() []barLine) (end func()) {
	b := &lineBars{to: p.stderr, width: 24, bars: map[string]*lineBar{}}
	p.stderr = b
	stop := tick(drawEvery, func() { b.show(lines(), time.Now()) })
	return func() {
		stop()
		b.show(nil, time.Now())
		p.stderr = b.to
	}
}

// tick calls a function again and again until the result has returned.
func tick(d time.Duration, do func()) (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			select {
			case <-over:
				return
			case <-t.C:
				do()
			}
		}
	}()
	return func() {
		close(over)
		<-done
	}
}
