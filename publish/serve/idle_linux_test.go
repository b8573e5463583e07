package serve

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish"
)

// idle is how many files the current view keeps open that no request reads.
func (w *world) idle() int {
	v := w.server.keeper.hold()
	defer v.drop()
	v.idle.mu.Lock()
	defer v.idle.mu.Unlock()
	n := 0
	for _, list := range v.idle.by {
		n += len(list)
	}
	if n != v.idle.count {
		w.Errorf("%d files are open, and %d are counted", n, v.idle.count)
	}
	return n
}

// waitIdle waits until so many files are open that no request reads: a client may have all of
// an answer before its request has ended.
func (w *world) waitIdle(want int) {
	w.Helper()
	for end := time.Now().Add(time.Minute); w.idle() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("%d files stay open, want %d", w.idle(), want)
		}
	}
}

// age makes idle files as old as if they had been opened so long before.
func (w *world) age(d time.Duration) {
	v := w.server.keeper.hold()
	defer v.drop()
	v.idle.mu.Lock()
	defer v.idle.mu.Unlock()
	for _, list := range v.idle.by {
		for _, f := range list {
			f.opened = f.opened.Add(-d)
		}
	}
}

// opens counts the descriptors of this process that lead to a file whose path ends so, also
// if it was deleted.
func opens(t *testing.T, end string) (n int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil &&
			strings.HasSuffix(strings.TrimSuffix(to, " (deleted)"), end) {
			n++
		}
	}
	return n
}

// A file that is used again gives each request what it asks for, wherever the one before
// ended, and however it was sent.
func TestFilesAreUsedAgain(t *testing.T) {
	w := streams(t, "symlink")
	var text strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&text, "%06d ", i)
	}
	content := text.String()
	path := "/" + w.image("20260101", content)
	w.promote()
	w.server.keeper.idle.age = time.Hour
	w.keep()
	w.reach(1)
	for _, c := range []struct{ method, ranges, want string }{
		{"GET", "bytes=1000-69999", content[1000:70_000]},
		{"GET", "bytes=0-9", content[:10]},
		{"GET", "", content},
		{"HEAD", "", ""},
		{"GET", "bytes=-5", content[len(content)-5:]},
		{"GET", "bytes=100000-", content[100_000:]},
		{"GET", "bytes=1000-69999", content[1000:70_000]},
	} {
		r := w.do(c.method, path, "Range", c.ranges)
		if r.body != c.want || r.Header.Get("Last-Modified") == "" {
			t.Errorf("%s %s: %d, %d bytes, want %d", c.method, c.ranges, r.StatusCode, len(r.body), len(c.want))
		}
		w.waitIdle(1)
		if n := opens(t, path); n != 1 {
			t.Errorf("%s %s: is open %d times", c.method, c.ranges, n)
		}
	}
	several := w.get(path, "Range", "bytes=70000-70009,5-9")
	if !strings.Contains(several.body, content[70_000:70_010]) || !strings.Contains(several.body, content[5:10]) {
		t.Errorf("several parts: %q", several.body)
	}
}

// Content that is revoked is not opened any more when the revoke has ended, although it was
// open for the next request, and its space is free when the keeper has seen the switch.
func TestRevokeClosesFiles(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			w := streams(t, mode)
			path := w.image("20260101", "secret")
			w.promote()
			k := w.server.keeper
			k.idle.age = time.Hour
			k.look(t.Context()) // nobody else looks
			v := k.hold()
			row, ok := v.find(path)
			a, err := w.server.openFile(t.Context(), v, row)
			w.no(err)
			b, err := w.server.openFile(t.Context(), v, row)
			w.no(err)
			w.no(a.Close())
			w.no(b.Close())
			if n := w.idle(); !ok || n != 2 {
				t.Fatalf("%d files stay open, want 2", n)
			}
			w.image("20260102", "another")
			_, err = w.repo.Revoke(t.Context(), publish.RevokeOptions{What: []string{"a:1:default:amd64/20260101"},
				Why: "leaked"})
			w.no(err)
			if c, err := w.server.openFile(t.Context(), v, row); !gone(err) {
				t.Errorf("revoked, and opened: %v", err)
				w.no(c.Close())
			}
			seen := false
			k.at = func(step string) {
				if n := opens(t, path); step == "open" && n != 0 {
					t.Errorf("is still open %d times before the next view is built", n)
				}
				seen = true
			}
			k.look(t.Context())
			if v.release(); !seen {
				t.Error("the keeper did not look")
			}
			k.current.Swap(nil).release()
		})
	}
}

// Whoever removes a file of production by hand, or writes to it, is noticed: a file is used
// again for a moment only, and not at all once it turned out to be too short.
func TestFilesThatChangeByHand(t *testing.T) {
	w := streams(t, "symlink")
	content := strings.Repeat("0123456789", 10_000)
	path := w.image("20260101", content)
	w.write("small", "all of it")
	w.promote()
	w.server.keeper.idle.age = time.Hour
	w.keep()
	w.reach(1)
	at, url := filepath.Join(w.production(), path), "/"+path
	w.want(w.get(url), 200, content)
	w.waitIdle(1)
	w.no(os.Rename(at, at+".away"))
	w.want(w.get(url), 200, content)
	w.waitIdle(1)
	w.age(2 * time.Hour)
	if r := w.get(url); r.StatusCode != 404 {
		t.Errorf("removed: %d", r.StatusCode)
	}
	w.no(os.Rename(at+".away", at))
	w.want(w.get(url), 200, content)
	w.waitIdle(1)
	w.no(os.Truncate(at, 50_000))
	res, err := http.Get(w.http.URL + url)
	w.no(err)
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err == nil || len(body) > 50_000 {
		t.Errorf("cut short: %d bytes, %v", len(body), err)
	}
	if r := w.get(url); r.StatusCode != 500 {
		t.Errorf("cut short, again: %d", r.StatusCode)
	}
	for range 2 { // it is read, and not sent by the kernel
		w.want(w.get("/small"), 200, "all of it")
		w.waitIdle(1)
	}
	w.no(os.Truncate(filepath.Join(w.production(), "small"), 3))
	if r := w.get("/small"); r.StatusCode != 500 || w.idle() != 0 {
		t.Errorf("cut short: %d, and %d files stay open", r.StatusCode, w.idle())
	}
}

// Of many files few stay open, and none of a generation that is not production, or that
// production only carries.
func TestFewFilesStayOpen(t *testing.T) {
	w := streams(t, "symlink")
	carried := w.image("20260101", "one")
	w.promote()
	w.write("note", "by itself")
	w.image("20260102", "two")
	w.promote()
	w.server.keeper.idle = idleLimit{2, time.Hour}
	w.keep()
	w.reach(2)
	w.want(w.get("/"+carried), 200, "one")
	w.want(w.get("/@1/"+carried), 200, "one")
	if n := w.idle(); n != 0 {
		t.Errorf("%d files that production does not have itself stay open", n)
	}
	v := w.server.keeper.hold()
	defer v.drop()
	var list []opened
	for range 3 {
		for _, row := range v.Own {
			if row.Path == "note" {
				c, err := w.server.openFile(t.Context(), v, row)
				w.no(err)
				list = append(list, c)
			}
		}
	}
	for _, c := range list {
		w.no(c.Close())
	}
	if n := w.idle(); n != 2 || opens(t, "/note") != 2 {
		t.Errorf("%d files stay open, want 2", n)
	}
	w.age(2 * time.Hour)
	if v.idle.sweep(); w.idle() != 0 || opens(t, "/note") != 0 {
		t.Errorf("%d files stay open after their time", w.idle())
	}
	h := w.server.Public()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/note", nil))
	v.idle.keep(idleLimit{})
	if opens(t, "/note") != 0 {
		t.Error("a file stays open although none may")
	}
}
