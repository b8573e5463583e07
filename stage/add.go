package stage

import (
	"context"

	"example.com/publish/stage/catalog"
)

// AddRequest says which image to stage.
type AddRequest struct {
	Files []string // files, or one directory; see the format's Bring
	catalog.Addition
	Move bool // move the files instead of copying them, if possible
}

// Added is the result of Add.
type Added struct {
	Images    []catalog.Image // in the order of the root files
	Replaced  []string        // paths that no index names any more; sorted
	Unchanged bool            // staging already had all of it
	Kept      []error         // reasons why source files were not removed after a move
}

// Add stages an image, with a Delivery: the format brings the files into staging,
// and the indexes name them. The error is catalog.ErrByHand for a format whose
// files people copy themselves.
func (s *Stage) Add(ctx context.Context, req AddRequest) (*Added, error) {
	d, err := s.Receive(ctx, "stage add")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	in, err := d.Input(req.Files, req.Move)
	if err != nil {
		return nil, err
	}
	edit, err := s.Format.Bring(ctx, in, d, req.Addition)
	if err != nil {
		return nil, err
	}
	did, err := d.Commit(ctx, func(ctx context.Context, src catalog.Source) (*catalog.Change, error) {
		change, err := edit(ctx, src)
		return change, below(s.Dir, err)
	})
	if err != nil {
		return nil, err
	}
	return &Added{Images: did.Images, Replaced: did.Replaced, Kept: did.Kept,
		Unchanged: len(did.Documents)+len(did.Placed) == 0}, nil
}
