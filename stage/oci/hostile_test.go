package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// What comes from outside and is made to do harm is an InputError, and leaves no
// trace in the tree.
func TestHostileLayout(t *testing.T) {
	whole := func() (*fixture, d) {
		f := newFixture()
		x := f.image("l", "x")
		f.layout("l", x.tag("v1"))
		return f, x
	}
	entry := func(change func(f *fixture, x d) d) func(*testing.T) catalog.Input {
		return func(t *testing.T) catalog.Input {
			f, x := whole()
			f.layout("l", change(f, x).tag("v1"))
			return archive(f.tar(t, "l"))
		}
	}
	digest := func(of func(hex string) string) func(*testing.T) catalog.Input {
		return entry(func(_ *fixture, x d) d { return x.with("digest", of(x.digest()[7:])) })
	}
	index := func(text string) func(*testing.T) catalog.Input {
		return func(t *testing.T) catalog.Input {
			f, _ := whole()
			f.write("l/index.json", text)
			return f.input("l")
		}
	}
	for name, c := range map[string]struct {
		in   func(*testing.T) catalog.Input
		want string
	}{
		"a digest that climbs":  {digest(func(string) string { return "sha256:../../../etc/passwd" }), "digest"},
		"a digest with a slash": {digest(func(hex string) string { return "sha256:a/" + hex[2:] }), "digest"},
		"upper case":            {digest(func(hex string) string { return "sha256:" + strings.ToUpper(hex) }), "digest"},
		"no algorithm":          {digest(func(hex string) string { return hex }), "digest"},
		"md5":                   {digest(func(hex string) string { return "md5:" + hex[:32] }), "digest"},
		"a size that lies":      {entry(func(_ *fixture, x d) d { return x.with("size", 3) }), "descriptor says 3"},
		"a negative size":       {entry(func(_ *fixture, x d) d { return x.with("size", -1) }), "size"},
		"a huge size":           {entry(func(_ *fixture, x d) d { return x.with("size", uint64(1)<<62) }), "size"},
		"a huge manifest":       {entry(func(_ *fixture, x d) d { return x.with("size", 5<<20) }), "may have"},
		"a layer that lies": {entry(func(f *fixture, _ d) d {
			layer := f.blob("l", "application/vnd.oci.image.layer.v1.tar", "layer")
			config := f.blob("l", ociConfig, `{"os":"linux","architecture":"amd64"`+oneLayer)
			return f.json("l", ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest, "config": config,
				"layers": []d{layer.with("size", 1000)}})
		}), "has 5 bytes, and its descriptor says 1000"},
		"nested too deep": {entry(func(f *fixture, x d) d {
			for range 3000 {
				x = f.list("l", x)
			}
			return x
		}), "levels below"},
		"an index that is a manifest too": {entry(func(f *fixture, x d) d {
			return f.json("l", ociIndex, d{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []d{x}, "layers": []d{}})
		}), "in one"},
		"manifests: null":      {index(`{"schemaVersion":2,"manifests":null}`), "manifests: is null"},
		"manifests of another": {index(`{"schemaVersion":2,"manifests":[3]}`), "manifests[0]: is a number"},
		"manifests of nothing": {index(`{"schemaVersion":2,"manifests":[null]}`), "manifests[0]: is null"},
		"objects without end": {index(`{"schemaVersion":2,"manifests":[` + strings.Repeat("{},", 1<<20) + `{}]}`),
			"objects"},
		"elements without end": {index(`{"schemaVersion":2,"manifests":[{"urls":[` + strings.Repeat(`"a",`, 1<<20) +
			`"a"]}]}`), "elements"},
		"members without end": {index(`{"schemaVersion":2,` + numbered(50_000, "a long name for a member ", 0) +
			`,"manifests":[]}`), "members"},
		"annotations without end": {index(`{"schemaVersion":2,"annotations":{` + numbered(50_000, "", "x") +
			`},"manifests":[]}`), "members"},
		"entries without end": {index(`{"schemaVersion":2,"manifests":[` +
			strings.Repeat(`{"mediaType":"a/b","digest":"a text of more letters than an empty descriptor needs"},`, 50_000) +
			`{}]}`), "a descriptor is longer"},
		"a huge entry": {entry(func(f *fixture, x d) d {
			return x.with("data", strings.Repeat("x", maxManifest))
		}), "a descriptor may have"},
		"nothing": {index(``), "end of JSON"},
		"an index without end": {index(`{"schemaVersion":2,"manifests":[` +
			strings.Repeat(`["`+strings.Repeat("x", 64)+`",`, 20_000)),
			"max depth"},
		"a name that is a path": {index(`{"schemaVersion":2,"manifests":"../../etc/passwd"}`), "manifests: is a text"},
		"a manifest of objects": {entry(func(f *fixture, _ d) d {
			return f.blob("l", ociManifest, `{"layers":[`+strings.Repeat("{},", 1<<20)+`{}]}`)
		}), "objects"},
		"a manifest that is cut": {entry(func(f *fixture, _ d) d { return f.blob("l", ociManifest, `{"layers":[`) }),
			"is no JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture()
			_, err := f.add(t, c.in(t), "a:1")
			if !errors.As(err, new(*catalog.InputError)) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if len(f.files) > 0 {
				t.Error("something came")
			}
		})
	}
}

// numbered are members of an object.
func numbered(n int, name string, value any) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ",%q:%#v", fmt.Sprint(name, i), value)
	}
	return b.String()[1:]
}

// A large index that means something is taken, also one that is as short as can be.
func TestDense(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	platform := d{"os": "linux", "architecture": "amd64"}
	for name, e := range map[string]d{
		"the shortest":    {"mediaType": "a/b", "digest": digest, "size": 0},
		"with a platform": {"mediaType": ociManifest, "digest": digest, "size": 0, "platform": platform},
		"named": d{"mediaType": ociManifest, "digest": digest, "size": 0}.with("annotations",
			d{refName: "v1", imageName: repo + ":v1"}),
	} {
		f := newFixture()
		entries := make([]d, 20_000)
		for i := range entries {
			entries[i] = e
		}
		f.layout(repo, entries...)
		if x, err := parseEntries(f.files[repo+"/index.json"].Data); err != nil || len(x.entries) != len(entries) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text := `"` + strings.Repeat(`[{,\"`, 10_000) + `"`
	if dense([]byte(text)) {
		t.Error("what stands in a text counts")
	}
}

// Of very many wrong entries a report has the first ones, and says how many more there are.
func TestManyFindings(t *testing.T) {
	f := newFixture()
	entries := make([]d, maxFindings+3)
	for i := range entries {
		entries[i] = d{"mediaType": ociManifest, "digest": fmt.Sprintf("%0100d", i), "size": 1}
	}
	f.layout(repo, entries...)
	cat, err := Format{}.Read(t.Context(), f.source())
	if err != nil || len(cat.Findings) != maxFindings+1 {
		t.Fatalf("%d findings, %v", len(cat.Findings), err)
	}
	rest := func(x catalog.Finding) bool { return x.Message == "and 3 more of this kind in the repository" }
	if !slices.ContainsFunc(cat.Findings, rest) {
		t.Error("nothing says that there are more")
	}
}

// A layout of another version may mean something else. Some have no oci-layout.
func TestLayoutOfSource(t *testing.T) {
	f := newFixture()
	f.layout("l", f.image("l", "x").tag("v1"))
	for text, good := range map[string]bool{"": true, `{"imageLayoutVersion":"1.0.0"}`: true,
		`{"imageLayoutVersion":"1.0.1"}`: true, `{"imageLayoutVersion":"2.0.0"}`: false, `{}`: false, `{`: false,
		`{"imageLayoutVersion":"1.0."}`: false, `{"imageLayoutVersion":1}`: false, `[]`: false} {
		if f.write("l/oci-layout", text); text == "" {
			delete(f.files, "l/oci-layout")
		}
		for what, in := range map[string]catalog.Input{"directory": f.input("l"), "archive": archive(f.tar(t, "l"))} {
			_, err := newFixture().add(t, in, "a:1")
			if (err == nil) != good || !good && (!errors.As(err, new(*catalog.InputError)) ||
				!strings.Contains(err.Error(), "oci-layout: ")) {
				t.Errorf("%s of %s: %v", what, text, err)
			}
		}
	}
}

// tarWith is an archive of a whole layout and one more entry.
func tarWith(t *testing.T, h *tar.Header, data string) []byte {
	t.Helper()
	f := newFixture()
	f.layout("l", f.image("l", "x").tag("v1"))
	body := f.tar(t, "l")
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	h.Size = int64(len(data))
	if err := errors.Join(w.WriteHeader(h), func() error { _, err := io.WriteString(w, data); return err }(),
		w.Flush()); err != nil {
		t.Fatal(err)
	}
	return append(buf.Bytes(), body...)
}

func TestHostileArchive(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"a device": {tarWith(t, &tar.Header{Typeflag: tar.TypeBlock, Name: "blobs/sha256/sda"}, ""), "neither a file"},
		"a pipe":   {tarWith(t, &tar.Header{Typeflag: tar.TypeFifo, Name: "index.json"}, ""), "neither a file"},
		"absolute": {tarWith(t, &tar.Header{Typeflag: tar.TypeReg, Name: "/etc/passwd"}, "x"), "leads out"},
		"climbs":   {tarWith(t, &tar.Header{Typeflag: tar.TypeReg, Name: "a/../../x"}, "x"), "leads out"},
		"twice":    {tarWith(t, &tar.Header{Typeflag: tar.TypeReg, Name: "a/../index.json"}, "{}"), "twice"},
		"other content under a digest": {tarWith(t, &tar.Header{Typeflag: tar.TypeReg,
			Name: "blobs/sha256/" + strings.Repeat("0", 64)}, "x"), "digest"},
		"cut": {func() []byte {
			data := tarWith(t, &tar.Header{Typeflag: tar.TypeReg, Name: "a"}, "x")
			return data[:bytes.Index(data, []byte("layer of x"))+3]
		}(), "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture()
			_, err := f.add(t, archive(c.data), "a:1")
			if !errors.As(err, new(*catalog.InputError)) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if len(f.files) > 0 {
				t.Error("something came")
			}
		})
	}
	// A link is a name in the archive, and leads to nothing outside.
	for _, link := range []string{"/etc/passwd", "../../etc/passwd", "blobs/sha256/x"} {
		data := tarWith(t, &tar.Header{Typeflag: tar.TypeSymlink, Name: "a/link", Linkname: link}, "")
		if _, err := newFixture().add(t, archive(data), "a:1"); err != nil {
			t.Errorf("%s: %v", link, err)
		}
	}
}

// Names are remembered, and so they count: what refers to nothing costs memory also. Nor
// does a name keep the header that it stands in.
func TestNamesOfArchive(t *testing.T) {
	list := func(n int, link string) iter.Seq2[catalog.Entry, error] {
		return func(yield func(catalog.Entry, error) bool) {
			for i := range n {
				name := fmt.Sprintf("%07d/%s", i, strings.Repeat("a", 3000))
				if !yield(catalog.Entry{Name: name, Link: link, Content: strings.NewReader("")}, nil) {
					return
				}
			}
		}
	}
	long := strings.Repeat("b", 3000)
	for name, c := range map[string]struct {
		n    int
		want string
	}{"few": {100, "no index.json"}, "many": {60_000, "bytes of names"}} {
		for _, link := range []string{"", long} {
			_, err := newFixture().add(t, catalog.Input{Entries: list(c.n, link)}, "a:1")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
		}
	}
}

// The checksum at the end of a packed archive counts.
func TestChecksumOfArchive(t *testing.T) {
	f := newFixture()
	f.layout("l", f.image("l", "x").tag("v1"))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(f.tar(t, "l")); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	data := packed.Bytes()
	other := bytes.Clone(data)
	clear(other[len(other)-8 : len(other)-4])
	for name, c := range map[string]struct {
		data []byte
		want string
	}{"whole": {data, ""}, "cut": {data[:len(data)-3], "EOF"}, "another checksum": {other, "checksum"}} {
		_, err := newFixture().add(t, archive(c.data), "a:1")
		if c.want == "" && err == nil {
			continue
		}
		if !errors.As(err, new(*catalog.InputError)) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// An archive that unpacks to far more than it has bytes is refused before it fills
// the disk.
func TestBomb(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	w := tar.NewWriter(z)
	const size = freeBytes + 200<<20
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, io.LimitReader(zeros{}, size)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	s := &drain{}
	_, err := Format{}.Bring(t.Context(), archive(packed.Bytes()), s, catalog.Addition{Name: "a:1"})
	if !errors.Is(err, errBomb) || !errors.As(err, new(*catalog.InputError)) {
		t.Errorf("%v", err)
	}
	if s.bytes > freeBytes+maxRatio*int64(packed.Len())+1<<20 || s.bytes < freeBytes {
		t.Errorf("%d bytes of %d were written", s.bytes, packed.Len())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// drain counts what is put into it.
type drain struct {
	sink
	bytes int64
}

func (s *drain) Put(_ context.Context, _ string, r io.Reader, _ ...catalog.Digest) (catalog.Digest, int64, error) {
	n, err := io.Copy(io.Discard, r)
	s.bytes += n
	return catalog.Digest{Algorithm: catalog.SHA256, Hex: strings.Repeat("0", 64)}, n, err
}

// What people write and what annotations say is read without harm, and is read the
// same when it is written again.
func FuzzReference(f *testing.F) {
	for _, s := range []string{"alpine", "host:5000/a/b:v1@sha256:" + strings.Repeat("0", 64), "a/blobs/b",
		"sha256:00", "A:b"} {
		f.Add(s, "linux/arm/v7,linux/amd64")
	}
	f.Fuzz(func(t *testing.T, s, list string) {
		if r, err := ParseReference(s); err == nil {
			again, err := ParseReference(r.Name())
			if err != nil || again.Repository != r.Repository || again.Tag != r.Tag {
				t.Errorf("%q is %+v, and then %+v: %v", s, r, again, err)
			}
			if why := checkRepository(r.Repository); why != "" {
				t.Errorf("%q %s", r.Repository, why)
			}
		}
		n := Format{}.ParseRef(s)
		if n.Version != "" && n.Group != "" && !strings.ContainsAny(n.Group, "@:") && Format.Ref(Format{}, n) != s {
			t.Errorf("%q is %+v", s, n)
		}
		if ps, err := parsePlatforms(strings.Split(list, ",")); err == nil {
			again, err := parsePlatforms(strings.Split(ps.String(), ","))
			if err != nil || again.String() != ps.String() {
				t.Errorf("%q is %s, and then %s: %v", list, ps, again, err)
			}
		}
		e := descriptor{Digest: "sha256:" + strings.Repeat("0", 64), Annotations: notesOf(map[string]string{
			refName: s, imageName: list,
			requestedNote: s, platformsNote: list, stagedNote: s})}
		id, stale := e.identity("docker.io/acme/app")
		if stale != "" && fmt.Sprintf("%+v", id) != fmt.Sprintf("%+v", identity{}) {
			t.Errorf("%q is believed in part: %+v", stale, id)
		}
	})
}
