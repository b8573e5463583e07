package catalog

import "context"

// Looker is an Upstream that can ask with little effort whether a name still stands for
// what it stood for.
type Looker interface {
	// Look asks what a name stands for now. was is what it stood for: if the server says
	// that it still does, that is enough. In any doubt the answer is made from bytes, as
	// Pin's is. A digest that was written with the name does not count.
	Look(ctx context.Context, r Remote, was Digest) (Digest, error)
}
