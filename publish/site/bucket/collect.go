package bucket

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/tree"
)

// Collected is what a gc did.
type Collected struct {
	Objects int
	Bytes   int64 // of rows, as the manifests say
	Stay    []Stay
	Now     *Pointer
	// Waits is not zero if another gc is at work, or one has died a short time ago. Nothing
	// was done then: try again after it.
	Waits time.Time
}

// Collect deletes the objects that only these kept generations and these carried rows of
// production name: it lets go of drop, which are among base.Kept, and of gone, whose windows
// are over at base.Date. It condemns them first: commits the list, deletes, and commits that
// it is done. line makes the history's line and summary for a commit on top of a pointer. A
// gc that died is taken over, whoever it was.
//
// A *MovedError says that nothing was let go: what is due must be computed anew, because
// somebody may have pinned it. After any other error the objects may be deleted in part; the
// next gc goes on. Kept generations name their own rows only: what they carried is of no use
// any more.
func (s *Site) Collect(ctx context.Context, base *Pointer, drop []int, gone []generation.Carried,
	line func(on *Pointer) (event, history []byte, err error)) (*Collected, error) {
	now, start, err := s.free(ctx, base)
	if err != nil {
		return nil, err
	}
	if now.Condemned != nil {
		return &Collected{Now: now, Waits: voidAfter(now.Condemned)}, nil
	}
	for _, n := range drop {
		if !slices.ContainsFunc(now.Kept, func(r Ref) bool { return r.Generation == n }) {
			return nil, fmt.Errorf("generation %d is not one that is kept beside production", n)
		}
	}
	sizes, err := s.dead(ctx, now, drop, gone)
	if err != nil {
		return nil, err
	}
	if len(sizes) == 0 && len(drop) == 0 {
		return &Collected{Now: now}, nil
	}
	event, history, err := line(now)
	if err != nil {
		return nil, err
	}
	c := change{nonce: NewNonce(), event: event, mutate: func(next *Pointer) {
		if history != nil {
			next.History = history
		}
		next.keep(func(r Ref) bool { return !slices.Contains(drop, r.Generation) })
	}}
	return s.collect(ctx, now, start, sizes, c)
}

// free returns base, or the pointer if base is nil, with the time now, after a gc that died
// was taken over.
func (s *Site) free(ctx context.Context, base *Pointer) (*Pointer, time.Time, error) {
	now, start, err := s.fresh(ctx, base)
	if err != nil || now.Condemned == nil {
		return now, start, err
	}
	after, err := s.takeOver(ctx, now, start)
	if err != nil {
		return nil, start, err
	}
	if after.Nonce == now.Nonce {
		return now, start, nil
	}
	if base == nil {
		return s.fresh(ctx, after)
	}
	if after.Event != base.Event || after.Generation != base.Generation || !slices.Equal(after.Kept, base.Kept) {
		return nil, start, &MovedError{Now: after}
	}
	return s.fresh(ctx, after)
}

// collect condemns keys with a commit, deletes them, and clears.
func (s *Site) collect(ctx context.Context, base *Pointer, start time.Time, sizes map[string]int64, c change) (
	*Collected, error) {
	keys := slices.Sorted(maps.Keys(sizes))
	if len(keys) == 0 {
		now, err := s.commit(ctx, base, c)
		if err != nil {
			return nil, err
		}
		return &Collected{Now: now}, nil
	}
	now, d, err := s.condemn(ctx, base, start, keys, time.Time{}, c)
	if err != nil {
		return nil, err
	}
	out := &Collected{Now: now}
	err = s.delete(ctx, d, keys, false)
	if errors.Is(err, errTaken) {
		err = nil
	}
	if err == nil || d.unknown && ctx.Err() == nil {
		after, ferr := s.finish(ctx, d)
		if ferr == nil {
			out.Now = after
		}
		err = errors.Join(err, ferr)
	}
	out.Stay = d.stay
	for _, stay := range d.stay {
		delete(sizes, stay.Key)
	}
	if err == nil {
		out.Objects = len(sizes)
		for _, size := range sizes {
			out.Bytes += size
		}
	}
	return out, err
}

// dead returns the keys that nothing names when these generations and rows are let go, with
// their sizes. It asks the store for nothing but manifests.
func (s *Site) dead(ctx context.Context, base *Pointer, drop []int, gone []generation.Carried) (
	map[string]int64, error) {
	sizes := doomed{}
	for _, c := range gone {
		sizes.add(s.keys(c.Row), c.Size)
	}
	dropped := func(r Ref) bool { return slices.Contains(drop, r.Generation) }
	for _, ref := range base.Kept {
		if !dropped(ref) {
			continue
		}
		m, err := s.Manifest(ctx, ref)
		if err != nil {
			return nil, err
		}
		for row := range m.All() {
			sizes.add(s.keys(row), row.Size)
		}
	}
	if len(sizes) > 0 {
		err := s.named(ctx, base, dropped, gone, func(key string) { delete(sizes, key) })
		if err != nil {
			return nil, err
		}
	}
	next := base.after(base.Nonce)
	for _, ref := range next.keep(func(r Ref) bool { return !dropped(r) }) {
		sizes[ref.Key] = ref.Bytes
	}
	return sizes, nil
}

// doomed are keys to delete, with the bytes that this frees.
type doomed map[string]int64

// add adds the keys under which the bytes of a row may lie.
func (d doomed) add(keys []string, size int64) {
	for _, key := range keys {
		d[key] = max(d[key], size)
		size = 0 // it is counted once
	}
}

// Clean deletes mutable files that production does not have, as base says, and that lie
// there since generations in base.Left, and commits that it is done. They are condemned like
// what Collect deletes.
func (s *Site) Clean(ctx context.Context, base *Pointer, keys []string) (*Collected, error) {
	now, start, err := s.free(ctx, base)
	if err != nil {
		return nil, err
	}
	if now.Condemned != nil {
		return &Collected{Now: now, Waits: voidAfter(now.Condemned)}, nil
	}
	sizes := doomed{}
	for _, key := range keys {
		if s.ours(key) {
			return nil, fmt.Errorf("%s: is never deleted", key)
		}
		sizes[key] = 0
	}
	none := func(Ref) bool { return false }
	if err := s.named(ctx, now, none, nil, func(key string) { delete(sizes, key) }); err != nil {
		return nil, err
	}
	return s.collect(ctx, now, start, sizes, change{nonce: NewNonce(), mutate: func(next *Pointer) { next.Left = nil }})
}

// named calls f with each key that rows of production and of kept generations name, without
// those that are dropped and gone.
func (s *Site) named(ctx context.Context, base *Pointer, dropped func(Ref) bool, gone []generation.Carried,
	f func(key string)) error {
	over := map[generation.Carried]bool{}
	for _, c := range gone {
		over[c] = true
	}
	for _, ref := range slices.Concat(base.Kept, slices.DeleteFunc(base.refs(), func(r Ref) bool {
		return r.Generation != base.Generation // production
	})) {
		if dropped(ref) {
			continue
		}
		m, err := s.Manifest(ctx, ref)
		if err != nil {
			return err
		}
		for _, row := range m.Own {
			for _, key := range s.keys(row) {
				f(key)
			}
		}
		for _, c := range m.Carried {
			if ref.Generation == base.Generation && !over[c] {
				for _, key := range s.keys(c.Row) {
					f(key)
				}
			}
		}
	}
	if s.Beside != nil && base.Manifest != nil {
		m, err := s.Manifest(ctx, *base.Manifest)
		if err != nil {
			return err
		}
		keys, err := s.Beside(ctx, m)
		if err != nil {
			return err
		}
		for _, key := range keys {
			f(key)
		}
	}
	birth, err := s.joined()
	if err != nil {
		return err
	}
	for _, key := range []string{birthKey, turnKey, birth.Pointer} {
		f(key)
	}
	if base.Graves != "" {
		f(KeyOf(tree.Row{SHA256: base.Graves}))
	}
	return nil
}
