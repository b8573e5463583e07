package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	typeJSON  = "application/json"
	typePlain = "application/octet-stream"

	// tries is how often a request is sent whose outcome is of no danger.
	tries = 5
)

var errTooLong = errors.New("is too long")

// known reports whether an error says what became of the request.
func known(err error) bool {
	refusal := new(Refusal)
	return errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists) || errors.Is(err, ErrMoved) ||
		errors.Is(err, ErrUnchanged) || errors.As(err, &refusal)
}

// final reports whether it is of no use to send the request again.
func final(err error) bool {
	bad, gave := new(PointerError), new(gaveUp)
	return known(err) || errors.As(err, &bad) || errors.As(err, &gave) || errors.Is(err, ErrLost) ||
		errors.Is(err, errTooLong)
}

// again calls f, which sends a request that may be repeated, until the store says something.
func (s *Site) again(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || final(err) || try == tries || ctx.Err() != nil {
			return err
		}
		if err := s.sleep(ctx, s.backoff(try)); err != nil {
			return err
		}
	}
}

// backoff is how long to wait after the nth failure: half of it is by chance, so that many
// do not come back together.
func (s *Site) backoff(n int) time.Duration {
	d := min(100*time.Millisecond<<min(n, 10), 5*time.Second)
	return d/2 + s.chance(d/2)
}

func (s *Site) sleep(ctx context.Context, d time.Duration) error {
	if s.Sleep != nil {
		return s.Sleep(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

func (s *Site) step(name string) error {
	if s.Step == nil {
		return nil
	}
	return s.Step(name)
}

func (s *Site) warn(text string) {
	if s.Warn != nil {
		s.Warn(text)
	}
}

// get reads a whole object once.
func (s *Site) get(ctx context.Context, key string, opt Get, limit int64) ([]byte, *Info, error) {
	o, err := s.Store.Get(ctx, key, opt)
	if err != nil {
		if o != nil {
			return nil, &o.Info, err
		}
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(o.Body, limit+1))
	err = errors.Join(err, o.Body.Close())
	switch {
	case err != nil:
		return nil, &o.Info, fmt.Errorf("%s: %w", key, err)
	case int64(len(data)) > limit:
		return nil, &o.Info, fmt.Errorf("%s: %w: it may have %d bytes", key, errTooLong, limit)
	case int64(len(data)) < o.Size:
		return nil, &o.Info, fmt.Errorf("%s: %w", key, io.ErrUnexpectedEOF)
	}
	return data, &o.Info, nil
}

// fetch reads a whole object.
func (s *Site) fetch(ctx context.Context, key string, limit int64) (data []byte, info *Info, err error) {
	err = s.again(ctx, func() error {
		data, info, err = s.get(ctx, key, Get{}, limit)
		return err
	})
	return data, info, err
}

func (s *Site) head(ctx context.Context, key string) (info *Info, err error) {
	err = s.again(ctx, func() error {
		info, err = s.Store.Head(ctx, key)
		return err
	})
	return info, err
}

// make creates an object, or sees that it is there with the same bytes and of the same
// owner. Lost answers are settled by looking. It returns whether it was sent.
func (s *Site) make(ctx context.Context, u Upload, owner string) (sent bool, err error) {
	look := false // a large body is not sent without a look: see Store.Create
	for try := 1; ; try++ {
		if look {
			info, err := s.head(ctx, u.Key)
			if err == nil {
				return sent, s.same(ctx, info, u, owner)
			}
			if !errors.Is(err, ErrNotFound) {
				return sent, err
			}
		}
		_, err := s.Store.Create(ctx, u.Key, u.Body, s.meta(u, owner))
		exists := new(ExistsError)
		switch {
		case err == nil:
			return true, nil
		case errors.As(err, &exists) && exists.Info != nil:
			return sent, s.same(ctx, exists.Info, u, owner)
		case errors.Is(err, ErrExists) && try < tries: // perhaps by an attempt of ours, whose answer was lost
		case final(err) || try == tries || ctx.Err() != nil:
			return sent, fmt.Errorf("%s: %w", u.Key, err)
		default:
			sent = true
			if err := s.sleep(ctx, s.backoff(try)); err != nil {
				return sent, err
			}
		}
		look = true
	}
}

func (s *Site) meta(u Upload, owner string) Meta {
	m := Meta{Owner: owner, ContentType: u.Type, ContentEncoding: u.Encoding, CacheControl: s.Content}
	if u.Mutable {
		m.CacheControl = s.Mutable
	}
	return m
}

// same refuses an object that is not what was to be uploaded.
func (s *Site) same(ctx context.Context, info *Info, u Upload, owner string) error {
	if info.Owner != owner {
		return &ReplacedError{Key: u.Key, Foreign: true}
	}
	if info.Size == u.Body.Size && info.SHA256 == u.Body.SHA256 {
		return nil
	}
	if len(u.Key) == len(files)+64 && u.Key[:len(files)] == files {
		return s.samePacked(ctx, u) // another version of publish may pack the same bytes in another way
	}
	if info.Size != u.Body.Size || info.SHA256 != "" {
		return &ReplacedError{Key: u.Key}
	}
	sum, size, err := s.hash(ctx, u.Key)
	if err == nil && (sum != u.Body.SHA256 || size != u.Body.Size) {
		err = &ReplacedError{Key: u.Key}
	}
	return err
}

// hash reads an object for its digest.
func (s *Site) hash(ctx context.Context, key string) (sum string, size int64, err error) {
	err = s.again(ctx, func() error {
		o, err := s.Store.Get(ctx, key, Get{})
		if err != nil {
			return err
		}
		h := sha256.New()
		size, err = io.Copy(h, o.Body)
		sum = hex.EncodeToString(h.Sum(nil))
		if err == nil && size < o.Size {
			err = io.ErrUnexpectedEOF
		}
		return errors.Join(err, o.Body.Close())
	})
	return sum, size, err
}

// bodyOf is the body with these bytes.
func bodyOf(data []byte) Body {
	return Body{Size: int64(len(data)), SHA256: sumOf(data), Open: func(from int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data[min(from, int64(len(data))):])), nil
	}}
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
