package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"example.com/publish/publish/mirror"
)

// drawEvery is how often the bars of a run are drawn.
const drawEvery = 150 * time.Millisecond

// jobBars shows a bar for each job that runs, below the lines that are written to it.
type jobBars struct {
	to    io.Writer
	width int // of a bar, in columns; where to is no terminal, of all of its line

	mu   sync.Mutex
	all  *mpb.Progress // nil: no bar is shown
	bars map[string]*jobBar
}

// jobBar is the bar of a job, from when it has been seen for a moment.
type jobBar struct {
	since time.Time
	bar   *mpb.Bar // nil: not yet
	job   atomic.Pointer[mirror.Job]
}

// Write writes lines above the bars.
func (b *jobBars) Write(lines []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		return b.to.Write(lines)
	}
	return b.all.Write(lines)
}

// show has a bar for each of these jobs, and for no other.
func (b *jobBars) show(jobs []mirror.Job, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	there := map[string]bool{}
	for _, j := range jobs {
		there[j.ID] = true
		bar := b.bars[j.ID]
		if bar == nil {
			bar = &jobBar{since: now}
			b.bars[j.ID] = bar
		}
		bar.job.Store(&j)
		if bar.bar == nil && now.Sub(bar.since) >= patience {
			if b.all == nil {
				b.all = mpb.New(mpb.WithOutput(b.to), mpb.WithWidth(b.width), mpb.WithRefreshRate(drawEvery),
					mpb.WithAutoRefresh())
			}
			bar.bar = b.all.New(0, mpb.BarStyle(), // the total may not be known: it ends when it is taken away
				mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return jobName(bar.job.Load()) })),
				mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return jobDone(bar.job.Load()) })))
		}
		if bar.bar != nil {
			bar.bar.SetTotal(j.BytesTotal, false)
			bar.bar.SetCurrent(min(j.BytesDone, j.BytesTotal))
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

// jobName is the image of a job, in few columns.
func jobName(j *mirror.Job) string {
	const columns = 36
	name := oneLine(j.Canonical)
	if over := terminal.StringWidth(name) - columns; over > 0 {
		name = "..." + terminal.TruncateLeft(name, over+3, "") // its end tells images apart
	}
	return name + " "
}

// jobDone is what is done of a job.
func jobDone(j *mirror.Job) string {
	text := " " + string(j.Phase)
	switch {
	case j.BytesTotal > 0:
		text += fmt.Sprintf(", %s of %s", size(j.BytesDone), size(j.BytesTotal))
	case j.BytesDone > 0:
		text += ", " + size(j.BytesDone)
	}
	return text
}

// followJobs shows the jobs that run, where somebody can see that, until the result is
// called. What goes to standard error meanwhile comes above them.
func (p *program) followJobs(m *mirror.Mirror) (end func()) {
	if p.json || p.quiet || !p.progress.possible() {
		return func() {}
	}
	b := &jobBars{to: p.stderr, width: 24, bars: map[string]*jobBar{}}
	p.stderr = b
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(drawEvery)
		defer tick.Stop()
		for {
			select {
			case <-over:
				b.show(nil, time.Now())
				return
			case <-tick.C:
				b.show(m.Working(), time.Now())
			}
		}
	}()
	return func() {
		close(over)
		<-done
		p.stderr = b.to
	}
}
