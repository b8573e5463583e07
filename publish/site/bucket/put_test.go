package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
)

func page(data string) []bucket.Upload {
	return []bucket.Upload{{Key: "page.html", Body: buckettest.Body([]byte(data)), Type: "text/html"}}
}

func TestPut(t *testing.T) {
	w := newWorld(t)
	old := w.must(map[string]string{"a": "one"})
	w.ok2(w.site.Put(t.Context(), old, page("1")))
	w.ok2(w.site.Put(t.Context(), old, page("1")))
	now := w.must(map[string]string{"a": "one", "b": "two"})
	moved := new(bucket.MovedError)
	if _, err := w.site.Put(t.Context(), old, page("old")); !errors.As(err, &moved) {
		t.Error(err)
	}
	for _, fault := range []buckettest.Fault{buckettest.NeverSent, buckettest.Lost, buckettest.Twice, buckettest.Cut} {
		for at := range 4 {
			n := 0
			w.store.Fault = func(buckettest.Request) buckettest.Fault {
				if n++; n-1 == at {
					return fault
				}
				return buckettest.None
			}
			want := string(rune('a' + at))
			if _, err := w.site.Put(t.Context(), now, page(want)); err != nil || string(w.store.Data("page.html")) != want {
				t.Errorf("%d at %d: %v", fault, at, err)
			}
		}
	}
	w.store.Fault = nil
	w.store.Set("page.html", []byte("theirs"), "")
	replaced := new(bucket.ReplacedError)
	if _, err := w.site.Put(t.Context(), now, page("x")); !errors.As(err, &replaced) || !replaced.Foreign {
		t.Error(err)
	}
	if string(w.store.Data("page.html")) != "theirs" {
		t.Error("it is overwritten")
	}
}

// Many are put at once; those of a later stage come last, also if one of the first fails.
func TestPutMany(t *testing.T) {
	w := newWorld(t)
	now := w.must(map[string]string{"a": "one"})
	list := []bucket.Upload{}
	for i := range 20 {
		list = append(list, bucket.Upload{Key: fmt.Sprint("tags/", i), Body: buckettest.Body([]byte{byte(i)}), Fresh: i%2 == 0})
	}
	list = append(list, bucket.Upload{Key: "list", Body: buckettest.Body([]byte("list")), Stage: 1, Fresh: true})
	w.store.Set("tags/4", []byte("old"), "r1") // it was expected to be absent
	for try := range 2 {
		w.store.Counts()
		w.ok2(w.site.Put(t.Context(), now, list))
		for _, u := range list {
			if data := w.store.Data(u.Key); int64(len(data)) != u.Body.Size {
				t.Errorf("%s is %q", u.Key, data)
			}
		}
		if n, _ := w.store.Counts(); try > 0 && n["create"]+n["swap"] != 0 {
			t.Errorf("written again: %v", n)
		}
		for i := range list {
			list[i].Fresh = false
		}
	}
	w = newWorld(t)
	now = w.must(map[string]string{"a": "one"})
	w.store.Fault = func(r buckettest.Request) buckettest.Fault {
		if r.Key == "tags/7" && r.Op == "create" {
			return buckettest.NeverSent
		}
		return buckettest.None
	}
	if wrote, err := w.site.Put(t.Context(), now, list); err == nil || !wrote {
		t.Error(wrote, err)
	}
	if w.store.Data("list") != nil {
		t.Error("the list names what is not there")
	}
}

// Clean deletes what production does not have, and forgets who left it. What somebody is
// about to write is not among what is condemned.
func TestClean(t *testing.T) {
	w := newWorld(t)
	now := w.must(map[string]string{"a": "one"})
	w.ok2(w.site.Put(t.Context(), now, []bucket.Upload{{Key: "t1", Body: buckettest.Body([]byte("1"))},
		{Key: "t2", Body: buckettest.Body([]byte("2"))}}))
	next := manifest(2, 1, map[string]string{"a": "one", "b": "two"})
	w.ok2(w.site.Upload(t.Context(), now, uploads(map[string]string{"b": "two"})))
	now, err := w.site.Commit(t.Context(), now, bucket.Commit{Nonce: bucket.NewNonce(), Manifest: next, Left: []int{1}, Settled: true})
	w.ok(err)
	if p := w.read(); !slices.Equal(p.Left, []int{1}) {
		t.Fatal(p.Left)
	}
	stale := w.newSite()
	w.ok2(stale.Join(t.Context()))
	w.site.Options.Beside = func(context.Context, *generation.Manifest) ([]string, error) { return []string{"t2"}, nil }
	if _, err := w.site.Clean(t.Context(), now, []string{"index.json"}); err == nil {
		t.Error("the pointer can be deleted")
	}
	w.store.Before = func(_ context.Context, r buckettest.Request) error {
		if r.Op != "delete" || r.Key != "t1" {
			return nil
		}
		// While the gc deletes, nobody can promise the key.
		base, err := stale.Read(t.Context())
		w.ok(err)
		_, err = stale.Commit(t.Context(), base, bucket.Commit{Nonce: bucket.NewNonce(),
			Manifest: manifest(3, 2, map[string]string{"a": "one"}), Beside: []string{"t1"}})
		if condemned := new(bucket.CondemnedError); !errors.As(err, &condemned) || condemned.Key != "t1" {
			t.Error(err)
		}
		return nil
	}
	w.ok2(w.site.Clean(t.Context(), now, []string{"t1", "t2"}))
	w.store.Before = nil
	if p := w.read(); len(p.Left) != 0 || p.Condemned != nil || w.store.Data("t1") != nil || w.store.Data("t2") == nil {
		t.Errorf("%+v", p)
	}
	moved := new(bucket.MovedError)
	if _, err := w.site.Clean(t.Context(), now, []string{"t2"}); !errors.As(err, &moved) {
		t.Error(err)
	}
}

// A process that was asleep at any request does not overwrite what a later one has put.
func TestPutAsleep(t *testing.T) {
	for at := 0; ; at++ {
		w := newWorld(t)
		old := w.must(map[string]string{"a": "one"})
		w.ok2(w.site.Put(t.Context(), old, page("0")))
		n, busy := 0, false
		w.store.Before = func(ctx context.Context, _ buckettest.Request) error {
			if n++; n-1 != at || busy {
				return nil
			}
			busy = true
			other := w.newSite()
			w.ok2(other.Join(ctx))
			base, err := other.Read(ctx)
			w.ok(err)
			now, err := w.promote(ctx, other, base, map[string]string{"a": "one", "b": "two"})
			w.ok(err)
			w.ok2(other.Put(ctx, now, page("new")))
			return nil
		}
		_, err := w.site.Put(t.Context(), old, page("old"))
		if moved := new(bucket.MovedError); err != nil && !errors.As(err, &moved) {
			t.Error(err)
		}
		if !busy {
			break
		}
		if got := string(w.store.Data("page.html")); got != "new" {
			t.Errorf("asleep at %d: %q", at, got)
		}
	}
}

func TestUpload(t *testing.T) {
	w := newWorld(t)
	base := w.read()
	list := uploads(map[string]string{"a": "one", "b": "two"})
	sent, err := w.site.Upload(t.Context(), base, append(list, list...))
	if counts, _ := w.store.Counts(); err != nil || sent != 6 || counts["create"] != 4 { // with those of Found
		t.Errorf("%d, %v, %v", sent, counts, err)
	}
	if _, err := w.site.Upload(t.Context(), base, append(list, uploads(map[string]string{"a": "1"})...)); err == nil {
		t.Error("a key gets two contents")
	}
	replaced := new(bucket.ReplacedError)
	for _, noSums := range []bool{false, true} {
		w.store.NoSums = noSums
		w.store.Set("x", []byte("one"), "r1")
		w.store.Set("foreign", []byte("one"), "")
		for key, c := range map[string]struct{ data, want string }{
			"x": {"one", ""}, "foreign": {"one", "foreign: is an object that this repository did not make"}} {
			s := w.newSite()
			w.ok2(s.Join(t.Context()))
			_, err := s.Upload(t.Context(), base, uploads(map[string]string{key: c.data}))
			if got := ""; err != nil {
				if got = err.Error(); got != c.want || !errors.As(err, &replaced) {
					t.Error(err)
				}
			} else if c.want != "" {
				t.Errorf("%s is accepted", key)
			}
			for _, other := range []string{"two", "more"} {
				if _, err := s.Upload(t.Context(), base, uploads(map[string]string{key: other})); !errors.As(err, &replaced) {
					t.Errorf("%s: %v", other, err)
				}
			}
		}
	}
}

// The same document packed by another version is the same document.
func TestUploadPacked(t *testing.T) {
	w := newWorld(t)
	base := w.read()
	good := uploads(map[string]string{"p.html": "page"})[0]
	other := good
	other.Body = buckettest.Body(packedOtherwise(t, "page"))
	w.ok2(w.site.Upload(t.Context(), base, []bucket.Upload{other}))
	s := w.newSite()
	w.ok2(s.Join(t.Context()))
	w.ok2(s.Upload(t.Context(), base, []bucket.Upload{good}))
	w.store.Set(good.Key, packedOtherwise(t, "other"), "r1")
	s = w.newSite()
	w.ok2(s.Join(t.Context()))
	replaced := new(bucket.ReplacedError)
	if _, err := s.Upload(t.Context(), base, []bucket.Upload{good}); !errors.As(err, &replaced) {
		t.Error(err)
	}
}

func TestVerify(t *testing.T) {
	w := newWorld(t)
	files := map[string]string{"a": "one", "b": "two", "c": "three", "d": "four", "p.html": "page"}
	w.must(files)
	read := int64(0)
	check := func(full bool) (facts []string) {
		var checks []bucket.Check
		for _, r := range rows(files) {
			c := bucket.Check{Key: r.Path, Row: r}
			if r.Path == "p.html" {
				c.Key = bucket.KeyOf(r)
			}
			checks = append(checks, c)
		}
		flaws, n, err := w.site.Verify(t.Context(), slices.Values(checks), full)
		w.ok(err)
		read = n
		for _, f := range flaws {
			facts = append(facts, f.Key+" "+f.Fact)
		}
		return facts
	}
	if got := check(false); got != nil || read != 0 {
		t.Error(got, read)
	}
	if got := check(true); got != nil || read != int64(len("onetwothreefourpage")) {
		t.Error(got, read)
	}
	w.store.Set("a", []byte("1"), "r1")
	w.store.Set("b", []byte("TWO"), "r1")
	w.store.Remove("c")
	w.store.Set("d", []byte("four"), "")
	key := bucket.KeyOf(rows(map[string]string{"p.html": "page"})[0])
	w.store.Set(key, packedOtherwise(t, "other"), "r1")
	want := []string{"a has 1 bytes, and not 3", "b has other bytes", "c is missing",
		"d is an object that this repository did not make"}
	if diff := cmp.Diff(want, check(false)); diff != "" {
		t.Error(diff)
	}
	w.store.NoSums = true
	w.store.Set("b", []byte("TWO"), "r1")
	if diff := cmp.Diff(append(want, key+" has other bytes"), check(true)); diff != "" {
		t.Error(diff)
	}
	if want := int64(len("TWO") + len("other")); read != want { // what is missing, or others', was not
		t.Errorf("%d bytes were read, not %d", read, want)
	}
}

// The turn goes to one at a time, is given back, and does not outlive its holder for long.
func TestTurn(t *testing.T) {
	w := newWorld(t)
	for lost := range 3 {
		done, err := w.site.Turn(t.Context(), lost, 0)
		w.ok(err)
		done()
	}
	if w.store.Data("_publish/turn") != nil {
		t.Error("the turn is taken after few losses")
	}
	done, err := w.site.Turn(t.Context(), 3, 0)
	w.ok(err)
	other := w.newSite()
	w.ok2(other.Join(t.Context()))
	start := w.store.Now()
	w.ok2(other.Turn(t.Context(), 3, 0)) // it is never given back
	if d := w.store.Now().Sub(start); d < 25*time.Second || d > 40*time.Second {
		t.Errorf("the turn comes after %s", d)
	}
	done() // too late: it is another's
	start = w.store.Now()
	done, err = w.site.Turn(t.Context(), 3, 0)
	w.ok(err)
	if d := w.store.Now().Sub(start); d < 25*time.Second {
		t.Errorf("the turn of another is taken after %s", d)
	}
	done()
	start = w.store.Now()
	w.ok2(other.Turn(t.Context(), 3, 0))
	if d := w.store.Now().Sub(start); d > 10*time.Second {
		t.Errorf("the turn is not given back: %s", d)
	}
	w.store.Set("_publish/turn", []byte("{"), "")
	w.ok2(w.site.Turn(t.Context(), 4, 0))
	w.store.Fault = func(buckettest.Request) buckettest.Fault { return buckettest.Refused }
	w.ok2(w.site.Turn(t.Context(), 4, 0)) // it is advice
}
