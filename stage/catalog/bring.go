package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// Input is what somebody wants to add to a tree: files by their names, one
// directory, or a stream of files. Names are those that a person gave.
type Input struct {
	Files []string // in their order; none: see Dir and Entries
	Dir   string
	// Entries are those of an archive that is read once, from its beginning to
	// its end, such as one on standard input; nil: there is none.
	Entries iter.Seq2[Entry, error]
	// Open opens one of Files, or a file of Dir: the two names with a slash
	// between them. A link is followed, anything but a regular file refused.
	Open func(name string) (File, error)
	// Inside opens a file of Dir, by its path in that. A link is followed inside the
	// directory; for one that leads out the error is a *DocumentError of the code
	// link-outside. Anything but a regular file is refused.
	Inside func(path string) (File, error)
	// List returns the names in Dir, or in a directory below it: see Source.
	// Links to files count as files.
	List func(dir string) iter.Seq2[string, error]
	// Again calls read until it meets no document that somebody may be writing just
	// now, or for some time; nil: nobody writes.
	Again func(ctx context.Context, read func() (half bool, err error)) error
}

// File is an open file of an Input.
type File interface {
	io.ReadCloser
	// Also has all bytes of the file written to w when it is given to a Sink,
	// beside what that does with them: so they are read once.
	Also(w io.Writer)
}

// Entry is one file of an archive.
type Entry struct {
	Name    string // as it stands there: see Clean
	Size    int64  // bytes, as the archive says
	Link    string // what it leads to, by name, if it is a link; "" for a file
	Content io.Reader
}

// Addition is what a person says about an Input. A format refuses what it cannot
// use, with a *UsageError.
type Addition struct {
	Name           string            // instead of what the input says itself: a product, a reference
	Aliases        []string          // beside the default one
	NoDefaultAlias bool              // leave that out
	Requirements   map[string]string // of the product
	Repository     string            // of what the input names by a tag alone
	Only           []string          // tags; empty: all that the input has
	Platforms      []string          // of an image with several; empty: all
	Now            time.Time         // when it is added
	Requested      string            // what somebody asked for, if that is not Name
	Source         string            // the canonical name on the server that it came from; "" for none
}

// Gatherer is a Format whose images come in any number of inputs: files, directories
// and streams, each with images of its own.
type Gatherer interface {
	// Gather is Bring for several inputs. A stream is a File.
	Gather(ctx context.Context, in []Input, to Sink, opt Addition) (Edit, error)
}

// Sink takes files that are to be added to a tree. Several calls may run at
// the same time.
type Sink interface {
	// Put stores all bytes of r under a path: the one that it is to have in the
	// tree, or a name for which the Change has the place. A File is taken from
	// its beginning, whatever was read of it, and may become what is stored. Put
	// returns the sha256 and the size. Each of want is what the bytes must
	// have: others are an error that wraps ErrDigest, and nothing is stored.
	Put(ctx context.Context, path string, r io.Reader, want ...Digest) (Digest, int64, error)
	// Open reads what was put under a path.
	Open(path string) (io.ReadCloser, error)
}

// Edit works out how a tree must change so that it has what was put into a
// Sink. It runs while nobody else writes to the tree.
type Edit func(ctx context.Context, tree Source) (*Change, error)

// Change is what an Edit does to a tree. Content comes to its place first, the
// documents after it.
type Change struct {
	Documents []Document // in the order in which to write them
	// Places are the paths in the tree of what was put into the Sink, by the
	// paths that it was put under; what is not in it is not wanted. nil: all has
	// the path that it was put under.
	Places map[string]string
	// Apart are the paths of items of what was put into the Sink: see Item.Apart.
	Apart    map[string]bool
	Combined []Combined // hashes that the format worked out itself
	Images   []Image    // that the tree has now, in the order of the input; of a Merge those that took a name
	Replaced []string   // paths that the tree named before and that no index names now; sorted
	Findings []Finding  // about what the tree is then, and was not before
	// United are the documents of another tree that a Merge made its Documents
	// of. Others of that tree are for its caller to bring as they are.
	United []string
}

// Combined is a hash over the bytes of two files, one after the other, by their
// paths in the tree.
type Combined struct{ First, Second, SHA256 string }

// InputError is an input that is not what it should be: cut, damaged, or made to do
// harm. Nothing has changed.
type InputError struct {
	Err  error  // the path first
	Hint string // the remedy; may be empty
}

func (e *InputError) Error() string { return e.Err.Error() }
func (e *InputError) Unwrap() error { return e.Err }

// WrongInput makes an *InputError.
func WrongInput(hint, format string, args ...any) error {
	return &InputError{Err: fmt.Errorf(format, args...), Hint: hint}
}

// UsageError is a request that cannot be carried out as it stands: nothing was
// tried, and nothing has changed.
type UsageError struct {
	Fact string // the path first, where there is one
	Hint string // the remedy; may be empty
}

func (e *UsageError) Error() string { return e.Fact }

// Usage makes a *UsageError.
func Usage(hint, format string, args ...any) error {
	return &UsageError{Fact: fmt.Sprintf(format, args...), Hint: hint}
}

// ErrByHand is returned by a format whose files people copy into the tree.
var ErrByHand = errors.New("the files of such a tree are copied into it")

// Interruptible is r until ctx ends. Without it, code that unpacks a large file in
// search of a small one would ignore a signal for minutes.
func Interruptible(ctx context.Context, r io.Reader) io.Reader { return interruptible{ctx, r} }

type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(b []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(b)
}
