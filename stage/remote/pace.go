package remote

import (
	"context"
	"sync"
	"time"
)

// pace bounds how much passes in a second. nil bounds nothing.
type pace struct {
	mu   sync.Mutex
	rate float64   // in a second
	free time.Time // when the next may pass
}

func newPace(perSecond float64) *pace {
	if perSecond <= 0 {
		return nil
	}
	return &pace{rate: perSecond}
}

// reserve takes n, and returns how long to wait before they may pass.
func (p *pace) reserve(now time.Time, n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free.Before(now) {
		p.free = now
	}
	wait := p.free.Sub(now)
	p.free = p.free.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	return wait
}

// wait waits until n may pass.
func (p *pace) wait(ctx context.Context, n int) error {
	if p == nil || n <= 0 {
		return nil
	}
	d := p.reserve(time.Now(), n)
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
