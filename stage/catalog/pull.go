package catalog

import "errors"

// A Puller is a Server from whose trees clients pull: they ask for a repository, and in
// it for a tag or a digest. It tells what a program that answers them has to know. The
// contents go out as they are. All methods are functions of bytes and of names.
type Puller interface {
	Server
	// Repository reads a document for which Serves is true, as clients are served it. The
	// error is lower case and has no path: nobody can pull by this document.
	Repository(path string, data []byte) (*Repository, error)
	// Manifest reads a content that clients may ask for as a manifest. The error is
	// ErrNoManifest, or says in lower case why clients would not agree what it is.
	Manifest(data []byte) (*Manifest, error)
	// ListType is the media type of a list of manifests, as clients get it for what refers
	// to one.
	ListType() string
	// BlobAt returns where the repository of a document has the content with a digest.
	BlobAt(document string, d Digest) string
	// Meant returns the repositories that a client may mean by a name, the most likely one
	// first. registry is the host that the client wanted to ask, "" if it does not say; it
	// is a part of a name and no address. namespace is the host of names without one; ""
	// for none.
	Meant(name, registry, namespace string) []string
}

// Repository is what a document says to clients that pull.
type Repository struct {
	Name     string    // as clients write it
	Tags     []Tag     // by name, in the order of bytes
	Named    []Naming  // see Server.Names
	Findings []Finding // what is left out, as warnings
}

// Tag is a name that may stand for another manifest later.
type Tag struct {
	Name   string
	Digest Digest
}

// Manifest is what a content says about itself.
type Manifest struct {
	MediaType    string // its own, else that of its shape
	Subject      Digest // the manifest that it refers to; zero for none
	ArtifactType string // "" for none
	Annotations  map[string]string
}

// ErrNoManifest is the error for a content that nobody takes for a manifest.
var ErrNoManifest = errors.New("is no manifest")
