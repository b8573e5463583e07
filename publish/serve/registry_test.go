package serve

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

const repo = "docker.io/kimai/kimai2"

// What clients get: types, digests, lengths, and the headers that let them keep it.
func TestRegistry(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) { testRegistry(t, mode) })
	}
}

func testRegistry(t *testing.T, mode string) {
	w := registryTree(t, mode)
	l := w.layout(repo)
	arm, amd := l.image("arm", nil), l.image("amd", nil)
	multi := l.list(arm, amd)
	long := l.blob512(ociManifest, w.text(object{"schemaVersion": 2, "mediaType": ociManifest,
		"config": l.blob(ociConfig, `{"long":1}`), "layers": []object{l.blob512(ociLayer, "long layer")}}))
	untagged := l.image("untagged", nil)
	l.index(multi.tag("v1"), arm.tag("arm"), long.tag("long"), untagged)
	w.promote()
	w.keep()

	at := "/v2/" + repo
	layer, config := digestOf("layer of arm"), digestOf(`{"name":"arm"}`)
	immutable, asked := "max-age=31536000, immutable", "no-cache"
	for _, c := range []struct {
		path, body, kind, digest, cache string
	}{
		{at + "/manifests/v1", l.file(multi.digest()), ociIndex, multi.digest(), asked},
		{at + "/manifests/arm", l.file(arm.digest()), ociManifest, arm.digest(), asked},
		{at + "/manifests/" + multi.digest(), l.file(multi.digest()), ociIndex, multi.digest(), immutable},
		{at + "/manifests/" + amd.digest(), l.file(amd.digest()), ociManifest, amd.digest(), immutable},
		{at + "/manifests/" + untagged.digest(), l.file(untagged.digest()), ociManifest, untagged.digest(), immutable},
		{at + "/manifests/long", l.file(long.digest()), ociManifest, long.digest(), asked},
		{at + "/manifests/" + long.digest(), l.file(long.digest()), ociManifest, long.digest(), immutable},
		{at + "/blobs/" + layer, "layer of arm", "application/octet-stream", layer, immutable},
		{at + "/blobs/" + config, `{"name":"arm"}`, "application/octet-stream", config, immutable},
		{at + "/blobs/" + arm.digest(), l.file(arm.digest()), "application/octet-stream", arm.digest(), immutable},
		{at + "/blobs/" + long.digest(), l.file(long.digest()), "application/octet-stream", long.digest(), immutable},
	} {
		for range 2 { // from the file, and from memory
			for _, method := range []string{"GET", "HEAD"} { // distribution #4895: HEAD has the length, too
				r, body := w.do(method, c.path, "Accept-Encoding", "gzip"), c.body
				if method == "HEAD" {
					body = ""
				}
				w.want(r, 200, body)
				for name, value := range map[string]string{"Content-Type": c.kind, "Docker-Content-Digest": c.digest,
					"Cache-Control": c.cache, "Content-Length": fmt.Sprint(len(c.body)), "Publish-Generation": "1",
					"Docker-Distribution-Api-Version": "registry/2.0", "Etag": `"` + sum(c.body) + `"`,
					"X-Content-Type-Options": "nosniff", "Content-Encoding": "", "Accept-Ranges": "bytes"} {
					if got := r.Header.Get(name); got != value {
						t.Errorf("%s %s: %s: %q, want %q", method, c.path, name, got, value)
					}
				}
			}
			r := w.get(c.path, "If-None-Match", `"`+sum(c.body)+`"`)
			if w.want(r, 304, ""); r.Header.Get("Cache-Control") != c.cache || r.Header.Get("Etag") == "" {
				t.Errorf("%s: 304 with %v", c.path, r.Header)
			}
		}
	}
	for _, path := range []string{"/v2/", "/v2"} {
		r := w.get(path)
		w.want(r, 200, "{}")
		if r.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
			t.Errorf("%s: %v", path, r.Header)
		}
	}
	// Nothing else of the tree is served, by any name.
	for _, path := range []string{"/" + repo + "/index.json", "/" + repo + "/oci-layout", "/docker.io/", "/@1/",
		"/@1/" + repo + "/index.json", "/" + repo + "/blobs/sha256/" + layer[7:], "/.publish-generation", "/v2x"} {
		w.want(w.get(path), 404, "not found\n")
	}
	for _, c := range []struct {
		path   string
		status int
		code   string
	}{
		{at + "/manifests/none", 404, "MANIFEST_UNKNOWN"},
		{at + "/manifests/" + digestOf("none"), 404, "MANIFEST_UNKNOWN"},
		{at + "/manifests/" + layer, 404, "MANIFEST_UNKNOWN"},
		{at + "/manifests/" + config, 404, "MANIFEST_UNKNOWN"},
		{at + "/manifests/sha256:abc", 400, "DIGEST_INVALID"},
		{at + "/manifests/sha256:" + strings.ToUpper(layer[7:]), 400, "DIGEST_INVALID"},
		{at + "/manifests/md5:" + layer[7:], 400, "DIGEST_INVALID"},
		{at + "/blobs/" + digestOf("none"), 404, "BLOB_UNKNOWN"},
		{at + "/blobs/latest", 400, "DIGEST_INVALID"},
		{at + "/blobs/uploads/", 404, "UNSUPPORTED"},
		{at + "/blobs/uploads", 400, "DIGEST_INVALID"},
		{at + "/referrers/latest", 400, "DIGEST_INVALID"},
		{"/v2/none/manifests/v1", 404, "NAME_UNKNOWN"},
		{"/v2/none/manifests/" + layer, 404, "NAME_UNKNOWN"},
		{"/v2/none/blobs/" + layer, 404, "NAME_UNKNOWN"},
		{"/v2/none/tags/list", 404, "NAME_UNKNOWN"},
		{"/v2/none/referrers/" + layer, 404, "NAME_UNKNOWN"},
		{"/v2/No_Ne-/tags/list", 400, "NAME_INVALID"},
		{"/v2/.publish-x/tags/list", 404, "NAME_UNKNOWN"},
		{"/v2/" + repo, 404, "UNSUPPORTED"},
		{"/v2/manifests/v1", 404, "UNSUPPORTED"},
		{"/v2/tags/list", 404, "UNSUPPORTED"},
		{at + "/manifests/v1/", 404, "UNSUPPORTED"},
		{at + "/../kimai2/manifests/v1", 400, "NAME_INVALID"},
		{"/v2/" + strings.Repeat("a", 9<<10) + "/manifests/v1", 414, "NAME_INVALID"},
	} {
		w.refused(w.raw("GET", c.path), c.status, c.code)
		w.refused(w.raw("HEAD", c.path), c.status, c.code)
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		r := w.do(method, at+"/manifests/v1")
		if w.refused(r, 405, "UNSUPPORTED"); r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %v", method, r.Header)
		}
	}
}

// Reports of clients that met other registries. Each is named by its number.
func TestRegistryReports(t *testing.T) {
	w := registryTree(t, "symlink")
	l := w.layout(repo)
	// zot #2417: odd spacing in an index goes out as it is.
	odd := l.blob(ociIndex, "{ \"schemaVersion\" :2,\n\n\t\"mediaType\":\""+ociIndex+"\",\"manifests\":[ \t]}\n")
	image := l.image("one", nil)
	list := l.blob(ociIndex, w.text(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []object{}}))
	l.index(image.tag("v1"), odd.tag("odd"), list.tag("sha256-"+image.digest()[7:]))
	w.write(repo+"/blobs/sha256/nodigest", "no digest") // zot #1233
	w.write(repo+"/blobs/junk", "junk")
	w.promote()
	w.keep()
	at := "/v2/" + repo
	manifest, layer := l.file(image.digest()), "layer of one"
	blob := at + "/blobs/" + digestOf(layer)

	w.want(w.get(at+"/manifests/odd"), 200, l.file(odd.digest()))
	w.want(w.get(at+"/manifests/"+odd.digest()), 200, l.file(odd.digest()))
	w.refused(w.get(at+"/blobs/nodigest"), 400, "DIGEST_INVALID")
	w.refused(w.get(at+"/blobs/sha256:nodigest"), 400, "DIGEST_INVALID")

	// A range that fits nothing is an error as the specification has it.
	for _, path := range []string{blob, at + "/manifests/v1"} {
		for _, method := range []string{"GET", "HEAD"} {
			r := w.do(method, path, "Range", "bytes=100000-")
			if w.refused(r, 416, "RANGE_INVALID"); !strings.HasPrefix(r.Header.Get("Content-Range"), "bytes */") ||
				r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s: %v", method, path, r.Header)
			}
		}
	}

	// A unit of ranges that nobody knows is ignored (RFC 9110, 14.2).
	w.want(w.get(blob, "Range", "items=0-5"), 200, layer)
	w.want(w.get(at+"/manifests/v1", "Range", "items=0-5"), 200, manifest)

	// oras-go #1396: a tag is never the digest that it looks like.
	w.refused(w.get(at+"/manifests/sha256-"+digestOf("none")[7:]), 404, "MANIFEST_UNKNOWN")
	w.want(w.get(at+"/manifests/sha256-"+image.digest()[7:]), 200, l.file(list.digest()))

	// distribution #3938, hub-feedback #2391, cup #132: whatever a client accepts.
	for _, accept := range []string{"", "*/*", ociIndex, "application/vnd.docker.distribution.manifest.v2+json",
		"text/html", ociManifest + ", */*;q=0.1"} {
		var headers []string
		if accept != "" {
			headers = []string{"Accept", accept}
		}
		r := w.get(at+"/manifests/v1", headers...)
		if w.want(r, 200, manifest); r.Header.Get("Content-Type") != ociManifest {
			t.Errorf("Accept %q: %v", accept, r.Header)
		}
	}
	// distribution #4667, containerd #12291, #11998, #9552, stereoscope #695: parts of a blob.
	for _, c := range []struct{ part, body, says string }{
		{"bytes=0-8388607", layer, "bytes 0-11/12"}, {"bytes=0-", layer, "bytes 0-11/12"},
		{"bytes=6-", "of one", "bytes 6-11/12"}, {"bytes=6-7", "of", "bytes 6-7/12"}, {"bytes=-3", "one", "bytes 9-11/12"},
	} {
		r := w.get(blob, "Range", c.part, "Accept-Encoding", "gzip")
		if w.want(r, 206, c.body); r.Header.Get("Content-Range") != c.says ||
			r.Header.Get("Docker-Content-Digest") != digestOf(layer) || r.ContentLength != int64(len(c.body)) {
			t.Errorf("%s: %v", c.part, r.Header)
		}
	}
	if r := w.get(blob, "Range", "bytes=12-"); r.StatusCode != 416 || r.Header.Get("Content-Range") != "bytes */12" {
		t.Errorf("behind the end: %d %v", r.StatusCode, r.Header)
	}
	w.want(w.get(at+"/manifests/v1", "Range", "bytes=0-3"), 206, manifest[:4])
	// container-libs #1114: a transfer goes on after a switch.
	tag := w.get(blob).Header.Get("Etag")
	l.index(image.tag("v2"))
	w.promote()
	w.want(w.get(at+"/manifests/v2"), 200, manifest)
	r := w.get(blob, "Range", "bytes=6-", "If-Range", tag)
	if w.want(r, 206, "of one"); r.Header.Get("Etag") != tag || r.Header.Get("Publish-Generation") != "2" {
		t.Errorf("after a switch: %v", r.Header)
	}
}

// distribution-spec #461, regclient #274, docker_registry2 #56, pulp_container #220: a
// Link only if there is more.
func TestRegistryLists(t *testing.T) {
	w := registryTree(t, "rename")
	l := w.layout(repo)
	image := l.image("one", nil)
	var entries []object
	var tags []string
	for n := range 1001 {
		tags = append(tags, fmt.Sprintf("t%04d", n))
		entries = append(entries, image.tag(tags[n]))
	}
	slices.Reverse(entries)
	l.index(append(entries, image)...)
	var names []string
	for _, name := range []string{"a/b", "a/c", "tags/list", "a/manifests", "host_5000/x"} {
		o := w.layout(name)
		o.index(o.image(name, nil).tag("latest"))
		names = append(names, name)
	}
	w.layout("empty").index()
	names = append(names, repo, "empty")
	slices.Sort(names)
	w.promote()
	w.keep()
	for _, c := range []struct {
		query       string
		first, many int // of the tags
		link        string
	}{
		{"", 0, 1001, ""}, {"?n=1001", 0, 1001, ""}, {"?n=1002", 0, 1001, ""}, {"?n=1000", 0, 1000, "last=t0999&n=1000"},
		{"?n=1000&last=t0999", 1000, 1, ""}, {"?n=1&last=t0998", 999, 1, "last=t0999&n=1"}, {"?last=t0999", 1000, 1, ""},
		{"?last=t1000", 1001, 0, ""}, {"?last=t09995", 1000, 1, ""}, {"?n=0", 0, 0, ""}, {"?n=0&last=t0005", 6, 0, ""},
		{"?n=5&last=zz", 1001, 0, ""}, {"?n=9223372036854775807&last=t0000", 1, 1000, ""},
		{"?n=2&ns=docker.io", 0, 2, "last=t0001&n=2&ns=docker.io"},
	} {
		r := w.get("/v2/" + repo + "/tags/list" + c.query)
		var got struct {
			Name string
			Tags []string
		}
		w.no(json.Unmarshal([]byte(r.body), &got))
		if r.StatusCode != 200 || got.Name != repo || got.Tags == nil ||
			!slices.Equal(got.Tags, tags[c.first:c.first+c.many]) {
			t.Errorf("%s: %d, %s, %d tags", c.query, r.StatusCode, got.Name, len(got.Tags))
		}
		link := ""
		if c.link != "" {
			link = "</v2/" + repo + "/tags/list?" + c.link + `>; rel="next"`
		}
		if r.Header.Get("Link") != link || r.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %v", c.query, r.Header)
		}
	}
	for _, n := range []string{"-1", "x", "1.5", "99999999999999999999", "0x1"} {
		w.refused(w.get("/v2/"+repo+"/tags/list?n="+n), 400, "PAGINATION_NUMBER_INVALID")
		w.refused(w.get("/v2/_catalog?n="+n), 400, "PAGINATION_NUMBER_INVALID")
	}
	w.want(w.get("/v2/_catalog"), 200, `{"repositories":["`+strings.Join(names, `","`)+`"]}`)
	if r := w.get("/v2/_catalog?n=2"); r.Header.Get("Link") != `</v2/_catalog?last=a%2Fc&n=2>; rel="next"` ||
		r.body != `{"repositories":["a/b","a/c"]}` {
		t.Errorf("%s %v", r.body, r.Header)
	}
	w.want(w.get("/v2/empty/tags/list"), 200, `{"name":"empty","tags":[]}`)
	w.want(w.get("/v2/tags/list/tags/list"), 200, `{"name":"tags/list","tags":["latest"]}`)
	w.want(w.get("/v2/a/manifests/tags/list"), 200, `{"name":"a/manifests","tags":["latest"]}`)
	for _, name := range []string{"tags/list", "a/manifests"} {
		if r := w.get("/v2/" + name + "/manifests/latest"); r.StatusCode != 200 {
			t.Errorf("%s: %d %s", name, r.StatusCode, r.body)
		}
	}
}

// git-pkgs/proxy #303, stargz-snapshotter #2363: ?ns= is part of a name, and nobody is
// called.
func TestRegistryNamespaces(t *testing.T) {
	w := registryTree(t, "symlink", "serve: {default_namespace: docker.io}")
	digests := map[string]string{}
	for _, name := range []string{"docker.io/library/alpine", "docker.io/a/b", "a/b", "ghcr.io/a/b", "host_5000/x",
		"own/x"} {
		l := w.layout(name)
		image := l.image(name, nil)
		digests[name] = image.digest()
		l.index(image.tag("latest"))
	}
	w.promote()
	w.keep()
	for _, c := range []struct{ name, ns, want string }{
		{"a/b", "", "a/b"}, {"a/b", "docker.io", "docker.io/a/b"}, {"a/b", "ghcr.io", "ghcr.io/a/b"},
		{"a/b", "DOCKER.IO", "docker.io/a/b"}, {"a/b", "quay.io", "a/b"}, {"a/b", "http://127.0.0.1:1/", "a/b"},
		{"docker.io/a/b", "", "docker.io/a/b"}, {"docker.io/a/b", "docker.io", "docker.io/a/b"},
		{"alpine", "", "docker.io/library/alpine"}, {"library/alpine", "", "docker.io/library/alpine"},
		{"library/alpine", "docker.io", "docker.io/library/alpine"}, {"alpine", "docker.io", "docker.io/library/alpine"},
		{"x", "host:5000", "host_5000/x"}, {"host:5000/x", "", "host_5000/x"}, {"host_5000/x", "", "host_5000/x"},
		{"own/x", "ghcr.io", "own/x"}, {"x", "ghcr.io", ""}, {"x", "../own", ""}, {"none", "docker.io", ""},
	} {
		path := "/v2/" + c.name + "/manifests/latest"
		if c.ns != "" {
			path += "?ns=" + c.ns
		}
		r := w.get(path)
		if c.want == "" {
			w.refused(r, 404, "NAME_UNKNOWN")
		} else if r.StatusCode != 200 || r.Header.Get("Docker-Content-Digest") != digests[c.want] {
			t.Errorf("%s: %d, want %s", path, r.StatusCode, c.want)
		}
		if c.want != "" {
			r = w.get(strings.Replace(path, "latest", digests[c.want], 1))
			if r.StatusCode != 200 {
				t.Errorf("%s by digest: %d", path, r.StatusCode)
			}
		}
	}
}

func TestRegistryReferrers(t *testing.T) {
	w := registryTree(t, "symlink", "grace: 1h")
	l := w.layout(repo)
	subject := l.image("subject", nil)
	of := object{"subject": subject}
	sbom := l.image("sbom", of.with(object{"artifactType": "application/spdx+json",
		"annotations": object{"made": "today"}}))
	signature := l.image("signature", of) // its type is that of its config
	index := l.json(ociIndex, object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []object{},
		"subject": subject, "artifactType": "application/vnd.list"})
	long := l.blob512(ociManifest, w.text(object{"schemaVersion": 2, "mediaType": ociManifest, "subject": subject,
		"config": l.blob(ociConfig, "{}"), "layers": []object{}}))
	l.index(subject.tag("v1"), sbom, signature, index, long)
	w.promote()
	w.keep()
	type descriptor struct {
		MediaType, Digest, ArtifactType string
		Size                            int
		Annotations                     map[string]string
	}
	ask := func(query string) (map[string]descriptor, response) {
		t.Helper()
		r := w.get("/v2/" + repo + "/referrers/" + query)
		var got struct {
			SchemaVersion int
			MediaType     string
			Manifests     []descriptor
		}
		w.no(json.Unmarshal([]byte(r.body), &got))
		if r.StatusCode != 200 || got.SchemaVersion != 2 || got.MediaType != ociIndex || got.Manifests == nil ||
			r.Header.Get("Content-Type") != ociIndex || r.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %d %v %s", query, r.StatusCode, r.Header, r.body)
		}
		out := map[string]descriptor{}
		for _, d := range got.Manifests {
			out[d.Digest] = d
		}
		if len(out) != len(got.Manifests) {
			t.Errorf("%s: one twice: %s", query, r.body)
		}
		return out, r
	}
	want := map[string]descriptor{}
	for _, d := range []descriptor{
		{ociManifest, sbom.digest(), "application/spdx+json", sbom["size"].(int), map[string]string{"made": "today"}},
		{ociManifest, signature.digest(), ociConfig, signature["size"].(int), nil},
		{ociIndex, index.digest(), "application/vnd.list", index["size"].(int), nil},
		{ociManifest, long.digest(), ociConfig, long["size"].(int), nil},
	} {
		want[d.Digest] = d
	}
	same := func(got map[string]descriptor, digests ...string) {
		t.Helper()
		if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, slices.Sorted(slices.Values(digests))) {
			t.Errorf("got %v, want %v", names, digests)
		}
		for digest, d := range got {
			if fmt.Sprint(d) != fmt.Sprint(want[digest]) {
				t.Errorf("got %v, want %v", d, want[digest])
			}
		}
	}
	got, r := ask(subject.digest())
	same(got, sbom.digest(), signature.digest(), index.digest(), long.digest())
	if r.Header.Get("OCI-Filters-Applied") != "" || r.Header.Get("Link") != "" {
		t.Errorf("%v", r.Header)
	}
	got, r = ask(subject.digest() + "?artifactType=application%2Fspdx%2Bjson")
	if same(got, sbom.digest()); r.Header.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("%v", r.Header)
	}
	got, _ = ask(subject.digest() + "?artifactType=none")
	same(got)
	got, _ = ask(digestOf("none"))
	same(got)

	// Of another subject under the same tag: who knows the first one still gets what
	// refers to it, until its window has ended.
	next := l.image("next", nil)
	nextSBOM := l.image("next sbom", object{"subject": next})
	want[nextSBOM.digest()] = descriptor{ociManifest, nextSBOM.digest(), ociConfig, nextSBOM["size"].(int), nil}
	l.index(next.tag("v1"), nextSBOM)
	w.promote()
	got, _ = ask(next.digest())
	same(got, nextSBOM.digest())
	got, _ = ask(subject.digest())
	same(got, sbom.digest(), signature.digest(), index.digest(), long.digest())
	// A referrer that was taken away from a subject that stays is not listed any more.
	l.index(next.tag("v1"))
	w.promote()
	got, _ = ask(next.digest())
	same(got)
	if r := w.get("/v2/" + repo + "/manifests/" + nextSBOM.digest()); r.StatusCode != 200 {
		t.Errorf("by digest: %d", r.StatusCode)
	}
	w.later(2 * 3600e9)
	got, _ = ask(subject.digest())
	same(got)
}

// More descriptors than a client reads at once come in several answers.
func TestRegistryManyReferrers(t *testing.T) {
	w := registryTree(t, "symlink")
	l := w.layout(repo)
	subject := l.image("subject", nil)
	entries := []object{subject.tag("v1")}
	for n := range 10 {
		entries = append(entries, l.image(fmt.Sprint("referrer ", n), object{"subject": subject,
			"annotations": object{"text": strings.Repeat("x", 1<<20)}}))
	}
	l.index(entries...)
	w.promote()
	w.keep()
	found, path := map[string]bool{}, "/v2/"+repo+"/referrers/"+subject.digest()
	for path != "" {
		r := w.get(path)
		var got struct{ Manifests []struct{ Digest string } }
		w.no(json.Unmarshal([]byte(r.body), &got))
		if len(r.body) > maxManifest || len(got.Manifests) == 0 {
			t.Fatalf("%d bytes, %d descriptors", len(r.body), len(got.Manifests))
		}
		for _, d := range got.Manifests {
			found[d.Digest] = true
		}
		link := r.Header.Get("Link")
		path, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
	}
	if len(found) != 10 {
		t.Errorf("%d were found", len(found))
	}
}

func TestRegistryMetrics(t *testing.T) {
	w := registryTree(t, "symlink")
	l := w.layout(repo)
	old, image := l.image("old", nil), l.image("one", nil)
	l.index(old.tag("v1"))
	w.promote()
	l.index(image.tag("v1"))
	w.promote()
	w.keep()
	for _, path := range []string{"manifests/v1", "manifests/" + old.digest(), "manifests/" + image.digest(),
		"blobs/" + digestOf("layer of old"), "tags/list", "referrers/" + old.digest(), "manifests/none"} {
		w.get("/v2/" + repo + "/" + path)
	}
	w.do("DELETE", "/v2/"+repo+"/manifests/v1")
	w.http.CloseClientConnections()
	text := w.metrics()
	for sample, want := range map[string]string{
		`publish_serve_requests_total{code="200",kind="tag"}`:      "1",
		`publish_serve_requests_total{code="200",kind="manifest"}`: "2",
		`publish_serve_requests_total{code="200",kind="blob"}`:     "1",
		`publish_serve_requests_total{code="200",kind="index"}`:    "2",
		`publish_serve_requests_total{code="404",kind="other"}`:    "1",
		`publish_serve_carried_hits_total`:                         "2",
		`publish_serve_rejected_total{reason="method"}`:            "1",
	} {
		if got := value(text, sample); got != want {
			t.Errorf("%s is %q, want %s", sample, got, want)
		}
	}
}
