package stage

import (
	"context"
	"time"

	"example.com/publish/stage/catalog"
)

// Tag gives an image further names. The error is catalog.ErrByHand for a format in
// which an image has one name.
func (s *Stage) Tag(ctx context.Context, ref string, tags []string, now time.Time) (*Added, error) {
	f, ok := catalog.As[catalog.Namer](s.Format)
	if !ok {
		return nil, catalog.ErrByHand
	}
	edit, err := f.Tag(ref, tags, now)
	if err != nil {
		return nil, err
	}
	d, err := s.Receive(ctx, "stage tag")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	did, err := d.Commit(ctx, edit)
	if err != nil {
		return nil, err
	}
	return &Added{Images: did.Images, Replaced: did.Replaced, Unchanged: len(did.Documents) == 0}, nil
}
