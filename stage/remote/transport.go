package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"syscall"
	"time"

	"example.com/publish/stage/catalog"
)

// Transport sends each request to a server, and those that it leads to: for tokens, and
// after redirects. All pacing is here, for nothing goes past it.
type Transport struct {
	*guard
	base     *http.Transport
	called   func(host string) string
	now      func() time.Time
	stall    time.Duration
	before   func(ctx context.Context, host string) error
	blocked  func(host string, until time.Time)
	slots    chan struct{} // nil: any number
	requests *pace
	bytes    *pace
}

// RoundTrip implements [http.RoundTripper]. An answer that says "not now" is a
// *catalog.RemoteError: so it passes through all that is between, and ends it.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.send(r)
	if r.Body == nil && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) && r.Context().Err() == nil {
		resp, err = t.send(r) // the server dropped it: net/http asks again only on an old connection
	}
	return resp, err
}

// send sends a request once.
func (t *Transport) send(r *http.Request) (_ *http.Response, err error) {
	defer func() {
		if err != nil && r.Body != nil {
			_ = r.Body.Close() // as the interface demands
		}
	}()
	ctx, host := r.Context(), t.called(r.URL.Host)
	if err := t.check(r.URL); err != nil {
		return nil, err
	}
	if t.before != nil {
		if err := t.before(ctx, host); err != nil {
			return nil, err
		}
	}
	if err := t.requests.wait(ctx, 1); err != nil {
		return nil, err
	}
	free, err := t.slot(ctx)
	if err != nil {
		return nil, err
	}
	own, cancel := context.WithCancelCause(ctx)
	resp, err := t.base.RoundTrip(r.WithContext(own))
	if err != nil {
		cancel(nil)
		free()
		return nil, err
	}
	resp.Request = r
	resp.Body = &body{ReadCloser: resp.Body, asked: t, ctx: own, cancel: cancel, free: free, host: host,
		what: r.Method + " " + Place(r.URL), parent: ctx}
	if until, ok := t.refusal(resp); ok {
		_ = resp.Body.Close()
		if t.blocked != nil {
			t.blocked(host, until)
		}
		return nil, &catalog.RemoteError{Class: catalog.RateLimit, Host: host, Again: true, Until: until,
			Err: Errorf("%s %s: it takes no more requests before %s: %s", r.Method, Place(r.URL),
				until.UTC().Format(time.RFC3339), resp.Status)}
	}
	return resp, nil
}

// slot waits until there is room for a request.
func (t *Transport) slot(ctx context.Context) (free func(), err error) {
	if t.slots == nil {
		return func() {}, nil
	}
	select {
	case t.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-t.slots }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refusal returns when a server may be asked again that says "not now".
func (t *Transport) refusal(resp *http.Response) (until time.Time, ok bool) {
	many := resp.StatusCode == http.StatusTooManyRequests
	if !many && resp.StatusCode != http.StatusServiceUnavailable {
		return until, false
	}
	now := t.now()
	if until, ok = retryAfter(resp.Header, now); ok || !many {
		return until, ok
	}
	if window, ok := rateWindow(resp.Header); ok {
		return now.Add(window), true
	}
	return now.Add(time.Minute), true
}

// body is that of an answer. A Read that gets nothing for too long ends it.
type body struct {
	io.ReadCloser
	asked  *Transport
	ctx    context.Context // of the request
	parent context.Context // of who asks
	cancel context.CancelCauseFunc
	free   func()
	host   string
	what   string // for messages
	timer  *time.Timer
}

var errStalled = errors.New("stalled")

func (b *body) Read(p []byte) (int, error) {
	const some = 64 << 10 // what bandwidth is shared by
	if b.asked.bytes != nil && len(p) > some {
		p = p[:some]
	}
	if b.timer == nil {
		b.timer = time.AfterFunc(b.asked.stall, func() { b.cancel(errStalled) })
	} else {
		b.timer.Reset(b.asked.stall)
	}
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if wait := b.asked.bytes.wait(b.ctx, n); wait != nil && err == nil {
		err = wait
	}
	if err == nil {
		return n, nil
	}
	b.free()
	if err == io.EOF {
		return n, err
	}
	stalled := context.Cause(b.ctx) == errStalled
	switch {
	case stalled:
		err = Errorf("%s: no byte came for %s", b.what, b.asked.stall)
	case b.parent.Err() != nil:
		return n, b.parent.Err()
	default:
		err = Errorf("%s: the answer was cut: %v", b.what, err)
	}
	return n, &catalog.RemoteError{Class: catalog.Unreachable, Host: b.host, Again: true, Err: err}
}

func (b *body) Close() error {
	b.cancel(nil)
	err := b.ReadCloser.Close()
	b.free()
	return err
}
