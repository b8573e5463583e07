package bucket

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/generation"
)

// rescued is how many commits a rescued pointer skips: some of those that were lost with the
// pointer had no event, and their numbers must not come again.
const rescued = 1000

// Rescue makes a pointer from the objects that are there, for when it was lost or
// overwritten. Production is the newest generation whose event and manifest can be read.
// That may be one that was about to be committed when its machine died: its objects are
// complete all the same. Which other generations were kept is not known: none is. Document
// and History are for the caller to make anew; to write it, Commit with Force, after ETag was
// set to that of the PointerError, or left empty if there is no pointer. highest is the highest
// number that a generation has had: the next one must be above it.
func (s *Site) Rescue(ctx context.Context) (p *Pointer, highest int, err error) {
	birth, err := s.joined()
	if err != nil {
		return nil, 0, err
	}
	manifests := map[string]string{} // keys by nonce
	var all []string
	for _, prefix := range []string{generations, events} {
		for info, err := range s.Store.List(ctx, prefix, "") {
			if err != nil {
				return nil, 0, err
			}
			if parts := generationKey.FindStringSubmatch(info.Key); parts != nil {
				manifests[parts[2]] = info.Key
				if n, err := strconv.Atoi(parts[1]); err == nil {
					highest = max(highest, n)
				}
			} else if eventKey.MatchString(info.Key) {
				all = append(all, info.Key)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b string) int { // the newest first
		m, _ := seqOf(a)
		n, _ := seqOf(b)
		return n - m
	})
	var bad error
	for _, key := range all {
		p, err := s.rescue(ctx, key, manifests)
		if err == nil {
			newest, _ := seqOf(all[0])
			p.Version, p.Repository, p.Event = version, birth.Repository, key
			p.Seq = newest + rescued
			p.Collections = p.Seq // what any machine has seen may be gone
			return p, highest, nil
		}
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) {
			return nil, 0, err
		}
		bad = errors.Join(bad, err)
	}
	return nil, 0, &fault.Error{Path: birth.Pointer, Fact: "no generation is left from which it could be made", Err: bad}
}

// rescue returns a pointer whose production is the last one before or at an event.
func (s *Site) rescue(ctx context.Context, key string, manifests map[string]string) (*Pointer, error) {
	for e, err := range s.chain(ctx, key) {
		if err != nil {
			return nil, err
		}
		_, nonce, _ := strings.Cut(path.Base(e.Key), "-")
		if manifests[nonce] == "" {
			continue // of another kind of commit
		}
		p := &Pointer{}
		ref, err := s.refOf(ctx, manifests[nonce])
		if err != nil {
			return nil, err
		}
		p.Manifest, p.Generation = &ref, ref.Generation
		for at := ref; at.Base != ""; {
			if at, err = s.refOf(ctx, at.Base); err != nil {
				return nil, err
			}
			p.Bases = append(p.Bases, at)
		}
		slices.Reverse(p.Bases)
		_, err = s.Manifest(ctx, ref)
		return p, err
	}
	return nil, fmt.Errorf("%s: %w: no generation is before it", key, ErrNotFound)
}

// refOf makes the reference of a manifest from its object.
func (s *Site) refOf(ctx context.Context, key string) (Ref, error) {
	data, _, err := s.fetch(ctx, key, maxFile)
	if err != nil {
		return Ref{}, fmt.Errorf("%s: %w", key, err)
	}
	plain, err := unpack(data, maxFile)
	if err != nil {
		return Ref{}, fmt.Errorf("%s: %w", key, err)
	}
	ref := Ref{Key: key, SHA256: sumOf(data), Bytes: int64(len(data))}
	if parts := generationKey.FindStringSubmatch(key); parts != nil {
		ref.Generation, err = strconv.Atoi(parts[1])
	}
	if text := string(plain); strings.HasPrefix(text, deltaMagic) {
		var d delta
		if d, _, err = parseDelta(text); err == nil {
			ref.Seal, ref.Base, ref.Depth = d.Seal, d.Base.Key, d.Base.Depth+1
		}
	} else if err == nil {
		var m *generation.Manifest
		if m, err = generation.Decode(text); err == nil {
			ref.Seal = m.Seal
		} else if errors.Is(err, generation.ErrDamaged) {
			err = ErrDamaged
		}
	}
	if err != nil {
		return Ref{}, fmt.Errorf("%s: %w", key, err)
	}
	return ref, nil
}
