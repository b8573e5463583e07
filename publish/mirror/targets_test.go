package mirror

import (
	"context"
	"errors"
	"sync"
	"testing"

	"example.com/publish/publish"
)

// A promote of the mirror ends with a sync of targets, and a run with Once with its error.
func TestTargets(t *testing.T) {
	p := newPlace(t, drained)
	p.hub.image(app, "layer")
	behind := errors.New("a target is behind")
	var calls []bool
	p.Targets = func(_ context.Context, switched bool) error {
		calls = append(calls, switched)
		return behind
	}
	sum, err := p.Run(ctx, RunOptions{Once: true})
	must(t, err)
	if len(calls) != 0 || sum.Behind != nil {
		t.Errorf("without a promote: %v, %v", calls, sum.Behind)
	}
	p.ask(app)
	sum, err = p.Run(ctx, RunOptions{Once: true})
	must(t, err)
	if len(calls) != 1 || !calls[0] || !errors.Is(sum.Behind, behind) || sum.Unpromoted != nil || sum.Generation != 1 {
		t.Errorf("%v, %+v", calls, sum)
	}
	// A health check that fails switches twice.
	p.Repo.Config.HealthCheck.Command = []string{"false"}
	const other = "hub.example.com/acme/other:v1"
	p.hub.image(other, "another layer")
	p.ask(other)
	sum, err = p.Run(ctx, RunOptions{Once: true})
	must(t, err)
	if e := new(publish.Error); len(calls) != 2 || !calls[1] || !errors.As(sum.Unpromoted, &e) || e.Kind != publish.Switched {
		t.Errorf("%v, %+v", calls, sum)
	}
}

// What is promoted while targets are brought forward is brought in one more round.
func TestTargetsAgain(t *testing.T) {
	p := newPlace(t, drained)
	begun, proceed := make(chan bool), make(chan error)
	p.Targets = func(_ context.Context, switched bool) error {
		begun <- switched
		return <-proceed
	}
	var all sync.WaitGroup
	r := &runner{Mirror: p.Mirror, opt: RunOptions{Once: true}}
	r.fanning.all = &all
	r.fan(ctx, false)
	if <-begun {
		t.Error("nothing was switched")
	}
	r.fan(ctx, true)
	r.fan(ctx, true)
	r.fan(ctx, false)
	proceed <- errors.New("behind")
	if !<-begun {
		t.Error("the second round was not told of the switch")
	}
	proceed <- nil
	all.Wait()
	if r.sum.Behind != nil || r.fanning.busy {
		t.Errorf("%v", r.sum.Behind)
	}
	r.fan(ctx, true)
	<-begun
	proceed <- nil
	all.Wait()
}
