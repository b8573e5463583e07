package bucket_test

import (
	"errors"
	"sync"
	"testing"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
)

func TestFound(t *testing.T) {
	w := newWorld(t)
	p := w.read()
	if p.Generation != 0 || p.Seq != 0 || string(p.Document) != "{\"index\": {}}\n" || p.Date.IsZero() || p.ETag == "" {
		t.Errorf("%+v", p)
	}
	other := birth()
	other.Repository, other.Format = "r2", "oci"
	got, err := w.newSite().Found(t.Context(), other)
	if err != nil || got.Repository != "r1" || got.Format != "plain" {
		t.Errorf("%+v, %v", got, err)
	}
}

// Of many founders one wins, and all see the same.
func TestFoundTogether(t *testing.T) {
	w := &world{t: t, store: buckettest.New(epoch)}
	var wait sync.WaitGroup
	for i := range 16 {
		s, b := w.newSite(), birth()
		b.Repository += string(rune('a' + i))
		wait.Go(func() {
			got, err := s.Found(t.Context(), b)
			if err != nil {
				t.Error(err)
				return
			}
			if p, err := s.Read(t.Context()); err != nil || p.Repository != got.Repository {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
	wait.Wait()
}

var errKilled = errors.New("killed")

// A founder that is killed at any step is followed by one who finishes.
func TestFoundKilled(t *testing.T) {
	for _, step := range []string{"before-found", "after-found", "before-pointer", "after-pointer"} {
		w := &world{t: t, store: buckettest.New(epoch)}
		w.site = w.newSite()
		w.site.Step = func(name string) error {
			if name == step {
				return errKilled
			}
			return nil
		}
		if _, err := w.site.Found(t.Context(), birth()); !errors.Is(err, errKilled) {
			t.Errorf("%s: %v", step, err)
		}
		w.site = w.newSite()
		_, err := w.site.Join(t.Context())
		if step == "before-found" {
			if !errors.Is(err, bucket.ErrNotFound) {
				t.Error(err)
			}
			continue
		}
		if err != nil || string(w.read().Document) != "{\"index\": {}}\n" {
			t.Errorf("%s: %v", step, err)
		}
	}
}

func TestFoundForeign(t *testing.T) {
	w := &world{t: t, store: buckettest.New(epoch)}
	w.store.Set("index.json", []byte(`{"format":"index:1.0"}`), "")
	if _, err := w.newSite().Found(t.Context(), birth()); !errors.Is(err, bucket.ErrForeign) {
		t.Error(err)
	}
	if keys := w.store.Keys(""); len(keys) != 1 {
		t.Error(keys)
	}
	for data, want := range map[string]error{`{}`: bucket.ErrForeign, `{"version":2}`: generation.ErrNewer,
		`{"version":1}`: bucket.ErrDamaged} {
		w.store.Set("_publish/repository.json", []byte(data), "")
		if _, err := w.newSite().Found(t.Context(), birth()); !errors.Is(err, want) {
			t.Errorf("%s: %v", data, err)
		}
	}
}

// A pointer that others overwrote or deleted is told, and never begun anew.
func TestPointerOfOthers(t *testing.T) {
	w := newWorld(t)
	w.must(map[string]string{"a": "one"})
	good := w.store.Data("index.json")
	w.store.Set("index.json", []byte(`{"format":"index:1.0"}`), "")
	bad := new(bucket.PointerError)
	if _, err := w.site.Read(t.Context()); !errors.Is(err, bucket.ErrForeign) || !errors.As(err, &bad) || bad.ETag == "" {
		t.Error(err)
	}
	w.store.Remove("index.json")
	if _, err := w.newSite().Found(t.Context(), birth()); !errors.Is(err, bucket.ErrLost) {
		t.Error(err)
	}
	if _, err := w.site.Read(t.Context()); !errors.Is(err, bucket.ErrLost) {
		t.Error(err)
	}
	w.store.Set("index.json", good, "r1")
	base := w.read()
	w.store.Set("index.json", []byte(`{"publish":`), "")
	_, err := w.site.Read(t.Context())
	if !errors.As(err, &bad) {
		t.Fatal(err)
	}
	base.ETag = bad.ETag
	w.ok2(w.site.Commit(t.Context(), base, bucket.Commit{Nonce: bucket.NewNonce(), Force: true}))
	w.store.Remove("index.json")
	base = &bucket.Pointer{}
	*base = bucket.Pointer{Version: 1, Repository: "r1", Seq: 7, Settled: true}
	w.ok2(w.site.Commit(t.Context(), base, bucket.Commit{Nonce: bucket.NewNonce(), Force: true}))
	if p := w.read(); p.Seq != 8 {
		t.Errorf("%+v", p)
	}
}
