package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
)

func TestCommit(t *testing.T) {
	w := newWorld(t)
	first := w.must(map[string]string{"a": "one", "p.html": "page"})
	if first.Generation != 1 || first.Seq != 1 || first.Settled || first.ETag == "" || first.Date.IsZero() {
		t.Errorf("%+v", first)
	}
	second := w.must(map[string]string{"a": "one", "b": "two", "p.html": "page 2"})
	if diff := cmp.Diff(second, w.read(), cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Date" },
		cmp.Ignore())); diff != "" {
		t.Error(diff)
	}
	if string(second.Document) != "{\"index\": 2}\n" || len(second.Kept) != 1 || second.Kept[0] != *first.Manifest {
		t.Errorf("%+v", second)
	}
	if diff := cmp.Diff([]string{"promote 2", "promote 1"}, w.lines(second)); diff != "" {
		t.Error(diff)
	}
	pending := &bucket.Pending{Who: "w", Until: epoch}
	third, err := w.site.Commit(t.Context(), second, bucket.Commit{Nonce: bucket.NewNonce(), Settled: true,
		Pending: pending})
	w.ok(err)
	if !third.Settled || third.Pending == nil || third.Generation != 2 || third.Seq != 3 || third.Event != second.Event ||
		string(third.Document) != string(second.Document) || string(third.History) != "2" {
		t.Errorf("%+v", third)
	}
	fourth, err := w.site.Commit(t.Context(), third, bucket.Commit{Nonce: bucket.NewNonce(), Event: []byte("hold")})
	w.ok(err)
	if !fourth.Settled || fourth.Pending == nil {
		t.Errorf("%+v", fourth)
	}
	fifth, err := w.site.Commit(t.Context(), fourth, bucket.Commit{Nonce: bucket.NewNonce(), Checked: true})
	w.ok(err)
	if fifth.Pending != nil || !fifth.Settled {
		t.Errorf("%+v", fifth)
	}
	w.whole()
	moved := new(bucket.MovedError)
	if _, err := w.promote(t.Context(), w.site, third, nil); !errors.As(err, &moved) || moved.Now.Nonce != fifth.Nonce {
		t.Error(err)
	}
	for name, c := range map[string]bucket.Commit{
		"no nonce":                  {},
		"a number twice":            {Nonce: bucket.NewNonce(), Manifest: manifest(2, 1, nil)},
		"what is not kept":          {Nonce: bucket.NewNonce(), Kept: []int{9}},
		"a line that is not text":   {Nonce: bucket.NewNonce(), Event: []byte("\xff")},
		"a document that is a list": {Nonce: bucket.NewNonce(), Document: []byte("[]")},
	} {
		if _, err := w.site.Commit(t.Context(), fifth, c); err == nil || errors.As(err, &moved) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Only 64 commits are remembered.
func TestCommitMany(t *testing.T) {
	w := newWorld(t)
	p := w.read()
	for range 70 {
		next, err := w.site.Commit(t.Context(), p, bucket.Commit{Nonce: bucket.NewNonce(), Event: []byte("x")})
		w.ok(err)
		p = next
	}
	if p = w.read(); len(p.Commits) != 64 || p.Commits[0].Seq != 7 || p.Seq != 70 {
		t.Errorf("%d commits from %d", len(p.Commits), p.Commits[0].Seq)
	}
}

// The requests of a promote of one file among many: no list, and few bytes.
func TestCommitRequests(t *testing.T) {
	w := newWorld(t)
	files := map[string]string{}
	for i := range 20_000 {
		files[fmt.Sprintf("images/%05d", i)] = fmt.Sprint(i)
	}
	base := w.read()
	w.ok2(w.site.Commit(t.Context(), base, bucket.Commit{Nonce: bucket.NewNonce(), Event: []byte("x"),
		Manifest: manifest(1, 0, files)}))
	w.site = w.newSite()
	w.site.Cache = t.TempDir()
	w.ok2(w.site.Join(t.Context()))
	base = w.read()
	files["images/00777-new"] = "new"
	w.ok2(w.site.Manifest(t.Context(), *base.Manifest))
	w.store.Counts()
	base = w.read()
	w.ok2(w.site.Upload(t.Context(), base, uploads(map[string]string{"images/00777-new": "new"})))
	w.ok2(w.site.Commit(t.Context(), base, bucket.Commit{Nonce: bucket.NewNonce(), Event: []byte("x"),
		Manifest: manifest(2, 1, files)}))
	counts, sent := w.store.Counts()
	if diff := cmp.Diff(map[string]int{"get": 1, "create": 3, "swap": 1}, counts); diff != "" || sent > 10_000 {
		t.Errorf("%d bytes; %s", sent, diff)
	}
	now := w.read()
	if now.Manifest.Bytes > 4<<10 || now.Manifest.Depth != 1 {
		t.Errorf("%+v", now.Manifest)
	}
	s := w.newSite()
	w.ok2(s.Join(t.Context()))
	m, err := s.Manifest(t.Context(), *now.Manifest)
	if err != nil || len(m.Own) != 20_001 {
		t.Errorf("%v", err)
	}
}

// Each request of a promote is spoiled in each way. Production is the old one or the new
// one, a promote that succeeds is there once, and one that fails leaves things as they were.
func TestCommitFaults(t *testing.T) {
	kinds := map[string]buckettest.Fault{"never sent": buckettest.NeverSent, "lost": buckettest.Lost,
		"twice": buckettest.Twice, "refused": buckettest.Refused, "late": buckettest.Late, "cut": buckettest.Cut}
	for name, kind := range kinds {
		for _, again := range []int{1, 3, 1000} {
			for at := 0; ; at++ {
				w := newWorld(t)
				w.must(map[string]string{"a": "one"})
				w.store.Counts()
				n := 0
				var spoiled *buckettest.Request
				w.store.Fault = func(r buckettest.Request) buckettest.Fault {
					n++
					if n-1 >= at && n-1 < at+again {
						spoiled = &r
						return kind
					}
					return buckettest.None
				}
				what := fmt.Sprintf("%d x %s at %d", again, name, at)
				base, err := w.site.Read(t.Context())
				if err == nil {
					_, err = w.promote(t.Context(), w.site, base, map[string]string{"a": "one", "b": "two", "p.html": "page"})
				}
				w.store.Fault = nil
				w.store.Advance(20 * time.Minute) // what is late lands, or is void
				now := w.read()
				lines := w.lines(now)
				switch {
				case err == nil && (now.Generation != 2 || len(lines) != 2):
					t.Errorf("%s: it succeeds, and generation %d is there", what, now.Generation)
				case err != nil && now.Generation == 2 && !errors.Is(err, bucket.ErrOutcome):
					t.Errorf("%s: it fails, and is there: %v", what, err)
				case err != nil && again == 1 && kind != buckettest.Refused:
					t.Errorf("%s: one fault is too much: %v", what, err)
				case errors.Is(err, bucket.ErrOutcome) && spoiled.Op != "swap" && spoiled.Op != "get":
					t.Errorf("%s: %v", what, err)
				}
				w.whole()
				if spoiled == nil {
					break
				}
			}
		}
	}
}

// Somebody builds on a commit whose answer is lost: it is ours, however many come between.
func TestCommitLostAndBuiltOn(t *testing.T) {
	for _, between := range []int{0, 1, 63, 64, 200} {
		w := newWorld(t)
		base := w.must(map[string]string{"a": "one"})
		other := w.newSite()
		w.ok2(other.Join(t.Context()))
		swaps := 0
		busy := false
		w.store.Before = func(ctx context.Context, r buckettest.Request) error {
			if r.Op != "get" || r.Key != "index.json" || swaps == 0 || busy {
				return nil
			}
			busy, swaps = true, 0
			defer func() { busy = false }()
			p, err := other.Read(ctx)
			for range between {
				if err == nil {
					p, err = other.Commit(ctx, p, bucket.Commit{Nonce: bucket.NewNonce(), Event: []byte("x")})
				}
			}
			return err
		}
		w.store.Fault = func(r buckettest.Request) buckettest.Fault {
			if r.Op == "swap" && !busy && swaps == 0 {
				swaps++
				return buckettest.Lost
			}
			return buckettest.None
		}
		got, err := w.promote(t.Context(), w.site, base, map[string]string{"a": "one", "b": "two"})
		if err != nil || got.Generation != 2 || (got.ETag == "") != (between > 0) {
			t.Fatalf("%d: %+v, %v", between, got, err)
		}
		w.store.Fault, w.store.Before = nil, nil
		_, err = w.site.Commit(t.Context(), got, bucket.Commit{Nonce: bucket.NewNonce(), Settled: true})
		if moved := new(bucket.MovedError); errors.As(err, &moved) != (between > 0) {
			t.Errorf("%d: %v", between, err)
		}
		done, _, err := w.site.Outcome(t.Context(), base.Seq, got.Nonce)
		if err != nil || !done {
			t.Errorf("%d: %v, %v", between, done, err)
		}
		w.whole()
	}
}

// A sleeper's base is gone, by however many commits: it is told so.
func TestCommitSleeper(t *testing.T) {
	for _, between := range []int{1, 63, 64, 65, 200} {
		w := newWorld(t)
		base := w.must(map[string]string{"a": "one"})
		p := base
		for range between {
			next, err := w.site.Commit(t.Context(), p, bucket.Commit{Nonce: bucket.NewNonce(), Event: []byte("x")})
			w.ok(err)
			p = next
		}
		sleeper := w.newSite()
		w.ok2(sleeper.Join(t.Context()))
		moved := new(bucket.MovedError)
		if _, err := w.promote(t.Context(), sleeper, base, nil); !errors.As(err, &moved) || moved.Now.Nonce != p.Nonce {
			t.Errorf("%d: %v", between, err)
		}
	}
}

// Outcome finds out what became of a swap that is still under way, and ends it.
func TestOutcome(t *testing.T) {
	for _, land := range []bool{false, true} {
		w := newWorld(t)
		base := w.must(map[string]string{"a": "one"})
		w.store.Delay = func() time.Duration { return 10 * time.Minute }
		w.store.Fault = func(r buckettest.Request) buckettest.Fault {
			if r.Op == "swap" {
				return buckettest.Late
			}
			return buckettest.None
		}
		nonce := bucket.NewNonce()
		_, err := w.site.Commit(t.Context(), base, bucket.Commit{Nonce: nonce, Event: []byte("x")})
		if !errors.Is(err, bucket.ErrOutcome) {
			t.Fatal(err)
		}
		w.store.Fault = nil
		if land {
			w.store.Advance(20 * time.Minute)
		}
		done, now, err := w.site.Outcome(t.Context(), base.Seq, nonce)
		if err != nil || done != land || now.Seq != base.Seq+1 {
			t.Errorf("%v: %v, %v", land, done, err)
		}
		w.store.Advance(20 * time.Minute)
		if p := w.read(); p.Nonce != now.Nonce {
			t.Error("the swap has landed after Outcome")
		}
	}
}

// Manifests are whole every 32nd time, and what they differ from is never missing.
func TestManifestChain(t *testing.T) {
	w := newWorld(t)
	w.site.Cache = t.TempDir()
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("images/%03d", i)] = fmt.Sprint(i)
	}
	var depths []int
	for i := range 70 {
		files[fmt.Sprintf("new/%d", i)] = fmt.Sprint(i)
		p := w.must(files)
		depths = append(depths, p.Manifest.Depth)
	}
	for i, d := range depths {
		if d != i%32 {
			t.Fatal(depths)
		}
	}
	clear(files)
	files["other"] = "other"
	if p := w.must(files); p.Manifest.Depth != 0 {
		t.Errorf("%+v", p.Manifest)
	}
	w.whole()
}

// What is damaged in the cache is fetched anew, in the store it is told with its key.
func TestDamaged(t *testing.T) {
	w := newWorld(t)
	w.site.Cache = t.TempDir()
	w.must(map[string]string{"a": "one", "p.html": "page"})
	files := map[string]string{"a": "one", "p.html": "page"}
	for i := range 50 {
		files[fmt.Sprint(i)] = "x"
	}
	w.must(files)
	files["b"] = "two"
	p := w.must(files)
	row := rows(map[string]string{"p.html": "page"})[0]
	use := func() error {
		s := w.newSite()
		s.Cache = w.site.Cache
		w.ok2(s.Join(t.Context()))
		_, err := s.Manifest(t.Context(), *p.Manifest)
		if err == nil {
			_, err = s.File(t.Context(), row)
		}
		for _, eventErr := range s.Events(t.Context(), p.Event) {
			err = errors.Join(err, eventErr)
		}
		return err
	}
	w.ok(use())
	spoilAll(t, w.site.Cache)
	w.ok(use())
	w.site.Cache = t.TempDir()
	keys := slices.Concat(w.store.Keys("_publish/events/"), w.store.Keys("_publish/files/"),
		[]string{p.Manifest.Key, p.Manifest.Base})
	for _, key := range keys {
		good := w.store.Data(key)
		bad := slices.Clone(good)
		bad[len(bad)-1] ^= 1
		for _, data := range [][]byte{bad, nil, good[:len(good)/2]} {
			w.store.Set(key, data, "r1")
			if err := use(); err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("%s: %v", key, err)
			}
			w.site.Cache = t.TempDir()
		}
		w.store.Remove(key)
		if err := use(); !errors.Is(err, bucket.ErrNotFound) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
		w.store.Set(key, good, "r1")
		w.site.Cache = t.TempDir()
	}
	w.ok(use())
}

// Many at once lose nothing.
func TestCommitTogether(t *testing.T) {
	w := newWorld(t)
	w.must(map[string]string{"a": "one"})
	const many = 16
	failed := make(chan error, many)
	for i := range many {
		s := w.newSite()
		w.ok2(s.Join(t.Context()))
		go func() {
			failed <- func() error {
				p, err := s.Read(t.Context())
				for lost := 0; err == nil; lost++ {
					var m = map[string]string{}
					old, merr := s.Manifest(t.Context(), *p.Manifest)
					if merr != nil {
						return merr
					}
					for _, row := range old.Own {
						m[row.Path] = string(w.store.Data(row.Path))
					}
					maps.Copy(m, map[string]string{fmt.Sprintf("new/%d", i): fmt.Sprint(i)})
					done, terr := s.Turn(t.Context(), lost, 0)
					if terr != nil {
						return terr
					}
					_, err = w.promote(t.Context(), s, p, m)
					done()
					if err == nil {
						return nil
					}
					if moved := new(bucket.MovedError); errors.As(err, &moved) {
						p, err = moved.Now, nil
					}
				}
				return err
			}()
		}()
	}
	for range many {
		w.ok(<-failed)
	}
	p := w.read()
	m, err := w.site.Manifest(t.Context(), *p.Manifest)
	if err != nil || p.Generation != 1+many || len(m.Own) != 1+many {
		t.Errorf("generation %d, %v", p.Generation, err)
	}
	w.whole()
}

// A swap that took effect can be answered with 412, if it was sent twice on the way. If
// nobody can look then, nobody knows; after a refusal, everybody does.
func TestCommitUnknown(t *testing.T) {
	for fault, want := range map[buckettest.Fault]bool{buckettest.NeverSent: true, buckettest.Lost: true,
		buckettest.Twice: true, buckettest.Late: true, buckettest.Refused: false} {
		w := newWorld(t)
		base := w.read()
		swapped := false
		w.store.Fault = func(r buckettest.Request) buckettest.Fault {
			switch {
			case r.Op == "swap" && !swapped:
				swapped = true
				return fault
			case swapped:
				return buckettest.NeverSent
			}
			return buckettest.None
		}
		start := w.store.Now()
		_, err := w.site.Commit(t.Context(), base, bucket.Commit{Nonce: bucket.NewNonce()})
		waited := w.store.Now().Sub(start)
		if err == nil || errors.Is(err, bucket.ErrOutcome) != want || (waited < 2*time.Minute) == want ||
			waited > 3*time.Minute {
			t.Errorf("fault %d: after %s, %v", fault, waited, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		swapped = false
		w.store.Before = func(_ context.Context, r buckettest.Request) error {
			if swapped {
				cancel()
			}
			return nil
		}
		_, err = w.site.Commit(ctx, base, bucket.Commit{Nonce: bucket.NewNonce()})
		if errors.Is(err, bucket.ErrOutcome) != want || errors.Is(err, context.Canceled) != want {
			t.Errorf("fault %d, and stopped: %v", fault, err)
		}
	}
}
