package serve

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// However many ask, there is one computation at a time, and one result in its time.
func TestShared(t *testing.T) {
	var clock atomic.Int64
	s := &shared[int, int64]{age: 10 * time.Second, keep: 1, now: func() time.Time { return time.Unix(clock.Load(), 0) }}
	var runs, together atomic.Int64
	begun, go_ := make(chan struct{}), make(chan struct{})
	compute := func(context.Context) (int64, error) {
		if together.Add(1) != 1 {
			t.Error("two at a time")
		}
		defer together.Add(-1)
		if runs.Add(1) == 1 {
			close(begun)
			<-go_
		}
		return runs.Load(), nil
	}
	// Who leaves does not end it for the others.
	ctx, leave := context.WithCancel(context.Background())
	left := make(chan error)
	go func() { _, err := s.get(ctx, 1, compute); left <- err }()
	<-begun
	leave()
	if err := <-left; !errors.Is(err, errBusy) {
		t.Errorf("who left got %v", err)
	}
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if n, err := s.get(context.Background(), 1, compute); n != 1 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
	close(go_)
	group.Wait()
	clock.Store(9)
	if n, _ := s.get(context.Background(), 1, compute); n != 1 {
		t.Errorf("computed anew after 9 s")
	}
	clock.Store(10)
	if n, _ := s.get(context.Background(), 1, compute); n != 2 {
		t.Errorf("not computed anew after 10 s")
	}
	if n, _ := s.get(context.Background(), 2, compute); n != 3 {
		t.Errorf("the value of another key: %d", n)
	}
	if len(s.list) != 1 {
		t.Errorf("%d values are kept", len(s.list))
	}
}

// An error, or a panic over what a stranger wrote, is an answer for a moment.
func TestSharedFails(t *testing.T) {
	var clock atomic.Int64
	s := &shared[int, int]{keep: 1, now: func() time.Time { return time.Unix(clock.Load(), 0) }}
	runs := 0
	compute := func(context.Context) (int, error) {
		runs++
		if runs == 1 {
			panic("a hostile document")
		}
		return runs, nil
	}
	for range 3 {
		if _, err := s.get(context.Background(), 1, compute); err == nil || runs != 1 {
			t.Errorf("%d runs, %v", runs, err)
		}
	}
	clock.Store(1)
	if n, err := s.get(context.Background(), 1, compute); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	clock.Store(1 << 40)
	if n, _ := s.get(context.Background(), 1, compute); n != 2 {
		t.Error("what never ages was computed anew")
	}
}
