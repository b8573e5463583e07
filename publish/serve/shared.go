package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// waitForPage is how long a request waits for what others compute.
	waitForPage = 10 * time.Second
	// forgetError is when something that failed is tried again.
	forgetError = time.Second
	// longestPage is when a computation is given up.
	longestPage = 5 * time.Minute
)

// errBusy means that a computation did not end while the request waited.
var errBusy = errors.New("is being computed")

// shared has values that take long to compute. There is one computation at a time, for
// all who ask: however many readers there are, they cost what one costs. It goes on if
// they leave, for the next one.
type shared[K comparable, V any] struct {
	age  time.Duration // for how long a value is used; 0: always
	keep int           // how many values are kept, the newest
	now  func() time.Time

	mu   sync.Mutex
	list []sharedValue[K, V] // the newest last
	busy chan struct{}       // is closed when the computation at work ends; nil: there is none
}

type sharedValue[K comparable, V any] struct {
	key   K
	value V
	err   error
	at    time.Time
}

// get returns the value of a key, which compute returns if it has to be computed. The
// error is errBusy if that takes too long.
func (s *shared[K, V]) get(ctx context.Context, key K, compute func(context.Context) (V, error)) (V, error) {
	ctx, cancel := context.WithTimeout(ctx, waitForPage)
	defer cancel()
	for {
		s.mu.Lock()
		if v := s.find(key); v != nil {
			defer s.mu.Unlock()
			return v.value, v.err
		}
		if s.busy == nil {
			s.busy = make(chan struct{})
			go s.run(context.WithoutCancel(ctx), key, compute)
		}
		busy := s.busy
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			var none V
			return none, errBusy
		case <-busy:
		}
	}
}

// forget has the value of a key computed anew when it is asked for next.
func (s *shared[K, V]) forget(key K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.DeleteFunc(s.list, func(v sharedValue[K, V]) bool { return v.key == key })
}

// find returns the value of a key if it may be used still.
func (s *shared[K, V]) find(key K) *sharedValue[K, V] {
	for i := range s.list {
		v := &s.list[i]
		age := s.age
		if v.err != nil {
			age = max(age, forgetError)
		}
		if v.key == key && (age == 0 || s.now().Sub(v.at) < age) {
			return v
		}
	}
	return nil
}

// run computes a value.
func (s *shared[K, V]) run(ctx context.Context, key K, compute func(context.Context) (V, error)) {
	ctx, cancel := context.WithTimeout(ctx, longestPage)
	defer cancel()
	v := sharedValue[K, V]{key: key}
	func() {
		defer func() { // here nobody else would: the server goes on
			if p := recover(); p != nil {
				v.err = fmt.Errorf("panic: %v", p)
			}
		}()
		v.value, v.err = compute(ctx)
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	v.at = s.now()
	s.list = append(slices.DeleteFunc(s.list, func(o sharedValue[K, V]) bool { return o.key == key }), v)
	if n := len(s.list) - s.keep; n > 0 {
		s.list = slices.Delete(s.list, 0, n)
	}
	close(s.busy)
	s.busy = nil
}
