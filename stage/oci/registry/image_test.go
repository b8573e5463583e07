package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
)

// A tag that moves under the copy changes nothing of it, and is told.
func TestMoved(t *testing.T) {
	f := newFake(t)
	first, second := f.image("linux/amd64", "first"), f.image("linux/amd64", "second")
	f.tag("v1", first)
	to := newStore(t)
	f.does(func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		right.ServeHTTP(w, r)
		f.tag("v1", second)
	})
	got, pin, err := copying(t, asking(f), to, host+"/a/b:v1")
	if err != nil {
		t.Fatal(err)
	}
	if pin.Digest.String() != first.digest() || got.Moved.String() != second.digest() {
		t.Errorf("pinned %s, moved to %s", pin.Digest, got.Moved)
	}
	has(t, to, true, first, f.blob("", "first"))
	has(t, to, false, second, f.blob("", "second"))

	f.does(func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		right.ServeHTTP(w, r)
		f.mu.Lock()
		delete(f.tags, "v1") // it is gone: that is no failure of a copy
		f.mu.Unlock()
	})
	if got, _, err = copying(t, asking(f), newStore(t), host+"/a/b:v1"); err != nil || got.Moved != (catalog.Digest{}) {
		t.Errorf("moved to %v: %v", got, err)
	}
}

// A digest in the name is asked for, and checked.
func TestPinned(t *testing.T) {
	f := newFake(t)
	x := f.image("linux/amd64", "layer")
	data := f.have[x.digest()]
	long := fmt.Sprintf("sha512:%x", sha512.Sum512(data))
	f.have[long], f.kind[long] = data, ociManifest
	f.tag("v1", f.image("linux/amd64", "other"))
	for _, digest := range []string{x.digest(), long} {
		for _, name := range []string{host + "/a/b@" + digest, host + "/a/b:v1@" + digest} {
			got, pin, err := copying(t, asking(f), newStore(t), name)
			if err != nil {
				t.Fatal(err)
			}
			algorithm, hex, _ := strings.Cut(digest, ":")
			if pin.Digest.String() != digest || got.Moved != (catalog.Digest{}) ||
				got.Contents["blobs/"+algorithm+"/"+hex] != pin.Digest {
				t.Errorf("%s: pinned %v, %v", name, pin, got.Contents)
			}
		}
	}
	f.mu.Lock()
	f.have[x.digest()] = f.have[f.tags["v1"]]
	f.mu.Unlock()
	_, _, err := copying(t, asking(f), newStore(t), host+"/a/b@"+x.digest())
	wantFailure(t, err, catalog.WrongDigest, false, f.tags["v1"])
	_, _, err = copying(t, asking(f), newStore(t), host+"/a/b@sha256:"+hex256)
	wantFailure(t, err, catalog.NotFound, false)

	g := asking(f) // a digest of a lock file counts as one that was written
	r, _ := g.Parse(host + "/a/b:v1")
	r.Pinned, _ = catalog.ParseDigest(long)
	if p, err := g.Pin(context.Background(), r); err != nil || p.Digest != r.Pinned {
		t.Errorf("pinned %v: %v", p, err)
	}
}

// A part that is there is gone on with by the next copy, whoever made it.
func TestResumes(t *testing.T) {
	f := newFake(t)
	data := strings.Repeat("0123456789", 1000)
	f.tag("v1", f.image("linux/amd64", data))
	layer := f.blob("", data).of(t)
	to := newStore(t)
	to.parts[layer] = []byte(data[:7000])
	var got []string
	f.does(func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		if strings.HasSuffix(r.URL.Path, layer.String()) {
			got = append(got, r.Header.Get("Range"))
		}
		right.ServeHTTP(w, r)
	})
	_, _, err := copying(t, asking(f), to, host+"/a/b:v1")
	if err != nil || !slices.Equal(got, []string{"bytes=7000-"}) {
		t.Errorf("asked for %q: %v", got, err)
	}
	got, to = nil, newStore(t)
	to.parts[layer] = make([]byte, 7000) // a power cut left zeros
	_, _, err = copying(t, asking(f), to, host+"/a/b:v1")
	if err != nil || !slices.Equal(got, []string{"bytes=7000-", ""}) {
		t.Errorf("asked for %q: %v", got, err)
	}
}

// A layer that is to be had elsewhere is not asked for.
func TestForeign(t *testing.T) {
	f := newFake(t)
	var layers []d
	for _, kind := range []string{"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"} {
		x := f.blob(kind, kind).with("urls", []string{"http://127.0.0.1:1/x"})
		delete(f.have, x.digest())
		layers = append(layers, x)
	}
	here := f.blob("application/vnd.oci.image.layer.nondistributable.v1.tar", "pushed all the same")
	f.tag("v1", f.document(ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest,
		"config": f.blob(configType, "{}"), "layers": append(layers, here)}))
	to := newStore(t)
	got, _, err := copying(t, asking(f), to, host+"/a/b:v1")
	if err != nil || len(got.Contents) != 3 {
		t.Fatalf("%v: %v", got, err)
	}
	has(t, to, true, here)
}

// What refers to an image is found without an API too, over pages, and without what does not
// belong to it.
func TestReferrers(t *testing.T) {
	world := func() (f *fake, root, note d) {
		f = newFake(t)
		root = f.image("linux/amd64", "layer")
		f.tag("v1", root)
		return f, root, f.refer(root, "note")
	}
	list := func(f *fake, root d, list ...d) {
		x := f.index(list...)
		f.tags[strings.Replace(root.digest(), ":", "-", 1)] = x.digest()
	}
	for name, change := range map[string]func(f *fake, root, note d){
		"API": func(*fake, d, d) {},
		"a tag": func(f *fake, root, note d) {
			f.refs = nil
			list(f, root, note)
		},
		"a tag, text/plain and chunked": func(f *fake, root, note d) {
			f.refs = nil
			list(f, root, note)
			f.does(header(func(h http.Header) {
				h.Set("Content-Type", "text/plain")
				h.Del("Content-Length")
				h.Del("Docker-Content-Digest")
			}))
		},
		"pages": func(f *fake, root, note d) {
			f.does(func(w http.ResponseWriter, r *http.Request, right http.Handler) {
				if strings.HasSuffix(r.URL.Path, "/referrers/"+root.digest()) && r.URL.RawQuery == "" {
					w.Header().Set("Link", `<http://elsewhere.example.com/x?n=2>; rel="next"`)
					_, _ = io.WriteString(w, `{"schemaVersion":2,"manifests":[]}`)
					return
				}
				right.ServeHTTP(w, r)
			})
		},
		"one that is gone": func(f *fake, root, note d) {
			gone := f.refer(root, "gone")
			delete(f.kind, gone.digest())
		},
		"one of another image": func(f *fake, root, note d) {
			f.refs[root.digest()] = append(f.refs[root.digest()], f.refer(f.image("linux/amd64", "other"), "theirs"))
		},
		"one that is no manifest": func(f *fake, root, note d) {
			f.refs[root.digest()] = append(f.refs[root.digest()], f.blob("text/plain", "blob"))
		},
		"itself": func(f *fake, root, note d) { f.refs[root.digest()] = append(f.refs[root.digest()], root) },
	} {
		t.Run(name, func(t *testing.T) {
			f, root, note := world()
			change(f, root, note)
			to := newStore(t)
			got, _, err := copying(t, asking(f), to, host+"/a/b:v1")
			if err != nil {
				t.Fatal(err)
			}
			if has(t, to, true, note); len(got.Contents) != 6 {
				t.Errorf("contents %v", got.Contents)
			}
			if n := strings.Count(string(got.Documents["index.json"]), "digest"); n != 2 {
				t.Errorf("index.json: %s", got.Documents["index.json"])
			}
		})
	}
	climbing := `{"schemaVersion":2,"manifests":[{"digest":"../..","size":1,"mediaType":"` + ociManifest + `"}]}`
	for name, wrong := range map[string]wrongFunc{
		"403":       once(always, "/referrers/", code(403)),
		"no end":    once(always, "/referrers/", endless),
		"climbing":  once(always, "/referrers/", words(climbing)),
		"same page": once(always, "/referrers/", func(w http.ResponseWriter, _ *http.Request) { repeat(w, "?x=1") }),
	} {
		f, _, _ := world()
		f.does(wrong)
		_, _, err := copying(t, asking(f), newStore(t), host+"/a/b:v1")
		class, retry := catalog.Unauthorized, true
		switch name {
		case "no end":
			class, retry = catalog.OverLimit, false
		case "climbing":
			class, retry = catalog.WrongDigest, false
		case "same page":
			class = catalog.WrongType
		}
		t.Run(name, func(t *testing.T) { wantFailure(t, err, class, retry) })
	}
}

// A list of referrers that all refer elsewhere is not read to an end that never comes.
func TestReferrersElsewhere(t *testing.T) {
	f := newFake(t)
	one, two := f.image("linux/amd64", "layer"), f.image("linux/arm64", "layer")
	f.tag("v1", f.index(one, two))
	other := f.image("linux/amd64", "other")
	for i := range 30 {
		for _, x := range []d{one, two} {
			f.refs[x.digest()] = append(f.refs[x.digest()], f.refer(other, fmt.Sprint("note ", i, x.digest())))
		}
	}
	for limit, fine := range map[int]bool{60: true, 59: false} {
		g := asking(f, func(o *Options, _ *Settings) { o.Limits.Blobs = limit })
		_, _, err := copying(t, g, newStore(t), host+"/a/b:v1")
		if fine && err != nil {
			t.Errorf("at the limit: %v", err)
		} else if !fine {
			wantFailure(t, err, catalog.OverLimit, false)
		}
	}
}

// Manifests that list too much are refused before all others are in memory too.
func TestManyLarge(t *testing.T) {
	f := newFake(t)
	var list []d
	for i := range 60 {
		var layers []any
		for n := range 40 {
			layers = append(layers, f.blob("application/vnd.oci.image.layer.v1.tar", fmt.Sprint("layer ", i, n)))
		}
		list = append(list, f.document(ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest,
			"config": f.blob("application/vnd.oci.image.config.v1+json", "{}"), "layers": layers}))
	}
	f.tag("v1", f.index(list...))
	g := asking(f, func(o *Options, _ *Settings) { o.Limits.Blobs = 100 })
	_, _, err := copying(t, g, newStore(t), host+"/a/b:v1")
	wantFailure(t, err, catalog.OverLimit, false)
	if len(f.log) > 30 {
		t.Errorf("%d requests", len(f.log))
	}
}

// endless answers with a page that has a next one.
func endless(w http.ResponseWriter, r *http.Request) { repeat(w, "?x=1"+r.URL.RawQuery) }

func repeat(w http.ResponseWriter, next string) {
	w.Header().Set("Link", "<"+next+`>; rel="next"`)
	_, _ = io.WriteString(w, `{"schemaVersion":2,"manifests":[]}`)
}

// Platforms of images that no index names are those of their configs.
func TestPlatforms(t *testing.T) {
	f := newFake(t)
	amd := f.image("linux/amd64", "one")
	f.tag("plain", amd)
	f.tag("nested", f.index(f.index(amd.on("linux/amd64"), f.image("linux/arm64", "two").on("linux/arm64"))))
	f.tag("unnamed", f.index(amd))
	f.tag("none", f.document(ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest,
		"config": f.blob("application/vnd.cncf.helm.config.v1+json", "{}"), "layers": []d{}}))
	odd := f.blob("application/vnd.example.odd", "odd")
	f.tag("odd", f.index(amd.on("linux/amd64"), odd))
	for _, c := range []struct {
		tag, asked, missing string
		refused             bool
	}{
		{tag: "plain", asked: "linux/amd64"},
		{tag: "plain", asked: "linux/amd64,linux/arm64", missing: "linux/arm64"},
		{tag: "plain", asked: "linux/arm64", refused: true},
		{tag: "plain", asked: "linux/amd64/v2", refused: true},
		{tag: "nested", asked: "linux/amd64,linux/s390x", missing: "linux/s390x"},
		{tag: "unnamed", asked: "linux/amd64,linux/s390x", missing: "linux/s390x"},
		{tag: "none", asked: "linux/amd64"},
		{tag: "odd", asked: "linux/amd64"},
	} {
		to := newStore(t)
		got, _, err := copying(t, asking(f), to, host+"/a/b:"+c.tag, strings.Split(c.asked, ",")...)
		if c.refused {
			wantFailure(t, err, catalog.NotFound, false, c.asked)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.tag, err)
			continue
		}
		if missing := strings.Join(got.Missing, ","); missing != c.missing {
			t.Errorf("%s for %s: missing %q, want %q", c.tag, c.asked, missing, c.missing)
		}
		has(t, to, c.tag == "odd", odd)
		has(t, to, false, f.blob("", "two"))
	}
	for _, bad := range []string{"linux", "linux/", "a/b/c/d", "linux/a,b"} {
		_, _, err := copying(t, asking(f), newStore(t), host+"/a/b:plain", bad)
		if usage := new(catalog.UsageError); !errors.As(err, &usage) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// sink is a [catalog.Sink] in memory.
type sink map[string][]byte

func (s sink) Put(_ context.Context, name string, r io.Reader, want ...catalog.Digest) (catalog.Digest, int64, error) {
	data, err := io.ReadAll(r)
	sum := catalog.Digest{Algorithm: catalog.SHA256, Hex: fmt.Sprintf("%x", sha256.Sum256(data))}
	for _, w := range want {
		if w.Algorithm == catalog.SHA256 && w != sum {
			return sum, 0, catalog.ErrDigest
		}
	}
	s[name] = data
	return sum, int64(len(data)), err
}

func (s sink) Open(name string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s[name])), nil
}

// empty is a tree with nothing in it.
type empty struct{}

func (empty) Document(p string) ([]byte, error) {
	return nil, &catalog.DocumentError{Path: p, Code: "missing", Fact: "does not exist"}
}
func (empty) Blob(string, catalog.Digest, int64) ([]byte, error) { return nil, fs.ErrNotExist }
func (empty) List(string) iter.Seq2[string, error]               { return func(func(string, error) bool) {} }

type file struct{ io.Reader }

func (file) Close() error   { return nil }
func (file) Also(io.Writer) {}

// What comes is a layout that the format takes, with the name, the platforms and what refers
// to the image.
func TestGathered(t *testing.T) {
	f := newFake(t)
	amd, arm := f.image("linux/amd64", "one"), f.image("linux/arm64", "two")
	root := f.index(amd.on("linux/amd64"), arm.on("linux/arm64"))
	f.tag("v1", root)
	notes := []d{f.refer(root, "signed"), f.refer(amd, "signed too")}
	for _, name := range []string{host + "/a/b:v1", host + "/a/b@" + root.digest()} {
		for _, picked := range [][]string{nil, {"linux/amd64"}} {
			to := newStore(t)
			got, pin, err := copying(t, asking(f), to, name, picked...)
			if err != nil {
				t.Fatal(err)
			}
			in := catalog.Input{Dir: "fetched", Inside: func(p string) (catalog.File, error) {
				if data, ok := got.Documents[p]; ok {
					return file{bytes.NewReader(data)}, nil
				}
				data, ok := to.have[got.Contents[p]]
				if !ok {
					return nil, fs.ErrNotExist
				}
				return file{bytes.NewReader(data)}, nil
			}}
			edit, err := oci.Format{}.Gather(context.Background(), []catalog.Input{in}, sink{}, catalog.Addition{Name: name,
				Platforms: picked})
			if err != nil {
				t.Fatal(err)
			}
			change, err := edit(context.Background(), empty{})
			if err != nil {
				t.Fatal(err)
			}
			if len(change.Images) != 1 || change.Images[0].Fingerprint != pin.Digest.String() || len(change.Findings) > 0 {
				t.Fatalf("%s: images %v, findings %v", name, change.Images, change.Findings)
			}
			paths := change.Images[0].Paths
			if len(paths) != len(got.Contents) {
				t.Errorf("%s: %d contents in the tree, and %d came", name, len(paths), len(got.Contents))
			}
			for _, n := range notes {
				if !slices.Contains(paths, path.Join(host, "a/b/blobs/sha256", n.of(t).Hex)) {
					t.Errorf("%s: %s is not in the tree", name, n.digest())
				}
			}
		}
	}
}
