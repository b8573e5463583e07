package serve

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// unzip is what a compressed body holds.
func unzip(t *testing.T, body string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

// Whatever a client says that it has, it is compared with the coding that it gets.
func TestConditionsOfCodings(t *testing.T) {
	w := streams(t, "symlink")
	w.image("20260101", "one")
	const document = "streams/v1/images.json"
	small, err := os.ReadFile(filepath.Join(w.dir, "staging", document))
	w.no(err)
	for i, size := range []int{minPacked, 2 * inMemory} { // in memory, and in a file
		text := string(small) + strings.Repeat(" ", size)
		w.write(document, text)
		w.promote()
		w.restart()
		w.reach(i + 1)
		v := w.server.keeper.hold()
		w.no(v.documents[document].pack(v, []string{"gzip"}))
		plain, zipped := `"`+sum(text)+`"`, `"`+sum(text)+`-gzip"`
		date := w.get("/" + document).Header.Get("Last-Modified")
		const long, soon = "Mon, 02 Jan 2006 15:04:05 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
		for _, c := range []struct {
			name, value string
			status      int
		}{
			{"If-Match", zipped, 200}, {"If-Match", plain, 412}, {"If-Match", "*", 200},
			{"If-Modified-Since", long, 200}, {"If-Modified-Since", date, 304}, {"If-Modified-Since", soon, 304},
			{"If-Unmodified-Since", long, 412}, {"If-Unmodified-Since", date, 200},
			{"If-None-Match", zipped, 304}, {"If-None-Match", plain, 200}, {"If-Range", plain, 200},
		} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				r := w.do(method, "/"+document, "Accept-Encoding", "gzip", c.name, c.value)
				coding, length := r.Header.Get("Content-Encoding"), r.ContentLength
				if r.StatusCode != c.status || r.Header.Get("Etag") != zipped || r.Header.Get("Vary") != "Accept-Encoding" {
					t.Errorf("%s %s: %s: %s %v", method, c.name, c.value, r.Status, r.Header)
				}
				if whole := c.status == 200; whole != (coding == "gzip") || whole && length <= 0 ||
					whole && method == http.MethodGet && unzip(t, r.body) != text || !whole && r.body != "" {
					t.Errorf("%s %s: %s: %q, %d bytes", method, c.name, c.value, coding, length)
				}
			}
		}
		v.release()
	}
}

// A text that no index names is compressed after the first request for it, once for its
// content, and stays so over a switch. Content and what is large are not.
func TestTexts(t *testing.T) {
	w := streams(t, "symlink")
	text := strings.Repeat("a line of text\n", minPacked/10)
	w.write("notes.txt", text)
	w.write("small.txt", "small")
	w.write("large.txt", strings.Repeat(text, 1+maxText/len(text)))
	w.write("picture.png", text)
	content := w.image("20260101", text)
	w.promote()
	w.keep()
	w.reach(1)
	packAll := func() (n int) {
		for ; len(w.server.toPack) > 0; n++ {
			w.server.packText(t.Context(), <-w.server.toPack)
		}
		return n
	}
	ask := func(path string) response { return w.get("/"+path, "Accept-Encoding", "gzip") }
	for _, path := range []string{"small.txt", "large.txt", "picture.png", content} {
		if r := ask(path); packAll() != 0 || r.Header.Get("Vary") != "" {
			t.Errorf("%s is compressed", path)
		}
	}
	w.want(w.get("/notes.txt"), 200, text)
	if n := packAll(); n != 0 {
		t.Errorf("%d texts are compressed that nobody wants so", n)
	}
	first := ask("notes.txt")
	w.want(first, 200, text)
	if n := packAll(); n != 1 || first.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("%d texts are compressed; %v", n, first.Header)
	}
	w.write("more.txt", "more")
	w.promote()
	w.reach(2)
	second := ask("notes.txt")
	if tag := `"` + sum(text) + `-gzip"`; second.Header.Get("Etag") != tag || unzip(t, second.body) != text ||
		second.ContentLength != int64(len(second.body)) || second.Header.Get("Publish-Generation") != "2" ||
		second.Header.Get("Last-Modified") != first.Header.Get("Last-Modified") {
		t.Errorf("%v", second.Header)
	}
	w.want(w.get("/notes.txt", "Accept-Encoding", "gzip", "If-None-Match", second.Header.Get("Etag")), 304, "")
	w.want(w.get("/notes.txt", "Accept-Encoding", "gzip", "Range", "bytes=2-5"), 206, text[2:6])
	// Damage is not covered up, and not looked for again with each request.
	w.no(os.WriteFile(filepath.Join(w.dir, "production/more.txt"), []byte("less"), 0o644))
	damaged := tree.Row{Path: "more.txt", Size: 4, SHA256: sum("more"), Role: catalog.Mutable}
	for range 2 {
		w.server.packText(t.Context(), damaged)
	}
	if n := strings.Count(w.logged.String(), errOther.Error()); n != 1 {
		t.Errorf("the log names it %d times: %s", n, w.logged)
	}
}

// A client gets the coding that it likes best, of several the first one here.
func TestCodings(t *testing.T) {
	d := &document{}
	d.packs.list.Store(&[]packed{{coding: []string{"zstd"}}, {coding: []string{"gzip"}}})
	for accept, want := range map[string]string{
		"":                              "",
		"br":                            "",
		"gzip":                          "gzip",
		"X-GZIP":                        "gzip",
		"gzip, zstd":                    "zstd",
		"gzip;q=0.5, zstd;q=0.5":        "zstd",
		"gzip;q=1.0, zstd;q=0.1":        "gzip",
		"gzip;q=0.1, *":                 "zstd",
		"*;q=0.5, zstd;q=0":             "gzip",
		"*;q=0":                         "",
		"gzip ; Q=0.8":                  "gzip",
		"gzip;q=x, zstd;q=-1":           "",
		"gzip;q=nan":                    "",
		"identity, gzip;q=0.5":          "",
		"identity;q=0.5, gzip;q=0.5":    "gzip",
		"identity;q=0, *":               "zstd",
		"identity;q=0.1, zstd;q=0, br":  "",
		"identity;q=0.5, *;q=0.1, gzip": "gzip",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Encoding", accept)
		got := ""
		if p := d.choose(r); p != nil {
			got = p.coding[0]
		}
		if got != want {
			t.Errorf("%q: %q, want %q", accept, got, want)
		}
	}
}
