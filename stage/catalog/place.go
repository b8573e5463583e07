package catalog

import "context"

// A Placer is a Format whose trees clients can read from an object store directly, with
// no server between. What it places is either created once, under a key that follows from
// its bytes, or lies beside: it is rewritten under its key after production switched.
type Placer interface {
	// Layout names this way to lie in a store: production is read by the one by which it was
	// made. "" is that content lies at its path.
	Layout() string
	// PointerPath is the path of a document that names all others, and that clients read
	// first: production switches when that object does. It is "" if there is none. Then
	// what lies beside changes one by one.
	PointerPath() string
	// ContentKeys are the keys under which content at a path may lie. It always lies under
	// the first one; the others are for what Place lists.
	ContentKeys(path string) []string
	// DocumentKey is the key under which Place lists a document with this path and hash; ""
	// if clients read no such document.
	DocumentKey(path, sha256 string) string
	// Place says what of a tree lies in the store, apart from its content. It reads
	// documents only, in the form that clients are served. src may also have some that the
	// tree only carries: own reports whether a path is the tree's.
	Place(ctx context.Context, src Source, own func(path string) bool) (*Placement, error)
}

// Placement is how a tree lies in an object store.
type Placement struct {
	// Pointer is the document at PointerPath as it stands in the store; nil for none. It is
	// a JSON object without the member "publish", in whatever case: that is for the store's
	// own use.
	Pointer []byte
	// Objects are created before the switch, and never overwritten. Sorted by Key.
	Objects []PlacedObject
	// Beside are written after it, in this order.
	Beside []PlacedObject
	// Findings are errors: why the tree cannot lie there.
	Findings []Finding
}

// PlacedObject is an object that clients read.
type PlacedObject struct {
	Key  string // relative to the tree
	Type string // its media type
	// Path is the file in the tree whose bytes these are, or from which they are made.
	Path string
	Data []byte // nil: the bytes of the content at Path
}
