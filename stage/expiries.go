package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Expiries has the expiry times of versions in staging. A version expires with its
// last image. It never expires if one of its images does not, or if the expiry of
// an image is unknown.
type Expiries struct {
	At     map[catalog.Name]time.Time // absent or zero: never
	Unread []error                    // why metadata could not be read, sorted by path; each names the path
}

// Expiries reads the expiry times of the products for which asked is true. The
// hash cache stores the expiry of each metadata file by its hash, so that the file
// is read only once. open is [tree.OpenCache], or [tree.ReadCache] to write
// nothing. The result is empty for a format whose images have no expiry.
func (s *Stage) Expiries(
	ctx context.Context, c *Checked, asked func(product string) bool, open func(path string) *tree.Cache,
) (*Expiries, error) {
	out := &Expiries{At: map[catalog.Name]time.Time{}}
	format, ok := s.Format.(catalog.Expirer)
	if !ok {
		return out, nil
	}
	sp, err := s.sparse(ctx)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	cache := open(s.Hashes)
	ends := map[string]time.Time{}
	unread := map[string]error{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range c.Catalog.Images {
		if len(i.Paths) == 0 || i.Fingerprint == "" || !asked(i.Product) {
			continue // without a fingerprint, the first path need not be metadata
		}
		path := i.Paths[0]
		mu.Lock()
		_, met := ends[path]
		ends[path] = time.Time{}
		mu.Unlock()
		if met {
			continue
		}
		if row, ok := c.Row(path); ok {
			if end, known := cache.Expiry(row.SHA256); known {
				mu.Lock()
				ends[path] = end
				mu.Unlock()
				continue
			}
		}
		g.Go(func() error {
			end, err := expiry(ctx, root, sp, path, format, cache)
			mu.Lock()
			defer mu.Unlock()
			if ends[path] = end; err != nil {
				unread[path] = err
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, i := range c.Catalog.Images {
		if !asked(i.Product) {
			continue
		}
		var end time.Time
		if len(i.Paths) > 0 && i.Fingerprint != "" {
			end = ends[i.Paths[0]]
		}
		out.join(i.Of(), end)
	}
	for _, path := range slices.Sorted(maps.Keys(unread)) {
		out.Unread = append(out.Unread, fmt.Errorf("%s: %s", path, cause(unread[path])))
	}
	return out, cache.Save()
}

// join adds an image of a version, which expires at end.
func (e *Expiries) join(version catalog.Name, end time.Time) {
	was, known := e.At[version]
	switch {
	case !known || end.IsZero():
		e.At[version] = end
	case !was.IsZero() && end.After(was):
		e.At[version] = end
	}
}

// expiry reads one metadata file. It stores the result in the cache only if the
// hash is known, and the file was in the same state before and after reading.
func expiry(
	ctx context.Context, root *os.Root, sp *sparse, path string, format catalog.Expirer, cache *tree.Cache,
) (time.Time, error) {
	f, before, err := tree.Open(root, path)
	if row, ok := sp.row(path); ok && errors.Is(err, fs.ErrNotExist) {
		f, err := sp.open(ctx, row)
		if err != nil {
			return time.Time{}, err
		}
		defer f.Close()
		end, err := format.Expires(catalog.Interruptible(ctx, f))
		if err == nil {
			// The beginning of the file is the store's word for it, as all of it is elsewhere.
			cache.PutExpiry(row.SHA256, end)
		}
		return end, err
	}
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	end, err := format.Expires(catalog.Interruptible(ctx, f))
	if err != nil {
		return time.Time{}, err
	}
	after, err := f.Stat()
	if sum, _, ok := cache.Lookup(path, before); ok && err == nil && tree.StatOf(after).Same(before, true) {
		cache.PutExpiry(sum, end)
	}
	return end, nil
}
