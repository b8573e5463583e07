package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
	"example.com/publish/publish/site/bucket/store"
	"example.com/publish/publish/site/bucket/storetest"
)

func opened(t *testing.T, server *storetest.Server) *store.Store {
	t.Helper()
	server.Setenv(t)
	s, err := store.Open(t.Context(), store.Config{Bucket: server.Bucket, Endpoint: server.Endpoint, Prefix: "p",
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.CloseIdle)
	return s
}

func TestProbe(t *testing.T) {
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		s := opened(t, server)
		if err := bucket.Probe(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		for info := range s.List(t.Context(), "", "") {
			t.Errorf("left: %v", info)
		}
	})
}

// liar is a store that fails something.
type liar struct {
	bucket.Store
	create func(body bucket.Body) (lie bool)
	swap   func(key, etag string) (lie bool, err error)
	remove error
	meta   bool
}

func (l *liar) Create(ctx context.Context, key string, body bucket.Body, as bucket.Meta) (*bucket.Info, error) {
	if l.meta {
		as.Owner = ""
	}
	if l.create != nil && l.create(body) {
		return &bucket.Info{Key: key, ETag: "x"}, nil
	}
	return l.Store.Create(ctx, key, body, as)
}

func (l *liar) Swap(ctx context.Context, key, etag string, body bucket.Body, as bucket.Meta) (*bucket.Info, error) {
	if l.swap != nil {
		if lie, err := l.swap(key, etag); lie {
			return &bucket.Info{Key: key, ETag: etag}, err
		}
	}
	return l.Store.Swap(ctx, key, etag, body, as)
}

func (l *liar) Delete(ctx context.Context, keys []string, all bool) ([]bucket.Stay, error) {
	stay, err := l.Store.Delete(ctx, keys, all)
	if l.remove != nil {
		stay = append(stay, bucket.Stay{Key: keys[0], Err: l.remove})
	}
	return stay, err
}

func TestProbeRefuses(t *testing.T) {
	var n atomic.Int32
	for name, test := range map[string]struct {
		liar liar
		want string
	}{
		"create twice": {liar{create: func(bucket.Body) bool { return n.Add(1) == 2 }}, "replaces an object with a create"},
		"create together": {liar{create: func(bucket.Body) bool { i := n.Add(1); return i > 2 && i < 7 }},
			"writers at once won with a create"},
		"metadata": {liar{meta: true}, "does not keep what an object says"},
		"swap together": {liar{swap: func(string, string) (bool, error) { return n.Add(1) < 4, nil }},
			"writers at once won with a replacement"},
		"stale swap": {liar{swap: func(string, string) (bool, error) { return n.Add(1) > 16, nil }}, "that has changed"},
		"swap of nothing": {liar{swap: func(key, _ string) (bool, error) { return strings.HasSuffix(key, "missing"), nil }},
			"makes an object"},
		"no swap": {liar{swap: func(string, string) (bool, error) {
			return true, &bucket.Refusal{Status: 501, Code: "NotImplemented", Err: errors.New("the store says 501")}
		}}, "does not know a replacement"},
		"no winner": {liar{swap: func(string, string) (bool, error) { return n.Add(1) <= 16, bucket.ErrMoved }},
			"not that of the one who won"},
		// The creates before it: 2, 16, and 1.
		"wrong digest": {liar{create: func(bucket.Body) bool { return n.Add(1) == 20 }}, "checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			n.Store(0)
			test.liar.Store = opened(t, storetest.Fake(t))
			err := bucket.Probe(t.Context(), &test.liar)
			var told *fault.Error
			if !errors.As(err, &told) || told.Kind != fault.Usage || !strings.Contains(told.Fact, test.want) || told.Hint == "" {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			for info := range test.liar.List(t.Context(), "", "") {
				t.Errorf("left: %v", info)
			}
		})
	}
	denied := &bucket.Refusal{Code: "AccessDenied", Status: 403, Err: errors.New("denied")}
	err := bucket.Probe(t.Context(), &liar{Store: opened(t, storetest.Fake(t)), remove: denied})
	if !errors.Is(err, denied) {
		t.Errorf("no right to delete: %v", err)
	}
}

// tearing is a store with opaque ETags that answers reads with the bytes before the last write.
type tearing struct {
	bucket.Store
	mu     sync.Mutex
	real   map[string]string // ETags of the store, by those that it tells
	before []byte
	last   string
}

func (s *tearing) tell(info *bucket.Info, err error, text []byte) (*bucket.Info, error) {
	if err != nil {
		return info, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := *info
	out.ETag = fmt.Sprint("version ", len(s.real))
	s.real[out.ETag], s.last = info.ETag, out.ETag
	if len(s.real) == 1 {
		s.before = text
	}
	return &out, nil
}

func (s *tearing) Create(ctx context.Context, key string, body bucket.Body, as bucket.Meta) (*bucket.Info, error) {
	info, err := s.Store.Create(ctx, key, body, as)
	if !strings.HasSuffix(key, "-read") {
		return info, err
	}
	return s.tell(info, err, []byte("writer 0\n"))
}

func (s *tearing) Swap(ctx context.Context, key, etag string, body bucket.Body, as bucket.Meta) (*bucket.Info, error) {
	if !strings.HasSuffix(key, "-read") {
		return s.Store.Swap(ctx, key, etag, body, as)
	}
	s.mu.Lock()
	real := s.real[etag]
	s.mu.Unlock()
	info, err := s.Store.Swap(ctx, key, real, body, as)
	return s.tell(info, err, nil)
}

func (s *tearing) Get(ctx context.Context, key string, opt bucket.Get) (*bucket.Object, error) {
	o, err := s.Store.Get(ctx, key, opt)
	if err != nil || !strings.HasSuffix(key, "-read") {
		return o, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o.ETag = s.last
	return &bucket.Object{Info: o.Info, Body: io.NopCloser(bytes.NewReader(s.before))}, o.Body.Close()
}

func TestProbeRefusesTornReads(t *testing.T) {
	s := &tearing{Store: buckettest.New(time.Now()), real: map[string]string{}}
	for range 100 { // whether a read is beside a write is left to chance
		if err := bucket.Probe(t.Context(), s); err != nil {
			if !strings.Contains(err.Error(), "the ETag of another") {
				t.Fatal(err)
			}
			return
		}
		s.real = map[string]string{}
	}
	t.Fatal("a store that tears reads is accepted")
}
