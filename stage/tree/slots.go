package tree

import "runtime"

// slots limit how many goroutines of one task work at a time, to one for each core.
// Each of them has a slot, and gives it up while it only waits for others.
type slots chan struct{}

// newSlots returns the slots of a task. The caller has one of them.
func newSlots() slots {
	s := make(slots, runtime.GOMAXPROCS(0))
	s <- struct{}{}
	return s
}

// use starts f with start, in another goroutine, if a slot is free.
func (s slots) use(start func(func() error), f func() error) bool {
	select {
	case s <- struct{}{}:
		start(func() error {
			defer func() { <-s }()
			return f()
		})
		return true
	default:
		return false
	}
}

// wait waits for goroutines of the task. The caller's slot is free meanwhile.
func (s slots) wait(wait func() error) error {
	<-s
	defer func() { s <- struct{}{} }()
	return wait()
}
