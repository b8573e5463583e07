package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"example.com/publish/stage/catalog"
)

// sink keeps what is put into it.
type sink map[string][]byte

func (s sink) Put(_ context.Context, p string, r io.Reader, want ...catalog.Digest) (catalog.Digest, int64, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return catalog.Digest{}, 0, err
	}
	got := catalog.Digest{Algorithm: catalog.SHA256, Hex: fmt.Sprintf("%x", sha256.Sum256(data))}
	for _, w := range want {
		sum, err := w.New()
		if err != nil {
			return got, 0, err
		}
		if sum.Write(data); fmt.Sprintf("%x", sum.Sum(nil)) != w.Hex {
			return got, 0, catalog.ErrDigest
		}
	}
	if s[p] != nil {
		return got, 0, errors.New("has come before")
	}
	s[p] = data
	return got, int64(len(data)), nil
}

func (s sink) Open(p string) (io.ReadCloser, error) {
	data, ok := s[p]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// given is a file that somebody named.
type given struct{ io.Reader }

func (given) Close() error   { return nil }
func (given) Also(io.Writer) {}

// input is a layout of the fixture, as a directory.
func (f *fixture) input(dir string) catalog.Input {
	return catalog.Input{Dir: dir, Inside: func(name string) (catalog.File, error) {
		file := f.files[path.Join(dir, name)]
		if file == nil {
			return nil, fs.ErrNotExist
		}
		return given{bytes.NewReader(file.Data)}, nil
	}}
}

// tar is a layout of the fixture, as an archive.
func (f *fixture) tar(t *testing.T, dir string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	var list []string
	for p := range f.files {
		list = append(list, p)
	}
	slices.Sort(list)
	for _, p := range list {
		name, ok := strings.CutPrefix(p, dir+"/")
		if !ok {
			continue
		}
		data := f.files[p].Data
		if err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Size: int64(len(data)),
			Mode: 0o644}), func() error { _, err := w.Write(data); return err }()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// archive is an Input of one.
func archive(data []byte) catalog.Input {
	return catalog.Input{Files: []string{"x.tar"}, Open: func(string) (catalog.File, error) {
		return given{bytes.NewReader(data)}, nil
	}}
}

// add brings an input into the fixture.
func (f *fixture) add(t *testing.T, in catalog.Input, name string) (*catalog.Change, error) {
	t.Helper()
	s := sink{}
	edit, err := Format{}.Bring(t.Context(), in, s, catalog.Addition{Name: name})
	if err != nil {
		return nil, err
	}
	change, err := edit(t.Context(), f.source())
	if err != nil {
		return nil, err
	}
	for from, to := range change.Places {
		f.write(to, string(s[from]))
	}
	f.apply(change.Documents)
	return change, nil
}

// A layout and an archive of it bring the same: what was named, what it leads to,
// and what refers to it.
func TestBring(t *testing.T) {
	from := newFixture()
	arm, amd := from.image("l", "arm"), from.image("l", "amd")
	multi := from.list("l", arm, amd)
	sbom := from.image("l", "sbom", "subject", amd)
	other := from.image("l", "other")
	from.layout("l", multi.tag("v1").with("annotations", d{refName: "v1", imageName: repo + ":v1"}), arm, sbom,
		other.with("annotations", d{refName: "docker.io/acme/other:2"}), from.image("l", "dangling", "subject",
			d{"mediaType": ociManifest, "size": 1, "digest": "sha256:" + strings.Repeat("0", 64)}))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(from.tar(t, "l")); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	zstd, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]catalog.Input{"directory": from.input("l"), "archive": archive(from.tar(t, "l")),
		"packed": archive(packed.Bytes()), "zstd": archive(zstd.EncodeAll(from.tar(t, "l"), nil))} {
		t.Run(name, func(t *testing.T) {
			f := newFixture()
			change, err := f.add(t, in, "")
			if err != nil {
				t.Fatal(err)
			}
			if n := len(change.Images); n != 2 {
				t.Errorf("%d images, want 2", n)
			}
			cat, findings := f.read(t)
			equal(t, "findings", findings, nil)
			equal(t, "images", names(cat), []string{repo + "/v1", "docker.io/acme/other/2"})
			if n := len(cat.Items); n != 7+3+3 {
				t.Errorf("%d items, want 13", n)
			}
			for _, i := range cat.Images {
				if i.Version == "v1" && i.Fingerprint != multi.digest() {
					t.Errorf("v1 is %s, was %s", i.Fingerprint, multi.digest())
				}
			}
			if change, err = f.add(t, in, ""); err != nil || len(change.Documents) > 0 {
				t.Errorf("a second time: %v %v", change, err)
			}
		})
	}
}

// A name that is given counts, and moves the tag.
func TestBringNamed(t *testing.T) {
	f, one, two := newFixture(), newFixture(), newFixture()
	one.layout("l", one.image("l", "one"))
	two.layout("l", two.image("l", "two").tag("whatever"))
	if _, err := f.add(t, one.input("l"), "acme/app"); err != nil {
		t.Fatal(err)
	}
	change, err := f.add(t, two.input("l"), "acme/app:latest")
	if err != nil || len(change.Replaced) != 3 {
		t.Fatalf("%v %v", change, err)
	}
	cat, findings := f.read(t)
	equal(t, "findings", findings, nil)
	equal(t, "images", names(cat), []string{repo + "/latest"})
	if want := two.image("l", "two").digest(); cat.Images[0].Fingerprint != want {
		t.Errorf("latest is %s, want %s", cat.Images[0].Fingerprint, want)
	}
	if _, err := f.add(t, two.input("l"), "acme/app@"+one.image("l", "one").digest()); !errors.Is(err,
		catalog.ErrDigest) {
		t.Errorf("another digest than that of the name: %v", err)
	}
}

// An image without a tag can be named, also if what it leads to and what refers to it is
// listed beside it.
func TestBringUntagged(t *testing.T) {
	from := newFixture()
	arm, amd := from.image("l", "arm"), from.image("l", "amd")
	multi := from.list("l", arm, amd)
	sbom := from.image("l", "sbom", "subject", amd)
	for _, in := range []func() catalog.Input{func() catalog.Input { return from.input("l") },
		func() catalog.Input { return archive(from.tar(t, "l")) }} {
		f := newFixture()
		from.layout("l", arm, amd, multi, sbom)
		if _, err := f.add(t, in(), "acme/app:v1"); err != nil {
			t.Fatal(err)
		}
		cat, findings := f.read(t)
		equal(t, "findings", findings, nil)
		equal(t, "images", names(cat), []string{repo + "/v1"})
		if cat.Images[0].Fingerprint != multi.digest() || len(cat.Images[0].Paths) != 10 {
			t.Errorf("%+v", cat.Images[0])
		}
		if x, err := parseIndex(f.files[repo+"/index.json"].Data); err != nil || len(x.entries) != 4 {
			t.Errorf("%+v %v", x, err)
		}
		usage := new(catalog.UsageError)
		if _, err := f.add(t, in(), ""); !errors.As(err, &usage) || !strings.Contains(err.Error(), multi.digest()) {
			t.Errorf("without a name: %v", err)
		}
		from.layout("l", multi, arm, amd, from.image("l", "other"))
		if _, err := f.add(t, in(), "acme/app:v1"); !errors.As(err, &usage) ||
			!strings.Contains(err.Error(), "2 images without") {
			t.Errorf("two of them: %v", err)
		}
	}
}

// What is wrong with a source is no wrong request.
func TestBringWrongSource(t *testing.T) {
	x := newFixture()
	image := x.image("l", "x")
	for name, c := range map[string]struct {
		in   catalog.Input
		want string
	}{
		"an empty directory": {newFixture().input("l"), "l: has no index.json"},
		"an empty file":      {archive(nil), "x.tar: has no index.json"},
		"zeros":              {archive(make([]byte, 10240)), "x.tar: has no index.json"},
		"a folder of it":     {archive(tarOf(t, member{name: "sub/index.json", data: "{}"})), "x.tar: has no index.json"},
		"a link for the index": {archive(tarOf(t, member{name: "i", data: "{}"}, member{name: "index.json", link: "i"})),
			"x.tar: has no index.json"},
		"another archive": {archive(tarOf(t, member{name: "x/manifest", data: "{}"})), "x.tar: has no index.json"},
		"no entry": {archive(tarOf(t, member{name: "index.json", data: `{"schemaVersion":2,"manifests":[]}`})),
			"has no image"},
		"null":         {archive(tarOf(t, member{name: "manifest.json", data: "null"})), "lists no image"},
		"no image":     {archive(tarOf(t, member{name: "manifest.json", data: "[]"})), "lists no image"},
		"repositories": {archive(tarOf(t, member{name: "repositories", data: "{}"})), "no manifest.json"},
		"a tag that is no": {func() catalog.Input {
			x.layout("l", image.tag("../x"))
			return x.input("l")
		}(), "../x is not a tag"},
	} {
		_, err := Format{}.Bring(t.Context(), c.in, sink{}, catalog.Addition{Repository: "acme/x"})
		bad := new(catalog.InputError)
		if !errors.As(err, &bad) || bad.Hint == "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q and a hint", name, err, c.want)
		}
	}
	usage := new(catalog.UsageError)
	x.layout("l", image)
	if _, err := (Format{}).Bring(t.Context(), x.input("l"), sink{}, catalog.Addition{}); !errors.As(err, &usage) {
		t.Errorf("without a name: %v", err)
	}
}

func TestBringRefuses(t *testing.T) {
	whole := func() *fixture {
		f := newFixture()
		f.layout("l", f.image("l", "x").tag("v1"))
		return f
	}
	for name, c := range map[string]struct {
		in   func(t *testing.T) catalog.Input
		ref  string
		want string
	}{
		"no index":     {func(*testing.T) catalog.Input { return newFixture().input("l") }, "a:1", "no index.json"},
		"no name":      {func(*testing.T) catalog.Input { return whole().input("l") }, "", "does not say"},
		"no reference": {func(*testing.T) catalog.Input { return whole().input("l") }, "A:", "is no reference"},
		"a digest": {func(*testing.T) catalog.Input {
			return whole().input("l")
		}, "sha256:" + strings.Repeat("0", 63), "without a name"},
		"a blob is gone": {func(*testing.T) catalog.Input {
			f := whole()
			for p, file := range f.files {
				if strings.Contains(string(file.Data), "layer of") {
					delete(f.files, p)
				}
			}
			return f.input("l")
		}, "a:1", "the image needs it"},
		"other bytes": {func(t *testing.T) catalog.Input {
			f := whole()
			for p, file := range f.files {
				if strings.Contains(string(file.Data), "layer of") {
					f.write(p, "other")
				}
			}
			return archive(f.tar(t, "l"))
		}, "a:1", "digest"},
		"cut": {func(t *testing.T) catalog.Input {
			d := whole().tar(t, "l")
			return archive(d[:520])
		}, "a:1", "EOF"},
		"no archive": {func(*testing.T) catalog.Input { return archive([]byte("hello")) }, "a:1", "EOF"},
		"leads out": {func(t *testing.T) catalog.Input {
			f := newFixture()
			f.write("l/../../x", "x")
			return archive(f.tar(t, "l"))
		}, "a:1", "leads out"},
		"a half index": {func(*testing.T) catalog.Input {
			f := whole()
			f.write("l/index.json", "{")
			return f.input("l")
		}, "a:1", "index.json"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture()
			if _, err := f.add(t, c.in(t), c.ref); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if len(f.files) > 0 {
				t.Error("something came")
			}
		})
	}
}

// A tag stands for one image: of two sources that have it the second does not win.
func TestBringConflict(t *testing.T) {
	one, two := newFixture(), newFixture()
	one.layout("one", one.image("one", "one").tag("v1"), one.image("one", "x").tag("v2"))
	two.layout("two", two.image("two", "two").tag("v1"), two.image("two", "x").tag("v2"))
	in := []catalog.Input{one.input("one"), two.input("two")}
	_, err := Format{}.Gather(t.Context(), in, sink{}, catalog.Addition{Repository: "acme/app"})
	if !errors.As(err, new(*catalog.InputError)) ||
		!strings.Contains(err.Error(), "two: docker.io/acme/app:v1 is sha256:") {
		t.Errorf("%v", err)
	}
	opt := catalog.Addition{Repository: "acme/app", Only: []string{"v2"}}
	if _, err = (Format{}).Gather(t.Context(), in, sink{}, opt); err != nil {
		t.Errorf("the same image twice: %v", err)
	}
}

func TestParseReference(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	for s, want := range map[string]string{
		"alpine":                            "docker.io/library/alpine:latest",
		"index.docker.io/acme/app:v1":       "docker.io/acme/app:v1",
		"host:5000/x/y:v1":                  "host_5000/x/y:v1",
		"host_5000/x/y:v1":                  "host_5000/x/y:v1",
		"ab_c/x":                            "docker.io/ab_c/x:latest",
		"localhost/x":                       "localhost/x:latest",
		"alpine@" + digest:                  "docker.io/library/alpine@" + digest,
		"alpine:3.20@" + digest:             "docker.io/library/alpine:3.20",
		"sha256:" + strings.Repeat("0", 63): "",
		digest:                              "",
		"Foo/Bar":                           "",
		"a/blobs/b":                         "",
		"x/index.json":                      "",
		"":                                  "",
		"docker:x/y:t":                      "",
		"docker://x/y:t":                    "",
		"x@sha256:0":                        "",
	} {
		r, err := ParseReference(s)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q is taken for %s", s, r.Name())
		case want != "" && (err != nil || r.Name() != want):
			t.Errorf("%q is %s, want %s: %v", s, r.Name(), want, err)
		}
	}
}

// A layout whose index.json somebody is writing is read again.
func TestHalfSource(t *testing.T) {
	from := newFixture()
	from.layout("l", from.image("l", "x").tag("v1"))
	whole := string(from.files["l/index.json"].Data)
	from.write("l/index.json", whole[:len(whole)/2])
	in, reads := from.input("l"), 0
	in.Again = func(_ context.Context, read func() (bool, error)) error {
		for {
			half, err := read()
			if reads++; !half {
				return err
			}
			from.write("l/index.json", whole)
		}
	}
	if _, err := newFixture().add(t, in, "acme/app:v1"); err != nil || reads != 2 {
		t.Errorf("%v after %d reads", err, reads)
	}
	from.write("l/index.json", `{"schemaVersion":1}`) // whole, and wrong
	if _, err := newFixture().add(t, in, "acme/app:v1"); err == nil || reads != 3 {
		t.Errorf("%v after %d reads", err, reads)
	}
}

func FuzzArchive(f *testing.F) {
	x := newFixture()
	x.layout("l", x.image("l", "a").tag("v1"))
	f.Add(x.tar(&testing.T{}, "l"))
	f.Fuzz(func(t *testing.T, data []byte) {
		y := newFixture()
		if _, err := y.add(t, archive(data), "acme/app:v1"); err != nil {
			return
		}
		cat, findings := y.read(t)
		for _, i := range cat.Items {
			if y.files[i.Path] == nil {
				t.Errorf("%s is not here: %q", i.Path, findings)
			}
		}
	})
}
