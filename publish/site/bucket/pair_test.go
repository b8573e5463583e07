package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
)

// torn is a store that answers with the bytes from before the last write of a key, and the
// ETag from after it, so often.
type torn struct {
	*buckettest.Memory
	times int
	old   []byte
	gets  int
	tag   string // instead of every ETag
}

func (s *torn) Get(ctx context.Context, key string, opt bucket.Get) (*bucket.Object, error) {
	o, err := s.Memory.Get(ctx, key, opt)
	if key != "index.json" || err != nil {
		return o, err
	}
	if s.gets++; s.tag != "" {
		o.ETag = s.tag
	}
	if s.times > 0 {
		s.times--
		o.Body, o.Size = io.NopCloser(bytes.NewReader(s.old)), int64(len(s.old))
	}
	return o, nil
}

// Who gets old bytes with a new ETag does not build on them: the other's commit would be
// lost.
func TestTornPointer(t *testing.T) {
	w := newWorld(t)
	w.must(map[string]string{"a": "1"})
	old := w.store.Data("index.json")
	w.must(map[string]string{"a": "1", "b": "2"})
	s := &torn{Memory: w.store, times: 2, old: old}
	other := bucket.New(bucket.Options{Store: s, Who: "x", Workers: 1, Now: w.store.Now, Sleep: w.store.Sleep})
	w.ok2(other.Join(t.Context()))
	p, err := other.Read(t.Context())
	w.ok(err)
	if p.Generation != 2 || s.times != 0 {
		t.Fatalf("%+v, %d", p, s.times)
	}
	w.ok2(w.promote(t.Context(), other, p, map[string]string{"a": "1", "b": "2", "c": "3"}))
	if got := w.read(); got.Generation != 3 || len(got.Kept) != 2 {
		t.Errorf("%+v", got)
	}
}

// In a store whose ETags are no digests, that is found out once.
func TestOpaqueTags(t *testing.T) {
	w := newWorld(t)
	s := &torn{Memory: w.store, tag: `"00112233445566778899aabbccddeeff"`}
	dir := t.TempDir()
	site := func() *bucket.Site {
		return bucket.New(bucket.Options{Store: s, Who: "x", Workers: 1, Now: w.store.Now, Sleep: w.store.Sleep, Cache: dir})
	}
	for i, most := range []int{5, 1} {
		s.gets = 0
		w.ok2(site().Join(t.Context()))
		if s.gets > most {
			t.Errorf("%d: %d requests", i, s.gets)
		}
	}
	s.tag = `"not-a-digest"`
	s.gets = 0
	again := bucket.New(bucket.Options{Store: s, Who: "x", Workers: 1, Now: w.store.Now, Sleep: w.store.Sleep})
	if _, err := again.Join(t.Context()); err != nil || s.gets != 1 {
		t.Errorf("%v, %d requests", err, s.gets)
	}
	stop := errors.New("stop")
	s.tag = `"00112233445566778899aabbccddeeff"`
	again = bucket.New(bucket.Options{Store: s, Who: "x", Workers: 1, Now: w.store.Now,
		Sleep: func(context.Context, time.Duration) error { return stop }})
	if _, err := again.Join(t.Context()); !errors.Is(err, stop) {
		t.Error(err)
	}
}
