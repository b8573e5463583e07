package stage

import (
	"context"
	"errors"
	"time"

	"example.com/publish/stage/catalog"
)

// Some tools write a document in place. Then staging has half a document for a
// moment, and a command that reads just then would report that it is damaged, or a
// promote would fail. So whoever reads staging reads again.

// pause is the time between two attempts to read.
const pause = 20 * time.Millisecond

// patiently calls do until it meets no document that somebody may be writing, or for
// as long as Patience lasts.
func (s *Stage) patiently(ctx context.Context, do func() (half bool, err error)) error {
	for left := s.Patience; ; left -= pause {
		half, err := do()
		if !half || left <= 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// read is patiently for a catalog.
func (s *Stage) read(ctx context.Context, do func() (*catalog.Catalog, error)) (cat *catalog.Catalog, err error) {
	err = s.patiently(ctx, func() (bool, error) {
		cat, err = do()
		return err == nil && len(cat.Half) > 0, err
	})
	return cat, err
}

// rewrite is patiently for a change to documents.
func (s *Stage) rewrite(ctx context.Context, do func() error) error {
	return s.patiently(ctx, func() (bool, error) {
		err := do()
		return errors.As(err, new(*catalog.HalfError)), err
	})
}
