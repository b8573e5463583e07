package publish

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"

	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage"
	"example.com/publish/stage/tree"
)

// lend brings what a tree lacks from staging, else from the generations that are kept in
// the store, the newest first. What staging counts as present it does not lack.
func (b *shared) lend(ctx context.Context, a *stage.Assembly) error {
	if err := a.LendStaging(ctx); err != nil {
		return err
	}
	for _, n := range slices.Backward(b.kept(b.present())) {
		if len(a.Lacks()) == 0 {
			return nil
		}
		m, err := b.Manifest(ctx, n)
		if e := new(Error); errors.As(err, &e) && e.Kind == NotFound { // another machine's gc has it
			continue
		}
		if err != nil {
			return err
		}
		err = a.Fetch(ctx, m.Own, func(ctx context.Context, row tree.Row) (io.ReadCloser, error) {
			in, err := b.open(ctx, row)
			if errors.Is(err, bucket.ErrNotFound) { // another generation may have it
				err = errors.Join(err, fs.ErrNotExist)
			}
			return in, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
