package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"example.com/publish/stage/catalog"
)

// store is a [catalog.Store] in memory. A part stays between two calls.
type store struct {
	t     *testing.T
	mu    sync.Mutex
	have  map[catalog.Digest][]byte
	parts map[catalog.Digest][]byte
	locks map[catalog.Digest]*sync.Mutex
	sums  []int64
	// largest are those of the sums.
	largest []int64
	room    int64 // bytes; 0: any number
	cuts    int   // bodies that ended too early
	froms   []int64
}

func newStore(t *testing.T) *store {
	return &store{t: t, have: map[catalog.Digest][]byte{}, parts: map[catalog.Digest][]byte{},
		locks: map[catalog.Digest]*sync.Mutex{}}
}

func (s *store) Has(d catalog.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.have[d]
	return ok
}

func (s *store) Open(d catalog.Digest) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.have[d]
	if !ok {
		return nil, errors.New("is not there")
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

var errRoom = errors.New("no room")

func (s *store) Expect(n, largest int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sums, s.largest = append(s.sums, n), append(s.largest, largest)
	if s.room > 0 && n > s.room {
		return errRoom
	}
	return nil
}

func (s *store) Bring(ctx context.Context, d catalog.Digest, size int64,
	get func(context.Context, int64) (io.ReadCloser, int64, error)) error {
	s.mu.Lock()
	lock := s.locks[d]
	if lock == nil {
		lock = new(sync.Mutex)
		s.locks[d] = lock
	}
	part := s.parts[d]
	s.mu.Unlock()
	lock.Lock()
	defer lock.Unlock()
	if s.Has(d) {
		return nil
	}
	keep := func() {
		s.mu.Lock()
		s.parts[d] = part
		s.mu.Unlock()
	}
	const mostCuts = 50
	for whole, cuts := 1, 0; ; {
		s.mu.Lock()
		s.froms = append(s.froms, int64(len(part)))
		s.mu.Unlock()
		body, first, err := get(ctx, int64(len(part)))
		if err != nil {
			keep()
			return err
		}
		if first > int64(len(part)) || first < 0 {
			s.t.Errorf("%s: begins with byte %d, and %d are there", d, first, len(part))
		}
		part = part[:first:first]
		more, err := io.ReadAll(body)
		_ = body.Close()
		part = append(part, more...)
		keep()
		switch {
		case int64(len(part)) > size:
			s.t.Errorf("%s: %d bytes were read, and it has %d", d, len(part), size)
		case int64(len(part)) < size:
			s.mu.Lock()
			s.cuts++
			s.mu.Unlock()
			if cuts++; cuts > mostCuts || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			continue
		}
		h, err := d.New()
		if err != nil {
			return err
		}
		h.Write(part)
		if got := (catalog.Digest{Algorithm: d.Algorithm, Hex: hexOf(h.Sum(nil))}); got == d {
			s.mu.Lock()
			s.have[d] = part
			delete(s.parts, d)
			s.mu.Unlock()
			return nil
		}
		part = nil
		if keep(); whole == 3 {
			return catalog.Failed(catalog.WrongDigest, "", "%s: has other bytes", d)
		}
		whole++
	}
}
