package serve

import (
	"context"
	"sync"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/generation"
)

// source is where production is: a directory of this machine, or an object store.
type source interface {
	// look finds out what production is. asked is false if that was done a moment ago: then
	// nothing has to be done. The keeper calls it, and the next two, from one goroutine.
	look(ctx context.Context) (now stamp, asked bool, err error)
	// open opens what look has found.
	open(ctx context.Context) (*generation.View, stamp, error)
	// adopted is called when a view of what open has opened is complete.
	adopted()
	// known is what production is, as far as a request for a mutable document has to know
	// it. v is the current view, nil for none.
	known(v *view) (stamp, error)
	// concerns reports whether an attempt to build a view, which failed when production was
	// failed, is one for which a request that knows now need not wait.
	concerns(failed, now stamp) bool
	openKept(ctx context.Context, n int) (*generation.View, error)
	close()
}

// onDisk is production in a directory. A request for a mutable document looks at it, which
// costs one system call: so none gets an old one after a switch. It uses what another
// request saw a moment ago: no verb that switches ends within that.
type onDisk struct {
	repo  *publish.Repo
	mark  string        // the file that the stamp of production is about
	trust time.Duration // for so long what was seen there counts
	start time.Time
}

func newOnDisk(repo *publish.Repo) *onDisk {
	// Half of what would be enough: the clocks of two processes may run at slightly different speeds.
	return &onDisk{repo: repo, mark: repo.Mark(), trust: publish.Linger / 2, start: time.Now()}
}

func (d *onDisk) look(context.Context) (stamp, bool, error) {
	now, err := stampAt(d.mark)
	return now, true, err
}

func (d *onDisk) open(context.Context) (*generation.View, stamp, error) {
	v, err := d.repo.OpenProduction()
	if err != nil {
		return nil, stamp{}, err
	}
	st, err := stampIn(v)
	if err != nil {
		_ = v.Close()
		return nil, stamp{}, err
	}
	return v, st, nil
}

func (d *onDisk) adopted() {}

// known returns the zero stamp for what cannot be read.
func (d *onDisk) known(v *view) (stamp, error) {
	now := time.Since(d.start) // after the request has come, and before the look
	if v != nil && int64(now) < v.sure.Load() {
		return v.stamp, nil
	}
	st, err := stampAt(d.mark)
	if v != nil && err == nil && st == v.stamp {
		v.sure.Store(int64(now + d.trust))
	}
	return st, err
}

func (d *onDisk) concerns(failed, now stamp) bool { return failed == now }

func (d *onDisk) openKept(_ context.Context, n int) (*generation.View, error) {
	return d.repo.OpenKept(n)
}

func (d *onDisk) close() {}

// lookEvery is how often an object store is asked what production is.
const lookEvery = time.Second

// waitForKept is how long the documents of a kept generation may take to come.
const waitForKept = 10 * time.Second

// inStore is production in an object store. It is asked beside the requests, each second;
// a request is answered from the view at hand.
type inStore struct {
	follow *publish.Follower
	now    func() time.Time

	mu    sync.Mutex
	last  stamp
	err   error
	tried time.Time // zero: never
	sure  time.Time // when the store answered last
}

func (s *inStore) look(ctx context.Context) (stamp, bool, error) {
	s.mu.Lock()
	last, err, soon := s.last, s.err, !s.tried.IsZero() && s.now().Sub(s.tried) < lookEvery
	s.mu.Unlock()
	if soon {
		return last, false, err
	}
	live, err := s.follow.Look(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried, s.err = s.now(), err
	if s.last = (stamp{}); err == nil {
		s.last, s.sure = stampOfLive(live), s.tried
	}
	return s.last, true, err
}

func stampOfLive(l publish.Live) stamp { return stamp{ino: uint64(l.Generation), seal: l.Seal} }

func (s *inStore) open(ctx context.Context) (*generation.View, stamp, error) {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err != nil { // what it said before may be old
		return nil, stamp{}, err
	}
	v, live, err := s.follow.Open(ctx)
	return v, stampOfLive(live), err
}

func (s *inStore) adopted() { s.follow.Adopt() }

func (s *inStore) known(v *view) (stamp, error) {
	if v != nil {
		return v.stamp, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.err
}

// concerns is true: while there is no view of what production is, the old one is good for
// all requests.
func (s *inStore) concerns(failed, now stamp) bool { return true }

// openKept does not wait for long: others wait behind it. What has been opened before is
// here.
func (s *inStore) openKept(ctx context.Context, n int) (*generation.View, error) {
	s.mu.Lock()
	wait := waitForKept
	if s.err != nil {
		wait = time.Second
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return s.follow.OpenKept(ctx, n)
}

func (s *inStore) close() { s.follow.Close() }

// answered is when the store said last what production is; zero for never.
func (s *inStore) answered() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sure
}
