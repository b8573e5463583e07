package serve

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/publish/publish"
)

// After promote has ended no client gets the old index, however long the new view takes.
func TestNoOldIndex(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			w := streams(t, mode)
			w.image("20260101", "one")
			w.promote()
			gate := make(chan struct{})
			var builds atomic.Int32
			w.server.keeper.at = func(step string) {
				if step == "read" && builds.Add(1) == 2 {
					<-gate
				}
			}
			w.keep()
			w.want(w.get("/-/readyz"), 200, "generation 1\n")
			w.image("20260102", "two")
			w.promote()
			done := make(chan response)
			go func() { done <- w.get("/streams/v1/images.json") }()
			select {
			case r := <-done:
				t.Errorf("an answer from generation %s before the new view was there", r.Header.Get("Publish-Generation"))
			case <-time.After(20 * time.Millisecond): // shorter or longer, the test holds
			}
			// Content is answered meanwhile: production keeps it.
			w.want(w.get("/images/a-20260101.tar.xz"), 200, "one")
			close(gate)
			if r := <-done; r.StatusCode == 200 && r.Header.Get("Publish-Generation") != "2" {
				t.Errorf("generation %s", r.Header.Get("Publish-Generation"))
			}
			for n := 3; n < 8; n++ {
				w.image("2026010"+string(rune('0'+n)), "again")
				w.promote()
				if r := w.get("/streams/v1/images.json"); !strings.Contains(r.body, "2026010"+string(rune('0'+n))) {
					t.Errorf("generation %d: %d %s", n, r.StatusCode, r.body)
				}
			}
		})
	}
}

// What production is counts for as long as it is trusted, and only for the view that it was
// compared with. Nothing else is trusted: not that production is another generation, and not
// that it cannot be read.
func TestTrust(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			w := streams(t, mode)
			w.image("20260101", "one")
			w.promote()
			from := w.server.keeper.from.(*onDisk)
			if from.trust >= publish.Linger {
				t.Fatalf("is trusted for %v, and a switch may be over after %v", from.trust, publish.Linger)
			}
			open := func() *view {
				v, st, err := from.open(t.Context())
				w.no(err)
				out, err := newView(t.Context(), v, st, w.format, nil)
				w.no(err)
				return out
			}
			first := open()
			defer first.release()
			same := func(v *view) bool {
				t.Helper()
				st, err := from.known(v)
				return err == nil && st == v.stamp
			}
			from.trust = 0
			if !same(first) {
				t.Error("production is not its own view")
			}
			from.trust = time.Hour
			same(first)
			w.image("20260102", "two")
			w.promote() // within the hour, which only a test can do
			if !same(first) {
				t.Error("what was seen a moment ago was looked at again")
			}
			second := open()
			defer second.release()
			if st, err := from.known(nil); err != nil || st != second.stamp {
				t.Errorf("without a view: %v %v", st, err)
			}
			first.sure.Store(0)
			for range 2 { // what differs is not trusted the second time either
				if same(first) {
					t.Error("the old generation is taken for production")
				}
			}
			w.no(os.Rename(w.production(), w.production()+".away"))
			for range 2 {
				if same(second) {
					t.Error("what cannot be read is taken for production")
				}
			}
			w.no(os.Rename(w.production()+".away", w.production()))
			if !same(second) {
				t.Error("production that is back is not its view")
			}
		})
	}
}

// If no view can be built, the old one stays, and readyz says why.
func TestNoViewCanBeBuilt(t *testing.T) {
	w := streams(t, "symlink")
	w.image("20260101", "one")
	w.promote()
	w.keep()
	index := w.get("/streams/v1/index.json")
	manifest := filepath.Join(w.dir, ".publish/manifests/000002")
	w.image("20260102", "two")
	w.promote()
	w.want(w.get("/-/readyz?generation=2"), 200, "generation 2\n")

	link := filepath.Join(w.dir, "production")
	to, err := os.Readlink(link)
	w.no(err)
	w.no(os.Remove(link))
	w.no(os.Symlink("nowhere", link))
	if r := w.get("/streams/v1/images.json"); r.StatusCode != 200 || !strings.Contains(r.body, "20260102") {
		t.Errorf("a dangling link: %d %s", r.StatusCode, r.body)
	}
	if r := w.get("/-/readyz"); r.StatusCode != 503 || !strings.Contains(r.body, "production") {
		t.Errorf("a dangling link: readyz: %d %s", r.StatusCode, r.body)
	}
	w.no(os.Remove(link))
	w.no(os.Symlink(to, link))
	w.want(w.get("/-/readyz?generation=2"), 200, "generation 2\n")

	w.image("20260103", "three")
	w.promote()
	w.want(w.get("/-/readyz?generation=3"), 200, "generation 3\n")
	// Back to a generation whose seal is broken.
	data, err := os.ReadFile(manifest)
	w.no(err)
	w.no(os.Chmod(manifest, 0o644))
	w.no(os.WriteFile(manifest, append(data, "more\n"...), 0o644))
	w.no(os.Remove(link))
	w.no(os.Symlink(to, link))
	if r := w.get("/streams/v1/images.json"); r.StatusCode != 200 || !strings.Contains(r.body, "20260103") {
		t.Errorf("a broken seal: %d %s", r.StatusCode, r.body)
	}
	if r := w.get("/-/readyz"); r.StatusCode != 503 {
		t.Errorf("a broken seal: readyz: %d %s", r.StatusCode, r.body)
	}
	if index.StatusCode != 200 {
		t.Error(index.StatusCode)
	}
}

// Before the first promote there is nothing to answer.
func TestBeforeTheFirstPromote(t *testing.T) {
	w := streams(t, "symlink")
	w.keep()
	r := w.get("/streams/v1/index.json")
	if r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	w.image("20260101", "one")
	w.promote()
	w.want(w.get("/-/readyz?generation=1"), 200, "generation 1\n")
}

// A request ends on the view with which it began, also if gc takes its tree.
func TestEndsOnItsView(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			w := streams(t, mode, "grace: 1h")
			large := strings.Repeat("0123456789abcdef", 1<<19) // no socket takes it whole
			path := w.image("20260101", large)
			w.promote()
			w.keep()
			r, err := http.Get(w.http.URL + "/" + path)
			w.no(err)
			defer r.Body.Close()
			half := make([]byte, len(large)/2)
			_, err = io.ReadFull(r.Body, half)
			w.no(err)
			w.no(os.Remove(filepath.Join(w.dir, "staging", path)))
			w.image("20260102", "two")
			w.promote()
			w.want(w.get("/"+path, "Range", "bytes=0-3"), 206, "0123") // it is carried
			w.later(3 * time.Hour)
			w.want(w.get("/streams/v1/none"), 404, "not found\n")
			w.want(w.get("/"+path), 404, "not found\n") // its window has ended
			rest, err := io.ReadAll(r.Body)
			if err != nil || string(half)+string(rest) != large {
				t.Errorf("the rest: %d bytes, %v", len(rest), err)
			}
		})
	}
}

// Of production there may be no view yet, and in rename mode its tree is nowhere else: then
// its address waits for the view.
func TestPinnedBeforeItsView(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			w := streams(t, mode)
			path := w.image("20260101", "one")
			w.promote()
			gate := make(chan struct{})
			w.server.keeper.at = func(string) { <-gate }
			w.keep()
			done := make(chan response, 1)
			go func() { done <- w.get("/@1/" + path) }()
			for len(w.server.keeper.wake) == 0 && len(done) == 0 { // it waits, or is answered
				time.Sleep(time.Millisecond)
			}
			close(gate)
			w.want(<-done, 200, "one")
		})
	}
}

// A kept generation has an address of its own for as long as it is kept.
func TestPinned(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			w := streams(t, mode, "grace: 1h")
			for n := range 6 {
				w.image("2026010"+string(rune('1'+n)), "image "+string(rune('1'+n)))
				w.promote()
			}
			w.keep()
			for _, n := range []string{"1", "2", "3", "4", "5", "6", "1"} {
				r := w.get("/@" + n + "/streams/v1/images.json")
				if r.StatusCode != 200 || r.Header.Get("Publish-Generation") != n || !strings.Contains(r.body, "2026010"+n) {
					t.Errorf("generation %s: %d %s", n, r.StatusCode, r.body)
				}
			}
			if n := len(w.server.kept.list); n != maxKept {
				t.Errorf("%d generations are open", n)
			}
			w.want(w.get("/@1"), 301, "")
			for _, p := range []string{"/@7/streams/v1/index.json", "/@01/", "/@x/", "/@0/", "/@-1/", "/@1/none"} {
				w.want(w.get(p), 404, "not found\n")
			}
			w.later(3 * time.Hour)
			w.want(w.get("/@1/streams/v1/index.json"), 404, "not found\n")
		})
	}
}

// What was revoked is not served any more, by no path.
func TestRevoked(t *testing.T) {
	w := streams(t, "symlink")
	path := w.image("20260101", "bad")
	w.promote()
	w.image("20260102", "good")
	w.promote()
	w.keep()
	w.want(w.get("/"+path), 200, "bad")
	w.want(w.get("/@1/"+path), 200, "bad")
	_, err := w.repo.Revoke(context.Background(), publish.RevokeOptions{What: []string{"a:1:default:amd64/20260101"},
		Why: "bad"})
	w.no(err)
	w.want(w.get("/"+path), 404, "not found\n")
	w.want(w.get("/@1/"+path), 404, "not found\n")
}

// A file with another size than the manifest says is not served.
func TestDamaged(t *testing.T) {
	w := plainTree(t, "symlink")
	w.write("a", "text")
	w.promote()
	w.keep()
	at := filepath.Join(w.dir, "production/a")
	w.no(os.Remove(at))
	w.no(os.WriteFile(at, []byte("longer"), 0o644))
	if r := w.get("/a"); r.StatusCode != 500 || !strings.Contains(w.logged.String(), "path=a") {
		t.Errorf("%d %s", r.StatusCode, w.logged)
	}
}

// The slow walk finds what is damaged before anybody asks for it. What was revoked or is
// deleted after a switch is no damage.
func TestWalk(t *testing.T) {
	w := plainTree(t, "symlink")
	for _, name := range []string{"a", "b", "c"} {
		w.write(name, "text")
	}
	w.no(os.Symlink("a", filepath.Join(w.dir, "staging/link")))
	w.promote()
	w.keep()
	w.get("/a")
	v := w.server.keeper.hold()
	defer v.release()
	w.server.checkView(context.Background(), v, nil, 0)
	if w.logged.String() != "" && strings.Contains(w.logged.String(), "damaged") {
		t.Error(w.logged)
	}
	w.no(os.Remove(filepath.Join(w.dir, "production/b")))
	w.no(os.Remove(filepath.Join(w.dir, "production/c")))
	w.no(os.WriteFile(filepath.Join(w.dir, "production/c"), []byte("longer"), 0o644))
	w.server.checkView(context.Background(), v, nil, 0)
	for _, want := range []string{`path=b problem="is missing"`, `path=c problem="has 6 bytes, the manifest says 4"`} {
		if !strings.Contains(w.logged.String(), want) {
			t.Errorf("%s does not say %s", w.logged, want)
		}
	}
	if got := value(w.metrics(), "publish_serve_damaged_files"); got != "2" {
		t.Errorf("%s files are damaged", got)
	}
}
