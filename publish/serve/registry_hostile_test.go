package serve

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// replaceFile writes other bytes into production, as a root who does not care.
func (w *world) replaceFile(path, text string) {
	w.Helper()
	at := filepath.Join(w.dir, "production", path)
	w.no(os.Remove(at))
	w.no(os.WriteFile(at, []byte(text), 0o644))
}

// A manifest that has other bytes than its digest says is not answered.
func TestRegistryDamaged(t *testing.T) {
	w := registryTree(t, "symlink")
	l := w.layout(repo)
	image, cut := l.image("one", nil), l.image("two", nil)
	l.index(image.tag("v1"), cut.tag("v2"), l.image("three", object{"subject": image}))
	w.promote()
	text := l.file(image.digest())
	w.replaceFile(repo+"/blobs/sha256/"+image.digest()[7:], strings.Replace(text, "one", "eno", 1)[:len(text)-1]+" ")
	w.replaceFile(repo+"/blobs/sha256/"+cut.digest()[7:], "{")
	w.keep()
	for _, ref := range []string{"v1", image.digest(), "v2", cut.digest()} {
		w.refused(w.get("/v2/"+repo+"/manifests/"+ref), 500, "UNKNOWN")
	}
	if !strings.Contains(w.logged.String(), image.digest()[7:]) {
		t.Errorf("the log says %s", w.logged)
	}
	if r := w.get("/v2/" + repo + "/referrers/" + image.digest()); strings.Count(r.body, "digest") != 1 {
		t.Errorf("referrers: %s", r.body)
	}
}

// The slow walk reads manifests, and knows that documents have two forms.
func TestRegistryWalk(t *testing.T) {
	w := registryTree(t, "symlink")
	l := w.layout(repo)
	image := l.image("one", nil)
	l.index(l.list(image).tag("v1"))
	w.promote()
	w.keep()
	w.get("/v2/_catalog")
	v := w.server.keeper.hold()
	defer v.release()
	w.server.checkView(context.Background(), v, nil, 0)
	if strings.Contains(w.logged.String(), "damaged") {
		t.Error(w.logged)
	}
	w.replaceFile(repo+"/blobs/sha256/"+image.digest()[7:], strings.Repeat("x", image["size"].(int)))
	w.server.checkView(context.Background(), v, nil, 0)
	if log := w.logged.String(); strings.Count(log, "damaged") != 1 || !strings.Contains(log, image.digest()[7:]) ||
		!strings.Contains(log, errOther.Error()) {
		t.Error(log)
	}
}

// Indexes that list each other, which no digest allows, keep nobody busy.
func TestRegistryCircle(t *testing.T) {
	w := registryTree(t, "symlink")
	l := w.layout(repo)
	a, b := l.list(l.image("one", nil)), l.list(l.image("two", nil))
	l.index(a.tag("a"), b.tag("b"))
	w.promote()
	size := a["size"].(int)
	for from, to := range map[string]object{a.digest(): b, b.digest(): a} {
		text := w.text(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []object{to}, "subject": to})
		w.replaceFile(repo+"/blobs/sha256/"+from[7:], fmt.Sprintf("%-*s", size, text)[:size])
	}
	w.keep()
	for _, ref := range []string{"a", "b", a.digest(), b.digest()} {
		w.refused(w.get("/v2/"+repo+"/manifests/"+ref), 500, "UNKNOWN")
	}
	if r := w.get("/v2/" + repo + "/referrers/" + a.digest()); r.StatusCode != 200 || strings.Contains(r.body, "digest") {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
}

// A document with other bytes than the manifest says makes no view.
func TestRegistryDamagedDocument(t *testing.T) {
	w := registryTree(t, "symlink")
	l := w.layout(repo)
	image := l.image("one", nil)
	l.index(image.tag("v1"))
	w.promote()
	w.replaceFile(repo+"/index.json", w.text(object{"schemaVersion": 2, "manifests": []object{image.tag("forged")}}))
	w.keep()
	w.refused(w.get("/v2/"+repo+"/manifests/forged"), 503, "UNAVAILABLE")
	if r := w.admin("/-/readyz"); r.StatusCode != 503 || !strings.Contains(r.body, "index.json") {
		t.Errorf("readyz: %d %s", r.StatusCode, r.body)
	}
}

// What no document names is answered by what it says itself, if it says one thing only
// (CVE-2021-41190).
func TestRegistryUnnamed(t *testing.T) {
	w := registryTree(t, "symlink", "grace: 1h")
	l := w.layout(repo)
	kinds := map[string]string{} // by text, the type that is wanted; "" for 404
	add := func(kind string, v object) { kinds[w.text(v)] = kind }
	config, layers := l.blob(ociConfig, "{}"), []object{}
	add(ociManifest, object{"schemaVersion": 2, "config": config, "layers": layers})
	add(ociManifest, object{"schemaVersion": 2, "mediaType": ociManifest, "config": config, "layers": layers})
	add("application/x", object{"schemaVersion": 2, "mediaType": "application/x", "config": config, "layers": layers})
	add(ociIndex, object{"schemaVersion": 2, "manifests": layers})
	add("", object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": layers, "layers": layers})
	add("", object{"schemaVersion": 2, "mediaType": ociManifest, "manifests": layers})
	add("", object{"schemaVersion": 2, "mediaType": ociIndex, "config": config, "layers": layers})
	add("", object{"schemaVersion": 2, "manifests": nil})
	add("", object{"architecture": "amd64"})
	kinds["a layer"] = ""
	image := object{"schemaVersion": 2, "mediaType": ociManifest, "config": config}
	var content []object
	for text := range kinds { // so the tree has them, and no document names them
		content = append(content, l.blob(ociLayer, text))
	}
	l.index(l.json(ociManifest, image.with(object{"layers": content})).tag("v1"))
	w.promote()
	w.keep()
	for range 2 {
		for text, kind := range kinds {
			r := w.get("/v2/" + repo + "/manifests/" + digestOf(text))
			if kind == "" {
				w.refused(r, 404, "MANIFEST_UNKNOWN")
			} else if w.want(r, 200, text); r.Header.Get("Content-Type") != kind {
				t.Errorf("%s is %s", text, r.Header.Get("Content-Type"))
			}
			w.want(w.get("/v2/"+repo+"/blobs/"+digestOf(text)), 200, text)
		}
	}
	if n := strings.Count(w.logged.String(), "is not answered as a manifest"); n != 3 {
		t.Errorf("%d findings, want one of each: %s", n, w.logged)
	}
}

// What is too large for a manifest is a blob only.
func TestRegistryLargeManifest(t *testing.T) {
	w := registryTree(t, "symlink")
	l := w.layout(repo)
	large := w.text(object{"schemaVersion": 2, "config": l.blob(ociConfig, "{}"), "layers": []object{}}) +
		strings.Repeat(" ", 100<<20)
	layer := l.blob(ociLayer, large)
	l.index(l.json(ociManifest, object{"schemaVersion": 2, "mediaType": ociManifest, "config": l.blob(ociConfig, "{}"),
		"layers": []object{layer}}).tag("v1"), layer.with(object{"mediaType": "application/x"}).tag("large"))
	w.promote()
	w.keep()
	for _, ref := range []string{"large", layer.digest()} {
		w.refused(w.get("/v2/"+repo+"/manifests/"+ref), 404, "MANIFEST_UNKNOWN")
	}
	if r := w.get("/v2/" + repo + "/blobs/" + layer.digest()); r.StatusCode != 200 || len(r.body) != len(large) {
		t.Errorf("%d, %d bytes", r.StatusCode, len(r.body))
	}
}

// Files of a view that is not current any more are asked for in the current one.
func TestRegistryGone(t *testing.T) {
	w := registryTree(t, "symlink")
	l := w.layout(repo)
	image := l.image("one", nil)
	l.index(image.tag("v1"))
	w.promote()
	w.keep()
	w.want(w.get("/v2/"+repo+"/blobs/"+image.digest()), 200, l.file(image.digest()))
	for _, d := range []string{image.digest(), digestOf("layer of one")} {
		w.no(os.Remove(filepath.Join(w.dir, "production", repo, "blobs/sha256", d[7:])))
	}
	w.refused(w.get("/v2/"+repo+"/manifests/v1"), 404, "MANIFEST_UNKNOWN")
	w.refused(w.get("/v2/"+repo+"/manifests/"+image.digest()), 404, "MANIFEST_UNKNOWN")
	w.refused(w.get("/v2/"+repo+"/blobs/"+digestOf("layer of one")), 404, "BLOB_UNKNOWN")
}

// The memory for manifests is bounded, and forgets what was not asked for the longest.
func TestMemory(t *testing.T) {
	m := newMemory[remembered, *manifest](10 * (eachInMemory + 100))
	key := func(n int) remembered { return remembered{fmt.Sprint(n), ""} }
	for n := range 20 {
		m.put(key(n), &manifest{}, 100)
		m.put(key(n), &manifest{}, 100)
		m.get(key(0))
	}
	for n := range 20 {
		if _, ok := m.get(key(n)); ok != (n == 0 || n > 10) {
			t.Errorf("%d is remembered: %v", n, ok)
		}
	}
	m.put(key(20), nil, 0)
	if found, ok := m.get(key(20)); !ok || found != nil {
		t.Errorf("%v %v", found, ok)
	}
	m.put(key(21), &manifest{}, maxManifest)
	if m.order.Len() != len(m.by) || m.bytes > m.max {
		t.Errorf("%d and %d, %d bytes", m.order.Len(), len(m.by), m.bytes)
	}
}

func FuzzAsk(f *testing.F) {
	for _, p := range []string{"v2", "v2/", "v2/_catalog", "v2/a/tags/list", "v2/tags/list/tags/list",
		"v2/a/manifests/v1", "v2/a/manifests/tags/list", "v2/a/blobs/sha256:00", "v2/blobs/uploads", "v2//manifests/",
		"v2/a/referrers/sha256:00"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if !isRegistry(p) {
			return
		}
		a := parseAsk(p)
		word := map[askKind]string{askManifest: "manifests", askBlob: "blobs", askReferrers: "referrers"}[a.kind]
		switch {
		case word != "":
			if p != "v2/"+a.name+"/"+word+"/"+a.ref || a.name == "" || strings.Contains(a.ref, "/") {
				t.Errorf("%q is %+v", p, a)
			}
		case a.kind == askTags:
			if p != "v2/"+a.name+"/tags/list" {
				t.Errorf("%q is %+v", p, a)
			}
		case a.name != "" || a.ref != "":
			t.Errorf("%q is %+v", p, a)
		}
		if d, err := catalog.ParseDigest(a.ref); err == nil && strings.Contains(d.Hex, "/") {
			t.Errorf("%q", d)
		}
	})
}
