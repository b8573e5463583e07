package catalog

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Upstream is a kind of server that images of a format are copied from.
type Upstream interface {
	// Parse reads what a person wrote for an image of such a server. It asks nobody.
	// The error is a *UsageError.
	Parse(text string) (Remote, error)
	// Pin asks the server what an image is now: once, and by its bytes, not by what
	// the server says of them.
	Pin(ctx context.Context, r Remote) (Pin, error)
	// Fetch brings all that a pin leads to into a store, by digest: what the tag stands
	// for meanwhile does not matter. The errors of Pin and Fetch are a *RemoteError, a
	// *UsageError, or what the store, ctx or a function of the request said.
	Fetch(ctx context.Context, req FetchRequest, to Store) (*Fetched, error)
}

// FetchRequest is what is to be brought.
type FetchRequest struct {
	Remote    Remote
	Pin       Pin
	Platforms []string // that are wanted of an image with several; empty: all
	Versions  int      // the newest of each product; 0: all
	Filters   []string // what versions and items must have; empty: all come
	// Check is called for each version that is to come, before any content of it is asked
	// for. Its error ends the call. nil: all may come. An upstream whose images have no
	// versions does not call it.
	Check func(FetchedVersion) error
	// Allow says why a product may not come, by its whole name; "" if it may. Products that
	// may not are left out. nil: all may come. For a Selector.
	Allow func(name string) (why string)
	// Chosen is called with what was selected, before any content of it is asked for, and
	// again if it was selected anew. Its error ends the call. nil: nobody is. For a Selector.
	Chosen func([]FetchedVersion) error
}

// FetchedVersion is a version of a product, with what came, or is to come, of it.
type FetchedVersion struct {
	Product string            `json:"product"`
	Version string            `json:"version"`
	Files   map[string]string `json:"files"` // the sha256 of each item, by its name
}

// PlatformChecker is an Upstream that can tell what is no platform without asking anybody.
type PlatformChecker interface {
	// CheckPlatforms reads what people wrote. The error is a *UsageError.
	CheckPlatforms(list []string) error
}

// Remote is an image as people name it on a server.
type Remote struct {
	Text      string // as it was written
	Canonical string // the whole name, such as docker.io/library/alpine:3.20
	Name      string // that without tag and digest
	Host      string // its server, such as docker.io
	Pinned    Digest // that was written with the name; zero for none
}

// Pin is what a name of a server stood for when it was asked.
type Pin struct {
	Digest    Digest
	MediaType string
	Size      int64 // bytes of the document that the digest is of
}

// Fetched says what is in a store now, in the form of an Input.
type Fetched struct {
	// Documents are the small files that make an Input of the contents, by their names
	// in it; Contents are the names there of what the store has.
	Documents map[string][]byte
	Contents  map[string]Digest
	// Tree says that the documents are those of a tree of the format, which is merged into
	// another one, and Contents its files. Else all of it is an Input.
	Tree    bool
	LeftOut []string // what was not taken, each with the reason, for people
	Bytes   int64    // of the contents
	Missing []string // platforms that were wanted and that the image lacks
	// Versions are those that came, by product and version; nil for an upstream whose
	// images have none.
	Versions []FetchedVersion
	Moved    Digest // what the name stood for when all was there, if that is another digest; else zero
}

// Store keeps content that is being fetched, by its digest. Several calls may run at the
// same time, also for the same content.
type Store interface {
	// Has reports whether a content is there whole: it need not be fetched.
	Has(d Digest) bool
	// Bring stores a content of a known size, unless it is there. get asks the server for
	// the bytes from an offset on; first is where those begin that it returns: from, or
	// less if the server does not do as asked. Bring asks again for the rest of a body
	// that was cut, and for all of it if the digest is wrong. The error of get ends it;
	// what came stays for the next time.
	Bring(ctx context.Context, d Digest, size int64, get func(ctx context.Context, from int64) (
		body io.ReadCloser, first int64, err error)) error
	// Open reads a content that is there.
	Open(d Digest) (io.ReadCloser, error)
	// Expect is told the sum of what is to come, in bytes, without what Has said is
	// there, and the size of the largest content of it. It refuses what has no room, or
	// what is not to come now. Manifests and the like may have come before.
	Expect(bytes, largest int64) error
}

// Failure is what kind of failure a copy had: its class, in the words of people.
type Failure string

// The kinds of failures.
const (
	NotFound     Failure = "not-found"
	Unauthorized Failure = "unauthorized"
	Unreachable  Failure = "unreachable"
	BadTLS       Failure = "tls"
	RateLimit    Failure = "rate-limit"
	WrongDigest  Failure = "digest"
	WrongType    Failure = "media-type"
	OverLimit    Failure = "limit"
	WrongCatalog Failure = "catalog"
	BadSignature Failure = "signature"
	Drift        Failure = "drift"
	Conflict     Failure = "conflict"
	NoSpace      Failure = "disk"
	Crashed      Failure = "crashed"
	Internal     Failure = "internal"
)

// RemoteError is what a server, or the way to it, did wrong.
type RemoteError struct {
	Class Failure
	Host  string    // who was asked: that of the Remote, or one that it led to
	Again bool      // trying again may help
	Until time.Time // before that time the host must not be asked again; zero: it said nothing
	Err   error     // what was asked, then the fact; no credential is in it
	Hint  string    // the remedy; may be empty
}

func (e *RemoteError) Error() string { return e.Err.Error() }
func (e *RemoteError) Unwrap() error { return e.Err }

// Failed makes a *RemoteError of a failure that no retry can mend.
func Failed(c Failure, host, format string, args ...any) *RemoteError {
	return &RemoteError{Class: c, Host: host, Err: fmt.Errorf(format, args...)}
}
