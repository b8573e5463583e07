package remote

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestPaced(t *testing.T) {
	tr := &Transport{slots: make(chan struct{}, 2)}
	var free []func()
	for range 2 {
		one, err := tr.slot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		free = append(free, one)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := tr.slot(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a third: %v", err)
	}
	free[0]()
	free[0]() // a body that is closed twice
	if len(tr.slots) != 1 {
		t.Errorf("%d are taken", len(tr.slots))
	}
	if _, err := tr.slot(context.Background()); err != nil {
		t.Error(err)
	}

	p, now := newPace(10), time.Unix(1000, 0)
	for i, want := range []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond} {
		if got := p.reserve(now, 1); got != want {
			t.Errorf("request %d waits %v, want %v", i, got, want)
		}
	}
	if got := p.reserve(now.Add(time.Second), 20); got != 0 {
		t.Errorf("after a second: %v", got)
	}
	if got := p.reserve(now.Add(time.Second), 1); got != 2*time.Second {
		t.Errorf("after twenty: %v", got)
	}
	if newPace(0) != nil || newPace(0).wait(ctx, 1) != nil {
		t.Error("no bound bounds")
	}
}
