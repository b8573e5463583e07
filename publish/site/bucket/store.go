package bucket

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Store is an object store: six operations on objects, which have keys relative to the
// prefix that belongs to one repository. It repeats nothing that has a condition: what
// became of such a request can only be told by who knows the protocol.
//
// Errors wrap one of the errors below, or are a *Refusal; anything else, such as a
// connection that broke, means that the outcome is unknown.
type Store interface {
	// Get returns an object. The error wraps ErrNotFound if there is none, and
	// ErrUnchanged if it has the ETag of opt: the Object then has no Body, but a Date.
	Get(ctx context.Context, key string, opt Get) (*Object, error)
	// Head is Get without the bytes.
	Head(ctx context.Context, key string) (*Info, error)
	// Create makes an object, unless the key exists: then the error wraps ErrExists, and is
	// an *ExistsError if it knows what is there. It asks before it sends a large body: a
	// store may refuse one that it has not read, and that looks like a broken connection. A
	// large body goes in parts; parts that an earlier attempt of this machine sent are not
	// sent again.
	Create(ctx context.Context, key string, body Body, as Meta) (*Info, error)
	// Swap replaces an object that has this ETag. The error wraps ErrMoved if it has
	// another one, or does not exist.
	Swap(ctx context.Context, key, etag string, body Body, as Meta) (*Info, error)
	// Delete deletes objects; those that do not exist count as deleted. With all, every
	// version of them in a store that keeps versions. It returns those that stay. Each
	// request is sent once: one that is lost may take effect later, and who knows the
	// protocol must know of it.
	Delete(ctx context.Context, keys []string, all bool) (stay []Stay, err error)
	// List yields the objects whose keys begin with prefix, sorted by key, beginning
	// after the key after.
	List(ctx context.Context, prefix, after string) iter.Seq2[*Info, error]
}

// Resumer is a Store that sends large bodies in parts, and remembers on this machine which ones
// it began.
type Resumer interface {
	// Abandoned returns the uploads that this machine began and did not end, the oldest first;
	// also those that another process is sending now.
	Abandoned() ([]Abandoned, error)
	// Abort ends one: the store deletes its parts. It may have ended already.
	Abort(ctx context.Context, a Abandoned) error
}

// Abandoned is an upload in parts. The store keeps the parts, and bills them, until it is
// aborted, or the body is created after all.
type Abandoned struct {
	Key    string // relative to the prefix
	Upload string // its id
	Size   int64  // of the body
	Sent   int64  // bytes that the store has
	Since  time.Time
	Last   time.Time // when the last part was noted
	File   string    // that notes it, on this machine
}

// The answers of a store that the protocol is made of.
var (
	ErrNotFound  = errors.New("does not exist in the object store")
	ErrExists    = errors.New("exists already in the object store")
	ErrMoved     = errors.New("was changed in the object store by somebody else")
	ErrUnchanged = errors.New("has not changed in the object store")
)

// Refusal is an answer that says why the store does not do what was asked, and that it
// did not do it: no such bucket, no right, a wrong key, a clock that is off.
type Refusal struct {
	Code   string // the store's: NoSuchBucket, AccessDenied, RequestTimeTooSkewed, ...
	Status int    // of HTTP
	Hint   string // what to set
	Err    error
}

func (e *Refusal) Error() string { return e.Err.Error() }
func (e *Refusal) Unwrap() error { return e.Err }

// Get says which bytes to get.
type Get struct {
	Unless string // an ETag: ErrUnchanged if the object has it
	From   int64  // the first byte
	Length int64  // 0: to the end
}

// Info says what an object is.
type Info struct {
	Key         string
	ETag        string // opaque
	Size        int64  // bytes, of the whole object
	SHA256      string // as its maker said: Body.SHA256; "" where it does not say
	Owner       string // the repository that made it: Meta.Owner; "" if none did. Not known from List
	ContentType string
	Modified    time.Time
	Date        time.Time // the store's clock when it answered
}

// Object is an object being read. Close its Body.
type Object struct {
	Info
	Body io.ReadCloser
}

// Body is what an object is to have.
type Body struct {
	Size   int64
	SHA256 string // lower-case hex; the store refuses other bytes
	// Open returns the bytes from this offset. It may be called again, also while an
	// earlier reader is open.
	Open func(from int64) (io.ReadCloser, error)
}

// Meta is what an object says of itself.
type Meta struct {
	Owner           string // id of the repository
	ContentType     string
	ContentEncoding string
	CacheControl    string
}

// Stay is an object that could not be deleted.
type Stay struct {
	Key string
	Err error
}
