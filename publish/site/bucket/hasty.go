package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Hasty is a store for who only looks, and must answer soon: a read that has not brought a
// byte for so long fails, and so do all after it at once, with the same error. What the
// store says before that is tried again as ever.
func Hasty(s Store, within time.Duration) Store { return &hasty{Store: s, within: within} }

type hasty struct {
	Store
	within time.Duration

	mu   sync.Mutex
	gave error // what all reads end with
}

// gaveUp is an error after which it is of no use to ask again.
type gaveUp struct{ error }

func (e *gaveUp) Unwrap() error { return e.error }

var errSlow = errors.New("is too slow")

// Get implements [Store].
func (h *hasty) Get(ctx context.Context, key string, opt Get) (*Object, error) {
	if err := h.given(); err != nil {
		return nil, err
	}
	timed, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(h.within, func() { cancel(errSlow) })
	o, err := h.Store.Get(timed, key, opt)
	if err != nil || o.Body == nil {
		t.Stop()
		err = h.judge(timed, key, err)
		cancel(nil)
		return o, err
	}
	o.Body = &hastyBody{ReadCloser: o.Body, h: h, ctx: timed, key: key, t: t, cancel: cancel}
	return o, nil
}

// Head implements [Store].
func (h *hasty) Head(ctx context.Context, key string) (*Info, error) {
	if err := h.given(); err != nil {
		return nil, err
	}
	timed, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(h.within, func() { cancel(errSlow) }).Stop()
	info, err := h.Store.Head(timed, key)
	return info, h.judge(timed, key, err)
}

func (h *hasty) given() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gave
}

// judge makes an error final if it came because the time was over.
func (h *hasty) judge(timed context.Context, key string, err error) error {
	if err == nil || known(err) || context.Cause(timed) != errSlow {
		return err
	}
	if errors.Is(err, context.Canceled) { // it was sent, and nothing came
		err = fmt.Errorf("%s: the store has not answered for %v", key, h.within)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gave = &gaveUp{err}
	return h.gave
}

// hastyBody is a body of which each read must bring something in time.
type hastyBody struct {
	io.ReadCloser
	h      *hasty
	ctx    context.Context
	key    string
	t      *time.Timer
	cancel context.CancelCauseFunc
}

func (b *hastyBody) Read(p []byte) (int, error) {
	b.t.Reset(b.h.within)
	n, err := b.ReadCloser.Read(p)
	b.t.Stop()
	if err != nil && err != io.EOF {
		err = b.h.judge(b.ctx, b.key, err)
	}
	return n, err
}

func (b *hastyBody) Close() error {
	b.t.Stop()
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}
