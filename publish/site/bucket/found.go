package bucket

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/generation"
	"example.com/publish/stage/durable"
)

const maxBirth = 64 << 20

// Found makes the production that birth describes, or joins the one that is there, whoever
// comes first. It returns what is there; the caller compares the format.
//
// Two objects are created, in this order: whose the prefix is, and the pointer, with
// generation 0. Who is killed in between leaves the second to the next one who comes.
func (s *Site) Found(ctx context.Context, birth Birth) (*Birth, error) {
	birth.Version, birth.Made = version, birth.Made.UTC()
	if birth.Repository == "" || birth.Pointer == "" {
		return nil, errors.New("a production needs an id, and a name of its pointer")
	}
	if _, err := (&Pointer{Document: birth.Document}).encode(); err != nil {
		return nil, fmt.Errorf("%s: %w", birth.Pointer, err)
	}
	there, err := s.Join(ctx)
	if !errors.Is(err, ErrNotFound) {
		return there, err
	}
	// A pointer that is there already is somebody's: it is not ours to take.
	if _, err := s.head(ctx, birth.Pointer); !errors.Is(err, ErrNotFound) {
		if err != nil {
			return nil, err
		}
		if there, err := s.Join(ctx); !errors.Is(err, ErrNotFound) {
			return there, err // somebody founded it meanwhile
		}
		return nil, &fault.Error{Kind: fault.Refused, Path: birth.Pointer, Err: ErrForeign,
			Hint: "give publish a prefix of its own, or move this object away"}
	}
	text, err := json.Marshal(birth)
	if err != nil {
		return nil, err
	}
	if err := s.step("before-found"); err != nil {
		return nil, err
	}
	_, err = s.make(ctx, Upload{Key: birthKey, Body: bodyOf(append(text, '\n')), Type: typeJSON, Mutable: true},
		birth.Repository)
	if replaced := new(ReplacedError); err != nil && !errors.As(err, &replaced) {
		return nil, err
	}
	if err := s.step("after-found"); err != nil {
		return nil, err
	}
	return s.Join(ctx)
}

// Join is Found for a production that exists: the error wraps ErrNotFound else. It leaves
// the pointer that it read for Known.
//
// Whose the prefix is never changes, so it is taken from the cache, as long as the pointer
// is where that says, and says the same.
func (s *Site) Join(ctx context.Context) (*Birth, error) {
	path := ""
	if s.Cache != "" {
		path = filepath.Join(s.Cache, "repository")
		if birth := s.knownBirth(ctx, path); birth != nil {
			return birth, nil
		}
	}
	data, _, err := s.fetch(ctx, birthKey, maxBirth)
	if err != nil {
		return nil, err
	}
	birth, err := parseBirth(data)
	if err != nil {
		return nil, &fault.Error{Path: birthKey, Err: err}
	}
	s.mu.Lock()
	s.birth = birth
	s.mu.Unlock()
	_, err = s.Read(ctx)
	if errors.Is(err, ErrLost) {
		err = s.first(ctx, birth)
	}
	if err != nil {
		return nil, err
	}
	s.store(path, data)
	return birth, nil
}

// Birth returns whose the prefix is, or was when this machine looked last; nil if it never
// did. It sends no request.
func (s *Site) Birth() *Birth {
	if birth, err := s.joined(); err == nil || s.Cache == "" {
		return birth
	}
	return cachedBirth(filepath.Join(s.Cache, "repository"))
}

func cachedBirth(path string) *Birth {
	data, err := durable.ReadFile(path, maxBirth+32)
	if err != nil {
		return nil
	}
	data, ok := unseal(data)
	if !ok {
		return nil
	}
	birth, err := parseBirth(data)
	if err != nil {
		return nil
	}
	return birth
}

// knownBirth is Join with what is in the cache; nil if that is nothing, or not enough.
func (s *Site) knownBirth(ctx context.Context, path string) *Birth {
	birth := cachedBirth(path)
	if birth == nil {
		return nil
	}
	s.mu.Lock()
	s.birth = birth
	s.mu.Unlock()
	if _, err := s.Read(ctx); err == nil {
		return birth
	}
	s.mu.Lock()
	s.birth = nil
	s.mu.Unlock()
	return nil
}

// Known is the pointer as it was read or made last; nil for never.
func (s *Site) Known() *Pointer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return nil
	}
	p := *s.last
	return &p
}

func parseBirth(data []byte) (*Birth, error) {
	b := &Birth{}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(b); err != nil || b.Version < 1 {
		return nil, fmt.Errorf("%w: it does not say whose the prefix is", ErrForeign)
	}
	if b.Version > version {
		return nil, generation.ErrNewer
	}
	if b.Repository == "" || b.Pointer == "" || strings.HasPrefix(b.Pointer, "/") {
		return nil, ErrDamaged
	}
	return b, nil
}

// first makes the pointer of a production that has none yet. A pointer that was deleted is
// not made again: production would seem to be empty.
func (s *Site) first(ctx context.Context, birth *Birth) error {
	for _, prefix := range []string{events, generations} {
		for info, err := range s.Store.List(ctx, prefix, "") {
			if err != nil {
				return err
			}
			_ = info
			return s.lost(birth)
		}
	}
	nonce := NewNonce()
	p := &Pointer{Version: version, Repository: birth.Repository, Nonce: nonce, Settled: true, Document: birth.Document,
		Commits: []Done{{0, nonce, 0}}}
	body, err := p.encode()
	if err != nil {
		return err
	}
	if err := s.step("before-pointer"); err != nil {
		return err
	}
	_, err = s.make(ctx, Upload{Key: birth.Pointer, Body: bodyOf(body), Type: typeJSON, Mutable: true}, birth.Repository)
	if replaced := new(ReplacedError); err != nil && !errors.As(err, &replaced) {
		return err
	}
	if err := s.step("after-pointer"); err != nil {
		return err
	}
	_, err = s.Read(ctx) // it may be somebody else's, whoever that is
	return err
}

func (s *Site) lost(birth *Birth) error {
	return &fault.Error{Path: birth.Pointer, Err: ErrLost, Hint: "run publish recover --force"}
}

// Read returns the pointer. It asks the store each time, and sends what it knows. The error
// is a *PointerError if it cannot be read, and wraps ErrLost if there is none.
func (s *Site) Read(ctx context.Context) (*Pointer, error) {
	birth, err := s.joined()
	if err != nil {
		return nil, err
	}
	var p *Pointer
	err = s.again(ctx, func() error {
		var err error
		p, err = s.read(ctx, birth)
		return err
	})
	return p, err
}

func (s *Site) read(ctx context.Context, birth *Birth) (*Pointer, error) {
	s.mu.Lock()
	last := s.last
	s.mu.Unlock()
	var opt Get
	if last != nil {
		opt.Unless = last.ETag
	}
	data, info, err := s.pair(ctx, birth.Pointer, opt, maxPointer)
	switch {
	case errors.Is(err, ErrUnchanged) && last != nil:
		p := *last
		if info != nil && !info.Date.IsZero() {
			p.Date = info.Date
		}
		return &p, nil
	case errors.Is(err, ErrNotFound):
		return nil, s.lost(birth)
	case errors.Is(err, errTooLong):
		err = fmt.Errorf("%w: it %w", ErrForeign, err)
	case err != nil:
		return nil, err
	}
	var p *Pointer
	if err == nil {
		p, err = decode(data, birth.Repository)
	}
	if err != nil {
		bad := &PointerError{Key: birth.Pointer, Err: err}
		if info != nil {
			bad.ETag, bad.Date = info.ETag, info.Date
		}
		return nil, bad
	}
	p.ETag, p.Date = info.ETag, info.Date
	s.remember(p)
	out := *p
	return &out, nil
}

func (s *Site) remember(p *Pointer) {
	if p.ETag == "" {
		return
	}
	known := *p
	s.mu.Lock()
	s.last = &known
	s.mu.Unlock()
}

func (s *Site) joined() (*Birth, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.birth == nil {
		return nil, errors.New("the production was not joined")
	}
	return s.birth, nil
}

// NewNonce returns a name that nobody else uses.
func NewNonce() string { return strings.ToLower(rand.Text())[:20] }

func (s *Site) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}
