package bucket_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/publish/site/bucket"
)

// A pointer that others deleted or overwrote is made anew from the newest manifest that can
// be read, and production goes on from there.
func TestRescue(t *testing.T) {
	files := map[string]string{}
	for i := range 60 {
		files[fmt.Sprint(i)] = "x"
	}
	for _, spoil := range []bool{false, true} {
		w := newWorld(t)
		if _, _, err := w.site.Rescue(t.Context()); err == nil {
			t.Error("a pointer is made from nothing")
		}
		w.must(files)
		files["more"] = "more"
		second := w.must(files)
		files["again"] = "again"
		third := w.must(files)
		w.ok2(w.site.Commit(t.Context(), third, bucket.Commit{Nonce: bucket.NewNonce(), Event: []byte("hold")}))
		want, event := 3, w.read().Event
		if spoil {
			w.store.Set(third.Manifest.Key, []byte("?"), "r1")
			want, event = 2, second.Event
		}
		w.store.Set("index.json", []byte("{}"), "")
		s := w.newSite()
		_, err := s.Join(t.Context())
		bad := new(bucket.PointerError)
		if !errors.As(err, &bad) {
			t.Fatal(err)
		}
		p, highest, err := s.Rescue(t.Context())
		w.ok(err)
		if highest != 3 || p.Generation != want || p.Event != event || p.Manifest.Depth != want-1 || len(p.Bases) != want-1 {
			t.Errorf("%+v", p)
		}
		p.ETag = bad.ETag
		now, err := s.Commit(t.Context(), p, bucket.Commit{Nonce: bucket.NewNonce(), Event: []byte("recover"), Force: true,
			Document: []byte(`{"index":3}`)})
		w.ok(err)
		if diff := cmp.Diff("recover", w.lines(now)[0]); diff != "" {
			t.Error(diff)
		}
		w.whole()
		w.must(files)
		w.whole()
	}
}
