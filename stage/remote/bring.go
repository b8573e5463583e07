package remote

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
)

// BringAll calls bring for each content of a list, for some at once. A content that fails in
// a way that may pass keeps no other from coming; then the error is that of the first one.
func BringAll[T any](ctx context.Context, once int, list []T, bring func(context.Context, T) error) error {
	var failed later
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	// A goroutine brings many: a new one would have to grow its stack for each of them.
	for range min(once, len(list)) {
		g.Go(func() error {
			for i := next.Add(1); i <= int64(len(list)); i = next.Add(1) {
				if err := gctx.Err(); err != nil {
					return err
				}
				if err := failed.note(bring(gctx, list[i-1])); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return failed.first
}

// later are failures that other contents need not suffer from.
type later struct {
	mu    sync.Mutex
	first error
	row   int // failures without a success between them
}

// maxRow is how many failures in a row end a copy: the server is not well.
const maxRow = 5

// note takes what came of a content. Its error is one that ends all.
func (l *later) note(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.row = 0
		return nil
	}
	l.row++
	if l.first == nil {
		l.first = err
	}
	if l.row >= maxRow || !passing(err) {
		return err
	}
	return nil
}

// passing reports whether a failure may pass, and does not hold the whole server.
func passing(err error) bool {
	failed := new(catalog.RemoteError)
	return errors.As(err, &failed) && failed.Again && failed.Class != catalog.RateLimit
}

// Stored is the error of a store for a content of what is called name, on a host. One that
// says that all bytes were wrong is that of the server.
func Stored(ctx context.Context, err error, host, name string, d catalog.Digest) error {
	failed := new(catalog.RemoteError)
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case errors.As(err, &failed) && failed.Host == "":
		out := *failed
		out.Host = host
		return &out
	case failed.Err == nil && errors.Is(err, catalog.ErrDigest):
		return catalog.Failed(catalog.WrongDigest, host, "%s: the server has other bytes under %s", name, d)
	}
	return err
}

// Is reports whether an error is a failure of a class.
func Is(err error, c catalog.Failure) bool {
	failed := new(catalog.RemoteError)
	return errors.As(err, &failed) && failed.Class == c
}
