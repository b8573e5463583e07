package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/tree"
)

// patience is how long a swap whose outcome is unknown is tried and asked for.
const patience = 2 * time.Minute

// change is a commit, as a change of the pointer.
type change struct {
	nonce  string
	event  []byte // nil for none
	force  bool
	mutate func(next *Pointer) // sets what is not Seq, Nonce, Commits, Event
}

// Commit makes a step on top of base. The error is a *MovedError if somebody else was
// first, a *CondemnedError if a gc is deleting what the manifest names, wraps ErrOutcome if
// nobody can know yet, and is anything else if nothing has changed. It settles lost answers:
// it looks for its nonce among the commits, and sends the same body again while the pointer
// has not moved. The result has no ETag if somebody has already built on this commit.
//
// After more than 64 commits of others, a commit is found by its event or its manifest. One
// that has neither is then said to have been lost: whether it was makes no difference.
func (s *Site) Commit(ctx context.Context, base *Pointer, c Commit) (*Pointer, error) {
	if err := s.fits(ctx, base, &c); err != nil {
		return nil, err
	}
	var ref *Ref
	if c.Manifest != nil {
		made, err := s.write(ctx, base, &c)
		if err != nil {
			return nil, err
		}
		ref = &made
	}
	return s.commit(ctx, base, change{nonce: c.Nonce, event: c.Event, force: c.Force, mutate: func(next *Pointer) {
		if c.History != nil {
			next.History = slices.Clone(c.History)
		}
		if c.Document != nil {
			next.Document = c.Document
		}
		if c.Graves != "" {
			next.Graves = c.Graves
		}
		if c.Obeyed != nil {
			next.Obeyed = *c.Obeyed
		}
		if ref != nil {
			if next.Manifest != nil {
				next.Kept = append(next.Kept, *next.Manifest)
			}
			next.Manifest, next.Generation = ref, ref.Generation
			next.Settled, next.Pending = c.Settled, nil
		}
		next.Settled = next.Settled || c.Settled
		if c.Left != nil {
			next.Left = slices.Clone(c.Left)
		}
		if c.Pending != nil || c.Checked {
			next.Pending = c.Pending
		}
		next.keep(func(r Ref) bool { return c.Kept == nil || slices.Contains(c.Kept, r.Generation) })
	}})
}

// fits refuses a commit that cannot be right, or not now.
func (s *Site) fits(ctx context.Context, base *Pointer, c *Commit) error {
	if !nonceText.MatchString(c.Nonce) {
		return fmt.Errorf("%q is no nonce", c.Nonce)
	}
	for _, n := range c.Kept {
		if _, ok := base.Ref(n); !ok {
			return fmt.Errorf("generation %d is not kept, and cannot stay so", n)
		}
	}
	if c.Manifest == nil && c.Graves == "" {
		return nil
	}
	if c.Manifest != nil && c.Manifest.Generation <= base.Generation {
		return fmt.Errorf("generation %d does not follow %d", c.Manifest.Generation, base.Generation)
	}
	condemned, err := s.condemned(ctx, base)
	if err != nil || len(condemned) == 0 {
		return err
	}
	keys := append([]string{KeyOf(tree.Row{SHA256: c.Graves})}, c.Beside...)
	if c.Manifest != nil {
		for row := range c.Manifest.All() {
			keys = append(keys, s.keys(row)...)
		}
	}
	for _, key := range keys {
		if condemned[key] {
			return &CondemnedError{Key: key, Until: base.Condemned.Until()}
		}
	}
	return nil
}

// write uploads the manifest, under a name that nobody else uses.
func (s *Site) write(ctx context.Context, base *Pointer, c *Commit) (Ref, error) {
	birth, err := s.joined()
	if err != nil {
		return Ref{}, err
	}
	ref, data, err := s.draw(ctx, base.Manifest, c.Manifest, c.Nonce)
	if err != nil {
		return Ref{}, err
	}
	if err := s.step("before-manifest"); err != nil {
		return Ref{}, err
	}
	if _, err := s.make(ctx, Upload{Key: ref.Key, Body: bodyOf(data), Type: typePlain}, birth.Repository); err != nil {
		return Ref{}, err
	}
	if s.Cache != "" {
		s.store(s.manifestPath(ref), data)
	}
	return ref, s.step("after-manifest")
}

// commit makes a change of the pointer. First the event, under a name that nobody else
// uses; then the swap, which is the commit point.
func (s *Site) commit(ctx context.Context, base *Pointer, c change) (*Pointer, error) {
	birth, err := s.joined()
	if err != nil {
		return nil, err
	}
	if base.ETag == "" && !c.force { // somebody has built on base, or not: see Commit
		now, err := s.Read(ctx)
		if err != nil {
			return nil, err
		}
		if now.Nonce != base.Nonce {
			return nil, &MovedError{Now: now}
		}
		base = now
	}
	next := base.after(c.nonce)
	c.mutate(next)
	if c.event != nil {
		u, err := eventOf(base, next.Seq, c.nonce, c.event)
		if err != nil {
			return nil, err
		}
		if err := s.step("before-event"); err != nil {
			return nil, err
		}
		if _, err := s.make(ctx, u, birth.Repository); err != nil {
			return nil, err
		}
		if err := s.step("after-event"); err != nil {
			return nil, err
		}
		next.Event = u.Key
	}
	next.done()
	if err := next.check(); err != nil {
		return nil, fmt.Errorf("the commit is refused: %w", err)
	}
	body, err := next.encode()
	if err != nil {
		return nil, err
	}
	if err := s.step("before-swap"); err != nil {
		return nil, err
	}
	now, err := s.swap(ctx, base, next, body)
	if err != nil {
		return nil, err
	}
	s.remember(now)
	return now, s.step("after-swap")
}

// swap replaces the pointer, and finds out what became of it. The same body may be sent many
// times: it has the nonce, and each time the condition that the pointer is still base, so it
// can take effect only once.
func (s *Site) swap(ctx context.Context, base, next *Pointer, body []byte) (*Pointer, error) {
	birth, err := s.joined()
	if err != nil {
		return nil, err
	}
	meta := s.meta(Upload{Type: typeJSON, Mutable: true}, birth.Repository)
	unknown := false // a request was sent, and may take effect, now or later
	start := s.now()
	for try := 1; ; try++ {
		var info *Info
		if base.ETag == "" {
			info, err = s.Store.Create(ctx, birth.Pointer, bodyOf(body), meta)
		} else {
			info, err = s.Store.Swap(ctx, birth.Pointer, base.ETag, bodyOf(body), meta)
		}
		if err == nil {
			made := *next
			made.ETag, made.Date = info.ETag, info.Date
			return &made, nil
		}
		refusal := new(Refusal)
		if refused := errors.As(err, &refusal); refused && !unknown {
			return nil, fmt.Errorf("%s: %w", birth.Pointer, err)
		} else if !refused {
			unknown = true // also when it has moved: perhaps by this very request, which a library sent twice
		}
		now, verdict, rerr := s.settle(ctx, birth, base, next)
		switch {
		case rerr == nil && verdict == ours:
			return now, nil
		case rerr == nil && verdict == others:
			return nil, &MovedError{Now: now}
		}
		err = errors.Join(err, rerr)
		bad := new(PointerError)
		over := s.now().Sub(start) >= patience || errors.As(rerr, &bad) || errors.Is(rerr, ErrLost)
		if !over {
			if werr := s.sleep(ctx, s.backoff(try)); werr != nil {
				over, err = true, errors.Join(err, werr)
			}
		}
		if over || ctx.Err() != nil {
			err = fmt.Errorf("%s: %w", birth.Pointer, err)
			if unknown {
				err = fmt.Errorf("%w: %w", ErrOutcome, err)
			}
			return nil, err
		}
	}
}

// verdict is what a look at the pointer says of a commit.
type verdict int

const (
	open   verdict = iota // the pointer is still the base: a request may take effect later
	ours                  // it happened
	others                // it did not, and never will: the base is gone
)

// settle looks what became of next.
func (s *Site) settle(ctx context.Context, birth *Birth, base, next *Pointer) (*Pointer, verdict, error) {
	now, err := s.read(ctx, birth)
	bad := new(PointerError)
	switch {
	case errors.As(err, &bad) && bad.ETag == base.ETag, errors.Is(err, ErrLost) && base.ETag == "":
		return nil, open, nil // what is written over by force
	case err != nil:
		return nil, open, err
	case now.Nonce == next.Nonce:
		return now, ours, nil
	case now.Seq == base.Seq && now.Nonce == base.Nonce:
		return now, open, nil
	}
	done, err := s.happened(ctx, now, next.Seq, next.Nonce)
	if err != nil {
		return nil, open, err
	}
	if done {
		made := *next
		made.Date = now.Date
		return &made, ours, nil
	}
	return now, others, nil
}

// happened reports whether a commit lies before now, which is not it.
func (s *Site) happened(ctx context.Context, now *Pointer, seq int, nonce string) (bool, error) {
	if done, known := now.has(seq, nonce); known {
		return done, nil
	}
	for _, ref := range now.refs() {
		if strings.HasSuffix(ref.Key, "-"+nonce) {
			return true, nil
		}
	}
	for e, err := range s.chain(ctx, now.Event) {
		if err != nil {
			return false, err
		}
		if strings.HasSuffix(e.Key, "-"+nonce) {
			return true, nil
		}
		if at, _ := seqOf(e.Key); at <= seq {
			break
		}
	}
	return false, nil
}

// Outcome reports whether a commit with this nonce, on top of the pointer with the number
// seq, has happened, and the pointer as it is now. If that is still the base, a request may
// be under way that makes it happen later. So Outcome then makes an empty commit: after it,
// none of them can take effect.
func (s *Site) Outcome(ctx context.Context, seq int, nonce string) (bool, *Pointer, error) {
	for {
		now, err := s.Read(ctx)
		if err != nil {
			return false, nil, err
		}
		if now.Seq != seq {
			if now.Nonce == nonce {
				return true, now, nil
			}
			done, err := s.happened(ctx, now, seq+1, nonce)
			return done, now, err
		}
		_, err = s.commit(ctx, now, change{nonce: NewNonce(), mutate: func(*Pointer) {}})
		if moved := new(MovedError); err != nil && !errors.As(err, &moved) {
			return false, nil, err
		}
	}
}
