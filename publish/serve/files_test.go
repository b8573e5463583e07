package serve

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What clients get for files: bytes, tags, parts, and the headers that let them keep it.
func TestFiles(t *testing.T) {
	w := streams(t, "symlink")
	path := w.image("20260101", "a root file")
	w.write("notes.txt", "notes")
	w.promote()
	w.keep()
	index, err := os.ReadFile(filepath.Join(w.dir, "staging/streams/v1/index.json"))
	w.no(err)
	tag := `"` + sum("a root file") + `"`
	for _, c := range []struct {
		method, path, headers string // Name: value, several by |
		status                int
		body                  string
		want                  string // headers
	}{
		{"GET", "/streams/v1/index.json", "", 200, string(index), "Etag: \"" + sum(string(index)) +
			"\"|Cache-Control: no-cache|Content-Type: application/json|Publish-Generation: 1|X-Content-Type-Options: nosniff"},
		{"GET", "/" + path, "", 200, "a root file", "Etag: " + tag + "|Cache-Control: max-age=7200|Publish-Generation: 1" +
			"|Accept-Ranges: bytes|Content-Type: application/x-xz"},
		{"HEAD", "/" + path, "", 200, "", "Content-Length: 11"},
		{"HEAD", "/streams/v1/index.json", "", 200, "", ""},
		{"GET", "/notes.txt", "", 200, "notes", "Cache-Control: no-cache"},
		{"GET", "/" + path, "If-None-Match: " + tag, 304, "", "Etag: " + tag + "|Cache-Control: max-age=7200"},
		{"GET", "/" + path, "If-None-Match: W/" + tag, 304, "", ""},
		{"GET", "/" + path, `If-None-Match: "x", ` + tag, 304, "", ""},
		{"GET", "/" + path, "If-None-Match: *", 304, "", ""},
		{"GET", "/" + path, `If-None-Match: "x"`, 200, "a root file", ""},
		{"GET", "/streams/v1/index.json", `If-None-Match: "` + sum(string(index)) + `"`, 304, "",
			"Etag: \"" + sum(string(index)) + "\"|Cache-Control: no-cache|Publish-Generation: 1"},
		{"GET", "/streams/v1/index.json", `If-None-Match: "x"|If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT`, 200,
			string(index), ""}, // the tag beats the date
		{"GET", "/" + path, "Range: bytes=2-5", 206, "root", "Content-Range: bytes 2-5/11|Etag: " + tag},
		{"GET", "/" + path, "Range: bytes=-4", 206, "file", ""},
		{"GET", "/" + path, "Range: bytes=0-", 206, "a root file", ""},
		{"GET", "/" + path, "Range: bytes=2-5|If-Range: " + tag, 206, "root", ""},
		{"GET", "/" + path, `Range: bytes=2-5|If-Range: "x"`, 200, "a root file", ""},
		{"GET", "/" + path, "Range: bytes=0-0" + strings.Repeat(",3-3", 999), 200, "a root file", ""},
		{"GET", "/" + path, "Range: items=0-5", 200, "a root file", "Content-Range: "},
		{"GET", "/" + path, "Range: bytes=-0,2-5", 206, "root", "Content-Range: bytes 2-5/11"},
		{"GET", "/streams/v1/index.json", "Range: bytes=0-0|Accept-Encoding: gzip", 206, string(index[:1]), ""},
		{"POST", "/" + path, "", 405, "only GET and HEAD\n", "Allow: GET, HEAD"},
		{"GET", "/none", "", 404, "not found\n", ""},
		{"GET", "/.publish-generation", "", 404, "not found\n", ""},
		{"GET", "/images/.publish-x", "", 404, "not found\n", ""},
		{"GET", "/" + path + "/", "", 404, "not found\n", ""},
		{"GET", "/images", "", 301, "", "Location: ./images/"},
	} {
		var headers []string
		for h := range strings.SplitSeq(c.headers, "|") {
			if name, value, ok := strings.Cut(h, ": "); ok {
				headers = append(headers, name, value)
			}
		}
		r := w.do(c.method, c.path, headers...)
		w.want(r, c.status, c.body)
		for h := range strings.SplitSeq(c.want, "|") {
			if name, value, ok := strings.Cut(h, ": "); ok && r.Header.Get(name) != value {
				t.Errorf("%s %s %s: %s: %q, want %q", c.method, c.path, c.headers, name, r.Header.Get(name), value)
			}
		}
	}
	for _, none := range []string{"bytes=11-", "bytes=-0", "bytes= -00 , 20-30"} {
		r := w.get("/"+path, "Range", none)
		if r.StatusCode != 416 || r.Header.Get("Content-Range") != "bytes */11" {
			t.Errorf("%s: %d %v", none, r.StatusCode, r.Header)
		}
	}
	if r := w.get("/images/"); r.StatusCode != 200 || !strings.Contains(r.body, `href="./a-20260101.tar.xz"`) {
		t.Errorf("a folder: %d %s", r.StatusCode, r.body)
	}
}

// Every answer names a generation, whatever it is about.
func TestGenerationEverywhere(t *testing.T) {
	w := plainTree(t, "symlink", "serve: {browse: false}")
	w.write("a/b", "text")
	w.promote()
	w.keep()
	w.reach(1)
	long := "/" + strings.Repeat("a", maxPath+1)
	for path, status := range map[string]int{"/a": 301, "/@1": 301, "/-": 301, "/a/": 404, "/-/readyz": 200,
		"/-/healthz": 200, "/-/none": 404, "/@7/": 404, "/.publish-x": 404, "/a//b": 400, long: 414, "/a/b": 200,
		"/-/": 200} {
		r := w.raw("GET", path)
		if r.StatusCode != status || r.Header.Get("Publish-Generation") != "1" {
			t.Errorf("%.20s: %s %v", path, r.Status, r.Header)
		}
		if status == 301 && r.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %v", path, r.Header)
		}
	}
	if r := w.do("POST", "/"); r.StatusCode != 405 || r.Header.Get("Publish-Generation") != "1" {
		t.Errorf("POST: %s %v", r.Status, r.Header)
	}
	registry := registryTree(t, "symlink")
	registry.layout("a").index()
	registry.promote()
	registry.keep()
	registry.reach(1)
	for _, path := range []string{"/v2/", "/v2/none", "/v2/_catalog?n=x"} {
		if r := registry.get(path); r.Header.Get("Publish-Generation") != "1" {
			t.Errorf("%s: %s %v", path, r.Status, r.Header)
		}
	}
}

// Of the names of a tree only those are hidden by the server that it needs itself, and no
// list has a link to these.
func TestNamesOfTheServer(t *testing.T) {
	w := plainTree(t, "symlink")
	names := map[string]bool{"@latest": true, "@042": true, "@0": true, "@": true, "@1x": true, "-a": true, "@1": false,
		"@77": false, "-": false}
	for name := range names {
		w.write(name+"/file", "in "+name)
	}
	w.promote()
	w.keep()
	for name, has := range names {
		r := w.get("/" + name + "/file")
		if found := r.StatusCode == 200 && r.body == "in "+name; found != has {
			t.Errorf("%s: %d %s", name, r.StatusCode, r.body)
		}
		link := `href="./` + escape(name) + `/"`
		for _, list := range []string{"/", "/@1/"} {
			if linked := strings.Contains(w.get(list).body, link); linked != has {
				t.Errorf("%s in the list at %s: %v", name, list, linked)
			}
		}
	}
	w.want(w.get("/@1/-/file"), 200, "in -")
	w.want(w.get("/@1/@77/file"), 200, "in @77")
}

// A path that leads somewhere else than it says is refused.
func TestBadPaths(t *testing.T) {
	w := plainTree(t, "symlink")
	w.write("a/b", "text")
	w.promote()
	w.keep()
	for path, status := range map[string]int{
		"/../a/b": 400, "/a/../a/b": 400, "/%2e%2e/a/b": 400, "/a%2fb": 400, "/a%2Fb": 400, "/a%5cb": 400, `/a\b`: 400,
		"/a/%00": 400, "/a//b": 400, "//a/b": 400, "/./a/b": 400, "/a/b%0a": 400, "/" + strings.Repeat("a", 9<<10): 414,
		"/a/%62": 200,
	} {
		r := w.raw("GET", path)
		if r.StatusCode != status {
			t.Errorf("%.60s: %d, want %d", path, r.StatusCode, status)
		}
	}
}

// Links are followed inside the tree only, and a folder's own page stands for it.
func TestLinksAndPages(t *testing.T) {
	w := plainTree(t, "rename")
	w.write("1/a", "one")
	w.no(os.Symlink("1", filepath.Join(w.dir, "staging/latest")))
	w.no(os.Symlink("../1/a", filepath.Join(w.dir, "staging/1/again")))
	w.write("index.html", "<p>ours</p>")
	w.promote()
	w.keep()
	w.want(w.get("/1/again"), 200, "one")
	w.want(w.get("/latest/a"), 200, "one")
	w.want(w.get("/"), 200, "<p>ours</p>")
	// A link laid into production by hand leads out, and is no row.
	w.no(os.Symlink("/etc", filepath.Join(w.dir, "production/etc")))
	w.want(w.get("/etc/passwd"), 404, "not found\n")
}

// A small file is answered in one go, and a larger one in pieces, with the same headers,
// except that only a larger one says that it has parts.
func TestFilesOfAnySize(t *testing.T) {
	w := plainTree(t, "symlink")
	sizes := []int{0, 1, maxWhole - 1, maxWhole, maxWhole + 1, 5 * maxWhole}
	for _, n := range sizes {
		w.write(fmt.Sprint("file-", n), strings.Repeat("x", n))
	}
	w.promote()
	w.keep()
	w.reach(1)
	var names []string
	for _, n := range sizes {
		path, text := fmt.Sprint("/file-", n), strings.Repeat("x", n)
		for range 2 { // a buffer is used again
			r := w.get(path)
			w.want(r, 200, text)
			delete(r.Header, "Accept-Ranges")
			names = append(names, strings.Join(slices.Sorted(maps.Keys(r.Header)), " "))
			if r.Header.Get("Content-Length") != fmt.Sprint(n) || r.Header.Get("Last-Modified") == "" {
				t.Errorf("%s: %v", path, r.Header)
			}
		}
		w.want(w.do("HEAD", path), 200, "")
		if n > 0 {
			w.want(w.get(path, "Range", "bytes=0-0"), 206, "x")
		}
		w.want(w.get(path, "If-None-Match", `"`+sum(text)+`"`), 304, "")
		w.want(w.get(path, "If-None-Match", `"x"`), 200, text)
	}
	if all := slices.Compact(names); len(all) != 1 {
		t.Errorf("headers differ: %q", all)
	}
}
