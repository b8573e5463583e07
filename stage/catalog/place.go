package catalog

import "context"

// A Placer is a Format whose trees clients can read from an object store directly, with
// no server between: one object names all others, and is the only one that is ever
// overwritten. So production switches when that object does.
type Placer interface {
	// Place says how the documents of a tree lie in the store. Content lies at its path
	// in the tree.
	Place(ctx context.Context, src Source) (*Placement, error)
	// PointerPath is the path of the document that clients read first.
	PointerPath() string
	// Placed is the key of a document with this path and hash, if Place lists it.
	Placed(path, sha256 string) string
}

// Placement is how documents lie in an object store.
type Placement struct {
	// Pointer is the document that clients read first, as it stands in the store. Its
	// Path is its key. It is a JSON object without the member "publish", in whatever
	// case: that is for the store's own use.
	Pointer Document
	// Objects are the documents that it names, each under a key that follows from its
	// bytes. They are created before the pointer, and never overwritten. Sorted by Key.
	Objects []PlacedDocument
	// Findings are errors: why the tree cannot lie there.
	Findings []Finding
}

// PlacedDocument is a document under another name.
type PlacedDocument struct {
	Path string // in the tree
	Key  string // in the store, relative to the tree
	Type string // its media type
	Data []byte
}
