package serve

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
)

// A tag follows each switch at once. What somebody resolved before it is answered by
// digest until its window ends (zot #4444), and never with an error of the server (zot
// #2299).
func TestRegistrySwitches(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			w := registryTree(t, mode, "grace: 1h")
			l := w.layout(repo)
			at := "/v2/" + repo
			tag := func(want object) {
				t.Helper()
				r := w.get(at + "/manifests/v1")
				if w.want(r, 200, l.file(want.digest())); r.Header.Get("Docker-Content-Digest") != want.digest() {
					t.Errorf("v1 is %v", r.Header)
				}
			}
			pull := func(when string, status int, digests ...string) {
				t.Helper()
				for _, d := range digests {
					for _, kind := range []string{"/manifests/", "/blobs/"} {
						if r := w.get(at + kind + d); r.StatusCode != status {
							t.Errorf("%s: %s%s: %d %s, want %d", when, kind, d, r.StatusCode, r.body, status)
						}
					}
				}
			}
			layer := func(name string, status int) {
				t.Helper()
				if r := w.get(at + "/blobs/" + digestOf("layer of "+name)); r.StatusCode != status {
					t.Errorf("the layer of %s: %d, want %d", name, r.StatusCode, status)
				}
			}
			platform := l.image("one", nil)
			one := l.list(platform, l.image("one too", nil))
			l.index(one.tag("v1"))
			w.promote()
			w.keep()
			tag(one)
			pull("at first", 200, one.digest(), platform.digest())

			two := l.list(l.image("two", nil))
			l.index(two.tag("v1"))
			w.promote()
			pull("from the view of before", 200, two.digest())
			tag(two)
			pull("after a promote", 200, one.digest(), platform.digest(), two.digest())
			layer("one", 200)

			_, err := w.repo.Revert(context.Background(), publish.RevertOptions{})
			w.no(err)
			tag(one)
			pull("after a revert", 200, one.digest(), platform.digest(), two.digest())

			_, err = w.repo.Promote(context.Background(), publish.PromoteOptions{Force: true})
			w.no(err)
			tag(two)
			w.later(30 * time.Minute)
			pull("after a gc within the window", 200, one.digest(), platform.digest(), two.digest())
			layer("one", 200)
			w.later(3 * time.Hour) // the generation stays the same
			tag(two)
			pull("after its window", 404, one.digest(), platform.digest())
			layer("one", 404)
			layer("two", 200)

			// The whole repository goes, and comes back.
			other := w.layout("other")
			other.index(other.image("other", nil).tag("v1"))
			index, err := os.ReadFile(filepath.Join(w.dir, "staging", repo, "index.json"))
			w.no(err)
			w.no(os.Rename(filepath.Join(w.dir, "staging", repo), filepath.Join(w.dir, "aside")))
			w.promote()
			w.want(w.get("/v2/_catalog"), 200, `{"repositories":["other"]}`)
			w.want(w.get(at+"/tags/list"), 200, `{"name":"`+repo+`","tags":[]}`)
			w.refused(w.get(at+"/manifests/v1"), 404, "MANIFEST_UNKNOWN")
			pull("of a repository that went", 200, two.digest())
			w.later(3 * time.Hour)
			pull("of a repository that is gone", 404, two.digest())
			w.restart()
			w.refused(w.get(at+"/tags/list"), 404, "NAME_UNKNOWN")
			w.no(os.MkdirAll(filepath.Dir(filepath.Join(w.dir, "staging", repo)), 0o755))
			w.no(os.Rename(filepath.Join(w.dir, "aside"), filepath.Join(w.dir, "staging", repo)))
			w.write(repo+"/index.json", string(index))
			w.promote()
			tag(two)
			if w.logged.String() != "" && strings.Contains(w.logged.String(), "level=ERROR") {
				t.Errorf("%s", w.logged)
			}
		})
	}
}

// What was revoked is not answered any more, from no file and from no memory.
func TestRegistryRevoke(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			w := registryTree(t, mode)
			l := w.layout(repo)
			old, bad, good := l.image("old", nil), l.image("bad", nil), l.image("good", nil)
			l.index(bad.tag("bad"), good.tag("good"), old.tag("old"))
			w.promote()
			l.index(bad.tag("bad"), good.tag("good"))
			w.promote() // old is carried
			w.keep()
			at := "/v2/" + repo + "/manifests/"
			for _, d := range []object{bad, old, good} {
				w.want(w.get(at+d.digest()), 200, l.file(d.digest()))
			}
			bytes := l.file(good.digest())
			_, err := w.repo.Revoke(context.Background(), publish.RevokeOptions{What: []string{repo + ":bad",
				old.digest()[7:]}, Why: "leaked"})
			w.no(err)
			for _, d := range []object{bad, old} {
				w.refused(w.get(at+d.digest()), 404, "MANIFEST_UNKNOWN")
			}
			w.refused(w.get(at+"bad"), 404, "MANIFEST_UNKNOWN")
			w.refused(w.get("/v2/"+repo+"/blobs/"+digestOf("layer of bad")), 404, "BLOB_UNKNOWN")
			w.want(w.get(at+good.digest()), 200, bytes)
			w.want(w.get(at+"good"), 200, bytes)
		})
	}
}

// A view of a new generation reads only the documents that changed.
func TestRegistryViewCostsWhatChanged(t *testing.T) {
	w := registryTree(t, "symlink", "grace: 1h")
	a, b := w.layout("a"), w.layout("b")
	subject := a.image("subject", nil)
	a.index(subject.tag("v1"), a.image("referrer", object{"subject": subject}))
	b.index(b.image("one", nil).tag("v1"))
	w.promote()
	w.keep()
	of := func(name string) *repository {
		v := w.server.keeper.hold()
		defer v.release()
		return v.repos.by[name]
	}
	w.get("/v2/a/referrers/" + subject.digest())
	facts := maps.Clone(of("a").refs.known)
	wasA, wasB := of("a"), of("b")
	b.index(b.image("two", nil).tag("v1"))
	w.promote()
	w.get("/v2/b/tags/list")
	if of("a") != wasA || of("b") == wasB {
		t.Errorf("a is read anew: %v, b: %v", of("a") != wasA, of("b") != wasB)
	}
	// What is held goes later than the switch; the row of the document stays the same.
	row, wasB := of("b").row, of("b")
	w.later(2 * time.Hour)
	a.index(subject.tag("v1"), a.image("referrer", object{"subject": subject}), a.image("more", nil).tag("more"))
	w.promote()
	w.get("/v2/b/tags/list")
	if of("b") == wasB || of("b").row != row || len(of("b").named) != 1 {
		t.Errorf("b names %d manifests", len(of("b").named))
	}
	// What manifests say is read once per digest, also by the walk beside the serving.
	v := w.server.keeper.hold()
	w.server.checkView(t.Context(), v, nil, 0)
	v.release()
	if n := len(of("a").refs.known); n != 3 {
		t.Errorf("%d manifests of a are known", n)
	}
	for digest, f := range facts {
		if of("a").refs.known[digest] != f {
			t.Errorf("%s is read again", digest)
		}
	}
	if len(facts) != 2 {
		t.Errorf("%d facts", len(facts))
	}
}

// waiting is a format whose manifests take as long to read as a test wants.
type waiting struct {
	catalog.Puller
	read atomic.Int32
	wait chan struct{}
}

func (f *waiting) Manifest(data []byte) (*catalog.Manifest, error) {
	f.read.Add(1)
	<-f.wait
	return f.Puller.Manifest(data)
}

// However long it takes to read all manifests for the first one who asks for referrers, a
// new view does not wait for that, and what was read before it is not read again.
func TestReferrersHoldNobodyUp(t *testing.T) {
	w := registryTree(t, "symlink")
	slow := &waiting{Puller: w.server.pull, wait: make(chan struct{})}
	w.server.pull = slow
	l := w.layout(repo)
	subject := l.image("subject", nil)
	named := []object{subject.tag("v1"), l.image("referrer", object{"subject": subject})}
	l.index(named...)
	w.promote()
	w.keep()
	w.reach(1)
	path := "/v2/" + repo + "/referrers/" + subject.digest()
	first := make(chan response)
	go func() { first <- w.get(path) }()
	for slow.read.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	l.index(append(named, l.image("new", nil).tag("v2"))...)
	w.promote()
	w.want(w.get("/v2/"+repo+"/tags/list"), 200, `{"name":"`+repo+`","tags":["v1","v2"]}`)
	close(slow.wait)
	if r := <-first; strings.Count(r.body, `"digest"`) != 1 || r.Header.Get("Publish-Generation") != "1" {
		t.Errorf("%v %s", r.Header, r.body)
	}
	v := w.server.keeper.hold()
	w.server.checkView(t.Context(), v, nil, 0)
	v.release()
	before := slow.read.Load()
	if r := w.get(path); strings.Count(r.body, `"digest"`) != 1 || r.Header.Get("Publish-Generation") != "2" {
		t.Errorf("%v %s", r.Header, r.body)
	}
	l.index(append(named, l.image("newer", nil).tag("v2"))...)
	w.promote()
	w.get(path)
	if n := slow.read.Load() - before; n != 1 { // what the index held before is known
		t.Errorf("%d manifests are read, want that of newer", n)
	}
}
