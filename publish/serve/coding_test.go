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
	const catalog = "streams/v1/images.json"
	small, err := os.ReadFile(filepath.Join(w.dir, "staging", catalog))
	w.no(err)
	for i, size := range []int{minPacked, 2 * inMemory} { // in memory, and in a file
		text := string(small) + strings.Repeat(" ", size)
		w.write(catalog, text)
		w.promote()
		w.restart()
		w.reach(i + 1)
		v := w.server.keeper.hold()
		w.no(v.documents[catalog].pack(v, []string{"gzip"}))
		plain, zipped := `"`+sum(text)+`"`, `"`+sum(text)+`-gzip"`
		date := w.get("/" + catalog).Header.Get("Last-Modified")
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
				r := w.do(method, "/"+catalog, "Accept-Encoding", "gzip", c.name, c.value)
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
