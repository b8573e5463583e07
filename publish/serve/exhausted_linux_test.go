package serve

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// exhaust leaves the process no descriptor, until the returned function is called.
func (w *world) exhaust() (end func()) {
	w.Helper()
	var before unix.Rlimit
	w.no(unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	few := before
	few.Cur = 512 // so that few files have to be opened
	w.no(unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	var files []*os.File
	for {
		f, err := os.Open(w.dir)
		if err != nil {
			break
		}
		files = append(files, f)
	}
	return func() {
		for _, f := range files {
			_ = f.Close()
		}
		w.no(unix.Setrlimit(unix.RLIMIT_NOFILE, &before))
	}
}

// A server that can open no more files says so, for a moment; it takes no file for damaged,
// and what is in memory is answered still. Not parallel: the limit is that of the process.
func TestNoDescriptorLeft(t *testing.T) {
	w := streams(t, "symlink")
	w.image("20260101", "one")
	w.promote()
	path := w.image("20260102", "two")
	w.promote()
	w.keep()
	client := w.http.Client() // it keeps its connection, which has a descriptor already
	ask := func(path string) (*http.Response, string) {
		t.Helper()
		res, err := client.Get(w.http.URL + path)
		w.no(err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		w.no(err)
		return res, string(body)
	}
	if res, body := ask("/" + path); res.StatusCode != 200 || body != "two" {
		t.Fatalf("before: %d %s", res.StatusCode, body)
	}
	view := w.server.keeper.hold()
	defer view.release()
	w.server.keeper.dropIdle() // else the content could be answered still
	end := w.exhaust()
	ended := false
	defer func() {
		if !ended {
			end()
		}
	}()
	for _, p := range []string{"/" + path, "/@1/streams/v1/index.json", "/@1/images/a-20260101.tar.xz"} {
		if res, body := ask(p); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" ||
			!strings.Contains(body, "too many files are open") {
			t.Errorf("%s: %d %s", p, res.StatusCode, body)
		}
	}
	if res, body := ask("/streams/v1/images.json"); res.StatusCode != 200 || !strings.Contains(body, "20260102") {
		t.Errorf("the catalog: %d %s", res.StatusCode, body)
	}
	w.server.checkView(t.Context(), view, nil, 0)
	end()
	ended = true
	if log := w.logged.String(); strings.Contains(log, "damaged") || strings.Contains(log, "cannot be read") {
		t.Errorf("a file is called damaged: %s", log)
	}
	if res, body := ask("/" + path); res.StatusCode != 200 || body != "two" {
		t.Errorf("after: %d %s", res.StatusCode, body)
	}
	w.image("20260103", "three")
	w.promote()
	res, body := ask("/streams/v1/images.json")
	for res.StatusCode == 503 { // on a machine so busy that the view took longer than a request waits
		res, body = ask("/streams/v1/images.json")
	}
	if !strings.Contains(body, "20260103") {
		t.Errorf("after, a new generation: %s", body)
	}
}

// Files that stay open for the next request are closed when there is no descriptor left for
// another file.
func TestIdleFilesMakeRoom(t *testing.T) {
	w := plainTree(t, "symlink")
	w.write("a", "one")
	w.write("b", "two")
	w.promote()
	w.server.keeper.idle.age = time.Hour
	w.keep()
	w.reach(1)
	h := w.server.Public()
	if a := w.at(h, "/a"); a.StatusCode != 200 || w.idle() != 1 {
		t.Fatalf("%d %s; %d files are open", a.StatusCode, a.body, w.idle())
	}
	end := w.exhaust()
	b := w.at(h, "/b")
	end()
	if b.StatusCode != 200 || b.body != "two" {
		t.Errorf("%d %s", b.StatusCode, b.body)
	}
}
