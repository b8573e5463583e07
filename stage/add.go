package stage

import (
	"cmp"
	"context"
	"io"
	"path/filepath"

	"example.com/publish/stage/catalog"
)

// AddRequest says which image to stage.
type AddRequest struct {
	Files []string // files, or one directory; see the format's Bring and Gather
	catalog.Addition
	Move  bool      // move the files instead of copying them, if possible
	Stdin io.Reader // of a Gatherer: what the file "-" is
	// Fetched is what came of a server, instead of Files; nil for none.
	Fetched *Fetched
	// Verb is what messages call the command; "" is stage add.
	Verb string
}

// Added is the result of Add.
type Added struct {
	Images    []catalog.Image // in the order of the input
	Replaced  []string        // paths that no index names any more; sorted
	Unchanged bool            // staging already had all of it
	Kept      []error         // reasons why source files were not removed after a move
	Findings  []catalog.Finding
}

// Add stages an image, with a Delivery: the format brings the files into staging,
// and the indexes name them. The error is catalog.ErrByHand for a format whose
// files people copy themselves.
func (s *Stage) Add(ctx context.Context, req AddRequest) (*Added, error) {
	d, err := s.Receive(ctx, cmp.Or(req.Verb, "stage add"))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	edit, err := s.bring(ctx, d, req)
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
	return &Added{Images: did.Images, Replaced: did.Replaced, Kept: did.Kept, Findings: did.Findings,
		Unchanged: len(did.Documents)+len(did.Placed) == 0}, nil
}

// bring has the format receive what was asked for.
func (s *Stage) bring(ctx context.Context, d *Delivery, req AddRequest) (catalog.Edit, error) {
	if req.Fetched != nil {
		return s.Format.Bring(ctx, d.fetched(ctx, req.Fetched), d, req.Addition)
	}
	g, ok := catalog.As[catalog.Gatherer](s.Format)
	if !ok {
		in, err := d.Input(req.Files, req.Move)
		if err != nil {
			return nil, err
		}
		return s.Format.Bring(ctx, in, d, req.Addition)
	}
	var list []catalog.Input
	seen := map[string]bool{}
	for _, name := range req.Files {
		if seen[filepath.Clean(name)] {
			return nil, usage("", "%s: is given twice", name)
		}
		seen[filepath.Clean(name)] = true
		if name == "-" && req.Stdin != nil {
			list = append(list, catalog.Input{Files: []string{name},
				Open: func(string) (catalog.File, error) { return stream{req.Stdin}, nil }})
			continue
		}
		in, err := d.Input([]string{name}, req.Move)
		if err != nil {
			return nil, err
		}
		list = append(list, in)
	}
	return g.Gather(ctx, list, d, req.Addition)
}

// stream is a File that is read once, from its beginning to its end. It is never
// put into a Sink as it is.
type stream struct{ io.Reader }

func (stream) Close() error   { return nil }
func (stream) Also(io.Writer) {}
