package stage

import (
	"context"
	"errors"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Settle takes the staging lock for verb, and validates staging under it. Content whose
// hash is not known is hashed before, without the lock, so that builders do not wait for
// it: then staging is read again. Usually all is known, and staging is read once.
//
// Verified hashes are stored in the hash cache, which is compacted.
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
	c.times = true
	cache, facts := tree.OpenCache(s.Hashes), s.facts(false)
	examined := func() (*checking, error) {
		return begin(ctx, src, s.Format, s.Links, s.known(cache), cache, facts, c, nil)
	}
	_, err = s.read(ctx, func() (*catalog.Catalog, error) {
		k, err := examined()
		if err == nil && k.reads() {
			release()
			release = func() {}
			_, err = k.finish(ctx, s.progress)
			err = errors.Join(err, cache.Save(), facts.Save())
			if k = nil; err == nil { // its memory is free
				var again func()
				if again, err = s.Exclusive(ctx, verb); err == nil {
					release = again
					k, err = examined()
				}
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
	cache.Release()
	rows, strays := tree.NewRows(out.Rows), tree.NewFinger(out.Strays, func(e *tree.Entry) string { return e.Path })
	err = errors.Join(cache.Save(), facts.Save(), facts.Compact(), cache.Compact(len(out.Rows)+len(out.Strays),
		func(path string) bool { return rows.Find(path) >= 0 || strays.Find(path) >= 0 }))
	return out, release, err
}
