// Package buckettest has an object store in memory, for tests of the protocol in
// publish/site/bucket. Its conditional writes are linearizable, its clock is set by the
// test, and each request can be spoiled: not sent, answered with an error that says nothing,
// or landing long after its client has given up.
package buckettest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/publish/publish/site/bucket"
)

// Request is a request as it arrives at the store.
type Request struct {
	N      int    // requests before it
	Op     string // get, head, create, swap, delete or list
	Key    string // the first key of a delete, the prefix of a list
	Keys   []string
	Size   int64 // of the body that is sent
	Signed time.Time
}

// Fault is what happens to a request.
type Fault int

// The faults. All but Refused and Twice look to the client as if the connection had broken.
const (
	None      Fault = iota
	NeverSent       // nothing happens
	Lost            // it takes effect, and the answer is lost
	Refused         // the store says that it does not want to
	Twice           // it is sent twice, as some libraries do, and the second answer arrives
	Late            // it takes effect after Memory.Delay, unless it is too old by then
	Cut             // of a get: the second half of the body is missing
)

// ErrConnection is the error of a request whose outcome the client cannot know.
var ErrConnection = errors.New("connection reset by peer")

// Memory is a bucket.Store. Its functions may be called from many goroutines.
type Memory struct {
	// Fault spoils requests; nil: none. It is called in the order of the requests.
	Fault func(Request) Fault
	// Before is called before each request takes effect, with its signature made: here a
	// scheduler can let others go first. An error is that of the request, which is not sent.
	Before func(ctx context.Context, r Request) error
	// Delay is how late a Late request is; nil: a minute.
	Delay    func() time.Duration
	Versions bool                   // deleted objects and overwritten ones are kept as versions
	NoSums   bool                   // it does not say digests
	Sticky   func(key string) error // keys that cannot be deleted; nil: none

	mu       sync.Mutex
	now      time.Time
	n        int
	counts   map[string]int
	sent     int64
	objects  map[string]*object
	versions map[string]int // old ones, by key
	late     []late
}

type object struct {
	data     []byte
	info     bucket.Info
	meta     bucket.Meta
	modified time.Time
}

type late struct {
	at     time.Time
	signed time.Time
	do     func()
}

// New returns an empty store whose clock is at now.
func New(now time.Time) *Memory {
	return &Memory{now: now, objects: map[string]*object{}, versions: map[string]int{}, counts: map[string]int{}}
}

// Now is the store's clock.
func (m *Memory) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Advance moves the clock, and lets the late requests take effect that are due by then.
func (m *Memory) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(d)
}

func (m *Memory) advance(d time.Duration) {
	end := m.now.Add(d)
	for {
		slices.SortStableFunc(m.late, func(a, b late) int { return a.at.Compare(b.at) })
		if len(m.late) == 0 || m.late[0].at.After(end) {
			break
		}
		first := m.late[0]
		m.late = m.late[1:]
		m.now = first.at
		if m.now.Sub(first.signed) < bucket.MaxSkew {
			first.do()
		}
	}
	m.now = end
}

// Sleep is for bucket.Options: it moves the clock.
func (m *Memory) Sleep(ctx context.Context, d time.Duration) error {
	m.Advance(d)
	return context.Cause(ctx)
}

// Counts returns how many requests of each kind there were, and the bytes in their bodies,
// and begins anew.
func (m *Memory) Counts() (map[string]int, int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts, sent := m.counts, m.sent
	m.counts, m.sent = map[string]int{}, 0
	return counts, sent
}

// Keys returns the keys with a prefix, sorted.
func (m *Memory) Keys(prefix string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys(prefix)
}

func (m *Memory) keys(prefix string) []string {
	var keys []string
	for key := range maps.Keys(m.objects) {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Data returns the bytes of an object; nil if there is none.
func (m *Memory) Data(key string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.objects[key]; o != nil {
		return o.data
	}
	return nil
}

// Old returns how many versions of a key were overwritten or deleted, and kept.
func (m *Memory) Old(key string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.versions[key]
}

// Set makes an object as another program would.
func (m *Memory) Set(key string, data []byte, owner string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, data, bucket.Meta{Owner: owner})
}

// Remove deletes an object as another program would.
func (m *Memory) Remove(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
}

func (m *Memory) put(key string, data []byte, as bucket.Meta) *object {
	if m.objects[key] != nil && m.Versions {
		m.versions[key]++
	}
	sum := sha256.Sum256(data)
	hexed := hex.EncodeToString(sum[:])
	o := &object{data: data, meta: as, modified: m.now, info: bucket.Info{Key: key,
		ETag: fmt.Sprintf(`"%x"`, md5.Sum(data)),
		Size: int64(len(data)), SHA256: hexed, Owner: as.Owner, ContentType: as.ContentType, Modified: m.now}}
	if m.NoSums {
		o.info.SHA256 = ""
	}
	m.objects[key] = o
	return o
}

// request sends a request. do makes it take effect, and returns the store's answer.
func (m *Memory) request(ctx context.Context, r Request, do func(Fault) error) error {
	m.mu.Lock()
	r.Signed = m.now
	m.mu.Unlock()
	if m.Before != nil {
		if err := m.Before(ctx, r); err != nil {
			return err
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r.N = m.n
	m.n++
	m.counts[r.Op]++
	m.sent += r.Size
	m.advance(time.Millisecond)
	if m.now.Sub(r.Signed) >= bucket.MaxSkew {
		return refusal(403, "RequestTimeTooSkewed", "the request was signed too long ago")
	}
	fault := None
	if m.Fault != nil {
		fault = m.Fault(r)
	}
	switch fault {
	case NeverSent:
		return ErrConnection
	case Lost:
		_ = do(None)
		return ErrConnection
	case Refused:
		return refusal(403, "AccessDenied", "access denied")
	case Twice:
		_ = do(None)
		return do(None)
	case Late:
		delay := time.Minute
		if m.Delay != nil {
			delay = m.Delay()
		}
		m.late = append(m.late, late{at: m.now.Add(delay), signed: r.Signed, do: func() { _ = do(None) }})
		return ErrConnection
	case None, Cut:
	}
	return do(fault)
}

func refusal(status int, code, text string) error {
	return &bucket.Refusal{Code: code, Status: status, Err: errors.New(code + ": " + text)}
}

func (m *Memory) info(o *object) *bucket.Info {
	info := o.info
	info.Date = m.now
	return &info
}

// Get is of bucket.Store.
func (m *Memory) Get(ctx context.Context, key string, opt bucket.Get) (out *bucket.Object, err error) {
	err = m.request(ctx, Request{Op: "get", Key: key}, func(fault Fault) error {
		o := m.objects[key]
		if o == nil {
			return fmt.Errorf("%s: %w", key, bucket.ErrNotFound)
		}
		info := m.info(o)
		if opt.Unless != "" && opt.Unless == info.ETag {
			out = &bucket.Object{Info: *info}
			return fmt.Errorf("%s: %w", key, bucket.ErrUnchanged)
		}
		data := o.data[min(opt.From, int64(len(o.data))):]
		if opt.Length > 0 {
			data = data[:min(opt.Length, int64(len(data)))]
		}
		body := io.Reader(bytes.NewReader(data))
		if fault == Cut {
			body = io.MultiReader(bytes.NewReader(data[:len(data)/2]), broken{})
		}
		out = &bucket.Object{Info: *info, Body: io.NopCloser(body)}
		return nil
	})
	if err != nil && !errors.Is(err, bucket.ErrUnchanged) {
		out = nil
	}
	return out, err
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, ErrConnection }

// Head is of bucket.Store.
func (m *Memory) Head(ctx context.Context, key string) (info *bucket.Info, err error) {
	err = m.request(ctx, Request{Op: "head", Key: key}, func(Fault) error {
		o := m.objects[key]
		if o == nil {
			return fmt.Errorf("%s: %w", key, bucket.ErrNotFound)
		}
		info = m.info(o)
		return nil
	})
	if err != nil {
		info = nil
	}
	return info, err
}

// Create is of bucket.Store.
func (m *Memory) Create(ctx context.Context, key string, body bucket.Body, as bucket.Meta) (*bucket.Info, error) {
	return m.write(ctx, "create", key, body, as, func(o *object) error {
		if o != nil {
			return fmt.Errorf("%s: %w", key, bucket.ErrExists)
		}
		return nil
	})
}

// Swap is of bucket.Store.
func (m *Memory) Swap(ctx context.Context, key, etag string, body bucket.Body, as bucket.Meta) (*bucket.Info, error) {
	return m.write(ctx, "swap", key, body, as, func(o *object) error {
		if o == nil || etag == "" || o.info.ETag != etag {
			return fmt.Errorf("%s: %w", key, bucket.ErrMoved)
		}
		return nil
	})
}

func (m *Memory) write(ctx context.Context, op, key string, body bucket.Body, as bucket.Meta,
	allowed func(*object) error) (info *bucket.Info, err error) {
	r, err := body.Open(0)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	err = m.request(ctx, Request{Op: op, Key: key, Size: int64(len(data))}, func(Fault) error {
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != body.SHA256 || int64(len(data)) != body.Size {
			return refusal(400, "BadDigest", "the body is not what its digest says")
		}
		if err := allowed(m.objects[key]); err != nil {
			return err
		}
		info = m.info(m.put(key, data, as))
		return nil
	})
	if err != nil {
		info = nil
	}
	return info, err
}

// Delete is of bucket.Store.
func (m *Memory) Delete(ctx context.Context, keys []string, all bool) (stay []bucket.Stay, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	keys = slices.Clone(keys)
	err = m.request(ctx, Request{Op: "delete", Key: keys[0], Keys: keys}, func(Fault) error {
		stay = nil
		for _, key := range keys {
			if m.Sticky != nil {
				if err := m.Sticky(key); err != nil {
					stay = append(stay, bucket.Stay{Key: key, Err: err})
					continue
				}
			}
			if m.objects[key] != nil && m.Versions {
				m.versions[key]++
			}
			delete(m.objects, key)
			if all {
				delete(m.versions, key)
			}
		}
		return nil
	})
	return stay, err
}

// List is of bucket.Store.
func (m *Memory) List(ctx context.Context, prefix, after string) iter.Seq2[*bucket.Info, error] {
	return func(yield func(*bucket.Info, error) bool) {
		var page []*bucket.Info
		err := m.request(ctx, Request{Op: "list", Key: prefix}, func(Fault) error {
			page = nil
			for _, key := range m.keys(prefix) {
				if key > after {
					info := m.info(m.objects[key])
					info.SHA256, info.Owner, info.ContentType = "", "", ""
					page = append(page, info)
				}
			}
			return nil
		})
		if err != nil {
			yield(nil, err)
			return
		}
		slices.SortFunc(page, func(a, b *bucket.Info) int { return cmp.Compare(a.Key, b.Key) })
		for _, info := range page {
			if !yield(info, nil) {
				return
			}
		}
	}
}

var _ bucket.Store = (*Memory)(nil)

// Body is the body with these bytes.
func Body(data []byte) bucket.Body {
	sum := sha256.Sum256(data)
	return bucket.Body{Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]),
		Open: func(from int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data[from:])), nil }}
}
