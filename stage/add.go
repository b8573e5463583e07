package stage

import (
	"context"

	"example.com/publish/stage/catalog"
)

// AddRequest asks to stage an image that was built elsewhere.
type AddRequest struct {
	Files []string // what to bring: files, or one directory; see the format's Bring
	catalog.Addition
	Move bool // take the files themselves where that can be done
}

// Added is what an Add did.
type Added struct {
	Images    []catalog.Image // in the order of the root files
	Replaced  []string        // paths that no index names any more; sorted
	Unchanged bool            // staging had it all
	Kept      []error         // why files to be moved are still where they were
}

// Add stages an image, by a Delivery: what the format makes of the files comes
// into staging, and its indexes name it. The error is catalog.ErrByHand if people
// copy the format's files themselves.
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
