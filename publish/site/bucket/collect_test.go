package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
)

func line(*bucket.Pointer) (event, history []byte, err error) {
	return []byte("gc"), []byte(`"gc"`), nil
}

// three makes generations 1 to 3; only 1 has "old", only 2 has "was", and 3 carries it.
func three(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.must(map[string]string{"a": "one", "old": "old", "p.html": "1"})
	w.must(map[string]string{"a": "one", "was": "was", "p.html": "2"})
	row := rows(map[string]string{"was": "was"})[0]
	w.must(map[string]string{"a": "one", "b": "two", "p.html": "2"}, generation.Carried{Row: row, Dropped: 3})
	return w
}

func content(w *world) (keys []string) {
	for _, key := range w.store.Keys("") {
		if !strings.HasPrefix(key, "_publish/") && key != "index.json" {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestCollect(t *testing.T) {
	w := three(t)
	base := w.read()
	w.store.Counts()
	got, err := w.site.Collect(t.Context(), base, []int{1}, nil, line)
	w.ok(err)
	// old, the page of 1, the manifest of 1
	if got.Objects != 3 || got.Now.Condemned != nil || got.Now.Collections != 1 || len(got.Stay) != 0 {
		t.Errorf("%+v", got)
	}
	counts, _ := w.store.Counts()
	// Three of them are manifests, because there is no cache.
	if diff := cmp.Diff(map[string]int{"create": 2, "swap": 2, "delete": 2, "get": 5}, counts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "b", "was"}, content(w)); diff != "" {
		t.Error(diff)
	}
	if len(w.store.Keys("_publish/files/")) != 1 || len(w.store.Keys("_publish/gc/")) != 0 ||
		len(w.store.Keys("_publish/generations/")) != 2 {
		t.Error(w.store.Keys("_publish/"))
	}
	w.whole()
	// 2 is let go, but 3 carries what it had; then the window is over.
	got, err = w.site.Collect(t.Context(), w.read(), []int{2}, nil, line)
	if err != nil || len(content(w)) != 3 || len(got.Now.Kept) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	carried := generation.Carried{Row: rows(map[string]string{"was": "was"})[0], Dropped: 3}
	got, err = w.site.Collect(t.Context(), got.Now, nil, []generation.Carried{carried}, line)
	if err != nil || got.Objects != 1 || !slices.Equal(content(w), []string{"a", "b"}) {
		t.Errorf("%+v, %v", got, err)
	}
	w.whole()
	if diff := cmp.Diff([]string{"gc", "gc", "gc", "promote 3", "promote 2", "promote 1"}, w.lines(got.Now)); diff != "" {
		t.Error(diff)
	}
	w.store.Counts()
	again, err := w.site.Collect(t.Context(), w.read(), nil, nil, line)
	if counts, _ := w.store.Counts(); err != nil || again.Now.Seq != got.Now.Seq || counts["swap"] > 0 {
		t.Errorf("%+v, %v, %v", again, counts, err)
	}
	for _, n := range []int{3, 9} {
		if _, err := w.site.Collect(t.Context(), w.read(), []int{n}, nil, line); err == nil {
			t.Errorf("%d is dropped", n)
		}
	}
	moved := new(bucket.MovedError)
	if _, err := w.site.Collect(t.Context(), base, []int{2}, nil, line); !errors.As(err, &moved) {
		t.Error(err)
	}
}

// What kept manifests differ from stays, as long as it is needed.
func TestCollectBases(t *testing.T) {
	w := newWorld(t)
	files := map[string]string{}
	for i := range 100 {
		files[fmt.Sprint(i)] = "x"
	}
	for i := range 40 {
		files[fmt.Sprint("new", i)] = fmt.Sprint(i)
		w.must(files)
		if i%3 == 2 {
			p := w.read()
			var drop []int
			for _, ref := range p.Kept {
				drop = append(drop, ref.Generation)
			}
			got, err := w.site.Collect(t.Context(), p, drop, nil, line)
			w.ok(err)
			w.whole()
			if n := len(w.store.Keys("_publish/generations/")); n != len(got.Now.Bases)+1 || n != got.Now.Manifest.Depth+1 {
				t.Errorf("%d manifests at depth %d", n, got.Now.Manifest.Depth)
			}
		}
	}
}

// Who wants what a gc deletes waits, before anything is sent.
func TestCondemned(t *testing.T) {
	w := three(t)
	before := w.read()
	killed := w.newSite()
	killed.Step = func(name string) error {
		if name == "before-delete" {
			return errKilled
		}
		return nil
	}
	w.ok2(killed.Join(t.Context()))
	if _, err := killed.Collect(t.Context(), before, []int{1}, nil, line); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	base := w.read()
	w.store.Counts()
	back := map[string]string{"a": "one", "old": "old", "new": "new"}
	condemned := new(bucket.CondemnedError)
	_, err := w.site.Upload(t.Context(), base, uploads(back))
	if !errors.As(err, &condemned) || condemned.Key != "old" || !condemned.Until.After(base.Date.Add(15*time.Minute)) {
		t.Fatal(err)
	}
	if _, err := w.site.Commit(t.Context(), base, bucket.Commit{Nonce: bucket.NewNonce(),
		Manifest: manifest(4, 3, back)}); !errors.As(err, &condemned) {
		t.Error(err)
	}
	if counts, _ := w.store.Counts(); counts["create"]+counts["swap"]+counts["head"] > 0 || counts["get"] != 1 {
		t.Error(counts)
	}
	// What is not condemned goes on; the list stays.
	if p := w.must(map[string]string{"a": "one", "new": "new"}); p.Condemned == nil {
		t.Error("the list is gone")
	}
	// Nobody takes over a gc that may be alive.
	got, err := w.site.Collect(t.Context(), w.read(), []int{2}, nil, line)
	if err != nil || got.Waits.IsZero() || w.store.Data("old") == nil {
		t.Errorf("%+v, %v", got, err)
	}
	// Later, somebody does, but what was sent may still land: it is cleared when that is void.
	w.store.Advance(2 * time.Minute)
	got, err = w.site.Collect(t.Context(), w.read(), []int{2}, nil, line)
	if err != nil || got.Waits.IsZero() || w.store.Data("old") != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := w.site.Upload(t.Context(), w.read(), uploads(back)); !errors.As(err, &condemned) {
		t.Error(err)
	}
	w.store.Advance(got.Waits.Sub(w.store.Now()))
	got, err = w.site.Collect(t.Context(), w.read(), []int{2}, nil, line)
	if err != nil || !got.Waits.IsZero() || got.Now.Condemned != nil {
		t.Errorf("%+v, %v", got, err)
	}
	w.must(back)
	w.whole()
}

// What was uploaded before a gc is not taken for there after it.
func TestUploadAfterCollect(t *testing.T) {
	w := three(t)
	slow := w.newSite()
	w.ok2(slow.Join(t.Context()))
	base := w.read()
	back := map[string]string{"a": "one", "old": "old"}
	w.ok2(slow.Upload(t.Context(), base, uploads(back)))
	w.ok2(w.site.Collect(t.Context(), base, []int{1}, nil, line))
	_, err := slow.Commit(t.Context(), base, bucket.Commit{Nonce: bucket.NewNonce(), Manifest: manifest(4, 3, back)})
	moved := new(bucket.MovedError)
	if !errors.As(err, &moved) {
		t.Fatal(err)
	}
	w.ok2(w.promote(t.Context(), slow, moved.Now, back))
	w.whole()
	// Without a gc, it is: no request is sent again.
	w.store.Counts()
	w.ok2(slow.Upload(t.Context(), w.read(), uploads(back)))
	if counts, _ := w.store.Counts(); len(counts) != 1 {
		t.Error(counts)
	}
}

// Each request of a gc is spoiled in each way, once, three times, or for good; or the gc is
// killed there. Nothing that is named is lost, and in the end nothing is left.
func TestCollectFaults(t *testing.T) {
	kinds := map[string]buckettest.Fault{"never sent": buckettest.NeverSent, "lost": buckettest.Lost,
		"twice": buckettest.Twice, "refused": buckettest.Refused, "late": buckettest.Late, "cut": buckettest.Cut,
		"killed before": -1, "killed after": -2}
	for name, kind := range kinds {
		for turn, again := range []int{1, 3, 1000} {
			for at := 0; ; at++ {
				if os.Getenv("PUBLISH_TEST_FAULTS") == "" && (at+turn)%3 != 0 {
					continue // each request with one of the three, in turn
				}
				what := fmt.Sprintf("%d x %s at %d", again, name, at)
				w := three(t)
				gc := w.newSite()
				w.ok2(gc.Join(t.Context()))
				base := w.read()
				ctx, cancel := context.WithCancelCause(t.Context())
				n, spoiled := 0, false
				w.store.Delay = func() time.Duration { return 10 * time.Minute }
				w.store.Fault = func(buckettest.Request) buckettest.Fault {
					n++
					if n-1 < at || n-1 >= at+again {
						return buckettest.None
					}
					spoiled = true
					switch kind {
					case -1:
						cancel(errKilled)
						return buckettest.NeverSent
					case -2:
						cancel(errKilled)
						return buckettest.Lost
					}
					return kind
				}
				_, err := gc.Collect(ctx, base, []int{1}, nil, line)
				w.store.Fault = nil
				w.whole()
				if again == 1 && kind >= 0 && kind != buckettest.Refused && err != nil {
					t.Errorf("%s: %v", what, err)
				}
				p := w.read()
				for range 4 {
					// Somebody brings back what was dropped, as soon as he may.
					back := map[string]string{"a": "one", "old": "old", "p.html": "2"}
					for {
						p, err = w.promote(t.Context(), w.site, w.read(), back)
						if condemned := new(bucket.CondemnedError); errors.As(err, &condemned) {
							w.store.Advance(condemned.Until.Sub(w.store.Now()))
							got, err := w.site.Collect(t.Context(), w.read(), nil, nil, line)
							if err != nil {
								t.Fatalf("%s: %v", what, err)
							}
							w.store.Advance(max(0, got.Waits.Sub(w.store.Now())))
							continue
						}
						w.ok(err)
						break
					}
					w.store.Advance(5 * time.Minute)
					w.whole()
				}
				if p.Condemned != nil {
					t.Errorf("%s: something is condemned still", what)
				}
				cancel(nil)
				if !spoiled {
					break
				}
			}
		}
	}
}

// Objects that cannot be deleted are returned, and stop nobody.
func TestCollectStay(t *testing.T) {
	w := three(t)
	w.store.Sticky = func(key string) error {
		if key == "old" {
			return &bucket.Refusal{Code: "AccessDenied", Err: errors.New("access denied")}
		}
		return nil
	}
	got, err := w.site.Collect(t.Context(), w.read(), []int{1}, nil, line)
	if err != nil || len(got.Stay) != 1 || got.Stay[0].Key != "old" || got.Objects != 2 || got.Now.Condemned != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// A clock that is off makes signatures that are valid for longer: nothing is deleted.
func TestCollectClock(t *testing.T) {
	w := three(t)
	for _, off := range []time.Duration{2 * time.Minute, -2 * time.Minute} {
		w.site.Now = func() time.Time { return w.store.Now().Add(off) }
		if _, err := w.site.Collect(t.Context(), w.read(), []int{1}, nil, line); err == nil ||
			!strings.Contains(err.Error(), "differ by 2m0s") {
			t.Error(err)
		}
	}
}

// A gc that is longer at work than its lease says that it is alive.
func TestCollectSlow(t *testing.T) {
	w := three(t)
	w.site.SetBatch(1)
	w.store.Before = func(_ context.Context, r buckettest.Request) error {
		if r.Op == "delete" {
			w.store.Advance(45 * time.Second)
			p, err := w.read().Condemned, error(nil)
			if p != nil && p.Last.Add(bucket.Lease).Before(w.store.Now()) {
				err = errors.New("somebody else might take over")
			}
			return err
		}
		return nil
	}
	got, err := w.site.Collect(t.Context(), w.read(), []int{1, 2}, nil, line)
	if err != nil || got.Objects < 4 || got.Now.Seq < 6 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestErase(t *testing.T) {
	w := three(t)
	w.store.Versions = true
	w.store.Advance(time.Second)
	live := w.newSite()
	w.ok2(live.Join(t.Context()))
	// A gc is at work: Erase does not wait for it, and it does not clear what is erased.
	live.Step = func(name string) error {
		if name == "before-delete" {
			live.Step = nil
			stay, err := w.site.Erase(t.Context(), []string{"b", "b"})
			if err != nil || len(stay) > 0 {
				t.Errorf("%v, %v", stay, err)
			}
		}
		return nil
	}
	w.ok2(live.Collect(t.Context(), w.read(), []int{1}, nil, line))
	if w.store.Data("b") != nil || w.store.Old("b") != 0 || w.store.Data("old") != nil || w.store.Old("old") != 1 {
		t.Error("an object or a version is left, or one too few")
	}
	p := w.read()
	if p.Condemned == nil || !p.Condemned.Left || p.Condemned.Count != 4 {
		t.Errorf("%+v", p.Condemned)
	}
	condemned := new(bucket.CondemnedError)
	if _, err := w.site.Upload(t.Context(), p, uploads(map[string]string{"b": "two"})); !errors.As(err, &condemned) {
		t.Error(err)
	}
	w.store.Sticky = func(key string) error { return &bucket.Refusal{Code: "ObjectLocked", Err: errors.New(key)} }
	if stay, err := w.site.Erase(t.Context(), []string{"a"}); err != nil || len(stay) != 1 || stay[0].Key != "a" {
		t.Errorf("%v, %v", stay, err)
	}
	w.store.Sticky = func(string) error { return errors.New("try again") }
	if stay, err := w.site.Erase(t.Context(), []string{"a"}); err != nil || len(stay) != 1 {
		t.Errorf("%v, %v", stay, err)
	}
	for _, key := range []string{"index.json", "_publish/repository.json"} {
		if _, err := w.site.Erase(t.Context(), []string{key}); err == nil {
			t.Errorf("%s is erased", key)
		}
	}
}

func TestOrphans(t *testing.T) {
	w := three(t)
	w.store.Set("index.html", []byte("theirs"), "")
	w.store.Set("other", []byte("theirs"), "r2")
	loser, base := w.newSite(), w.read()
	w.ok2(loser.Join(t.Context()))
	w.must(map[string]string{"a": "one"})
	w.ok2(loser.Upload(t.Context(), base, uploads(map[string]string{"lost": "lost", "p.html": "lost"})))
	moved := new(bucket.MovedError)
	if _, err := loser.Commit(t.Context(), base, bucket.Commit{Nonce: bucket.NewNonce(), Event: []byte("x"),
		Manifest: manifest(4, 3, nil)}); !errors.As(err, &moved) {
		t.Fatal(err)
	}
	before := w.store.Keys("")
	mine, foreign, err := w.site.Orphans(t.Context(), nil, time.Hour, true)
	if err != nil || len(mine) != 0 || foreign != 2 {
		t.Errorf("%v, %d, %v", mine, foreign, err)
	}
	w.store.Advance(time.Hour)
	for _, remove := range []bool{false, true} {
		mine, foreign, err = w.site.Orphans(t.Context(), nil, time.Hour, remove)
		if err != nil || len(mine) != 4 || foreign != 2 || mine[3].Key != "lost" {
			t.Errorf("%v, %d, %v", mine, foreign, err)
		}
	}
	if len(w.store.Keys("")) != len(before)-4 {
		t.Error(w.store.Keys(""))
	}
	w.whole()
	mine, foreign, err = w.site.Orphans(t.Context(), nil, 0, true)
	if err != nil || len(mine) != 0 || foreign != 2 {
		t.Errorf("%v, %d, %v", mine, foreign, err)
	}
}
