package catalog

import (
	"io"
	"time"
)

// Server is a Format with documents that have two forms. The own form is what the
// tree says: rows, tree ids and comparisons are about it. What clients read names
// more, at the end of the document: what its indexes list, and what is held, that is
// what an earlier tree named and clients may still ask for. What was added is marked,
// so the bytes alone tell the two apart. All methods but Needs are functions of bytes.
type Server interface {
	Format
	// Serves reports, by the name alone, whether a file is such a document.
	Serves(path string) bool
	// Own returns a document in its own form, which is canonical. Data that is no
	// such document is returned as it is.
	Own(data []byte) []byte
	// WriteOwn writes what Own returns, and needs little memory for it.
	WriteOwn(w io.Writer, data []byte) error
	// Bare returns a document that names nothing: what is left, for clients, of one
	// that the tree no longer has.
	Bare(data []byte) []byte
	// Names returns all that the document at a path names, each digest once.
	Names(path string, data []byte) []Naming
	// Lost returns what Names returns of the document was, without the digests that is names,
	// the next one at this path. It needs little memory for that.
	Lost(path string, was, is []byte) []Naming
	// List returns the document with these listed, instead of all that was added.
	List(data []byte, listed []Naming) []byte
	// Hold returns the document with these held, instead of those that it holds. What
	// it lists stays.
	Hold(data []byte, held []Naming) []byte
	// Needs returns what clients ask for after a content of the tree src: what its bytes
	// name in turn. For a content that is missing, or has other bytes, it returns nothing.
	Needs(src Source, of Naming) ([]Naming, error)
}

// Naming is a content that a document of a Server names.
type Naming struct {
	Path      string // of the content, relative to the tree
	Digest    Digest
	MediaType string
	Size      int64 // bytes
	Kind      NamingKind
	Until     time.Time // when nobody asks for it any more, in whole seconds; zero unless it is held
}

// NamingKind is the reason why a document names a content.
type NamingKind int

// The kinds.
const (
	NamedItself NamingKind = iota // by the tree
	NamedListed                   // an index that the document names lists it
	NamedHeld                     // an earlier tree named it
)

// Serving returns the Server that f is, or that f is made of; nil for none.
func Serving(f Format) Server {
	s, _ := As[Server](f)
	return s
}

// ServingAt is Serving for one path: nil also if the file there has one form only.
func ServingAt(f Format, path string) Server {
	if s := Serving(f); s != nil && s.Serves(path) {
		return s
	}
	return nil
}
