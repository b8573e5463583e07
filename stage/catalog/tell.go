package catalog

import (
	"context"
	"time"
)

// Describer is a Format that can say more of an image than Read does.
type Describer interface {
	// Describe calls tell for each of these images of Read, in their order, with
	// more about it; nil for one that is not in the tree any more.
	Describe(ctx context.Context, src Source, images []Image, tell func(n int, more any) error) error
}

// Resolver is a Format whose images have names that may stand for another image
// later.
type Resolver interface {
	// Resolve returns what a name stands for now. The error is one that Missing
	// knows if there is no such name.
	Resolve(ctx context.Context, src Source, ref string) (*Resolved, error)
}

// ManyResolver is a Resolver for which many names of one tree cost little more than one.
type ManyResolver interface {
	// ResolveMany calls yield for each name, by its number, in any order.
	ResolveMany(ctx context.Context, src Source, refs []string, yield func(n int, r *Resolved, err error))
}

// Resolved is what a name stands for.
type Resolved struct {
	Name   string   // always stands for the same: repository@digest
	Ref    string   // the name, as the tree has it
	Digest string   // of the image
	Also   []string // other digests and fingerprints by which clients know it

	Platforms []string // those that were picked of an image with several, as the name records; empty: all
}

// Is reports whether a word is a digest or a fingerprint by which clients know the
// image, or the beginning of one.
func (r *Resolved) Is(word string) bool {
	w := ParseWhat(word)
	for _, digest := range append([]string{r.Digest}, r.Also...) {
		if w.Hash(digest) {
			return true
		}
	}
	return false
}

// Namer is a Format in which an image can have several names.
type Namer interface {
	// Tag returns the Edit that gives an image of the tree further names. Its error
	// is one that Missing knows if there is no such image.
	Tag(ref string, tags []string, now time.Time) (Edit, error)
}

// Hosted is what a Describer tells if clients know the image by names that begin with
// the host that serves it.
type Hosted interface {
	// ServedAs says which host that is.
	ServedAs(host string)
}
