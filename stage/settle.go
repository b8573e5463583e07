package stage

import (
	"context"
	"errors"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Settle takes the staging lock for verb, and validates staging under it. Content whose
// hash is not known is hashed before, without the lock, so that builders do not wait for
// it: then staging is walked again, and read again unless it is as it was. Usually all is
// known, and staging is read once.
//
// Verified hashes are stored in the hash cache. Compact that when the memory of the
// catalog is free again.
func (s *Stage) Settle(ctx context.Context, verb string, c Checks) (out *Checked, unlock func(), err error) {
	release, err := s.Exclusive(ctx, verb)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	src, err := tree.OpenSource(s.Dir)
	if err != nil {
		return nil, nil, err
	}
	defer src.Close()
	sp, err := s.sparse(ctx)
	if err != nil {
		return nil, nil, err
	}
	c.times, c.twice = true, true
	cache, facts := tree.OpenCache(s.Hashes), s.facts(false)
	var fresh noted
	examined := func() (*checking, error) {
		return begin(ctx, src, s.Format, sp, s.Links, s.known(cache), cache, facts, c, nil, fresh)
	}
	_, err = s.read(ctx, func() (*catalog.Catalog, error) {
		k, err := examined()
		if err == nil && k.reads() {
			release()
			release = func() {}
			out, err = k.finish(ctx, s.progress)
			if err = errors.Join(err, cache.Save(), facts.Save()); err != nil {
				return nil, err
			}
			again, err := s.Exclusive(ctx, verb)
			if err != nil {
				return nil, err
			}
			release = again
			same, err := src.Still(ctx, k.sv.state, c.Now, out.Catalog.Documents)
			if same || err != nil {
				return out.catalog(), err
			}
			fresh, out, k = k.noted, nil, nil // their memory is free
			if k, err = examined(); err != nil {
				return nil, err
			}
		}
		if err != nil {
			return nil, err
		}
		out, err = k.finish(ctx, s.progress)
		return out.catalog(), err
	})
	if err != nil {
		return nil, nil, err
	}
	err = errors.Join(cache.Save(), facts.Save(), facts.Compact())
	out.crowded = cache.Crowded(len(out.Rows) + len(out.Strays))
	return out, release, err
}

// Compact compacts the hash cache, if that is worth it, for staging as it was checked. The
// caller holds the staging lock.
func (s *Stage) Compact(c *Checked) error {
	if !c.crowded {
		return nil
	}
	rows, strays := tree.NewRows(c.Rows), tree.NewFinger(c.Strays, func(e *tree.Entry) string { return e.Path })
	return tree.OpenCache(s.Hashes).Compact(len(c.Rows)+len(c.Strays),
		func(path string) bool { return rows.Find(path) >= 0 || strays.Find(path) >= 0 })
}
