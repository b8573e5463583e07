package generation

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// bundleOf makes a bundle of files with the content of their names, and of a link.
func bundleOf(f *testing.F, names ...string) []byte {
	f.Helper()
	m := &Manifest{Head: Head{Generation: 1, Kind: KindPromote, Format: "plain"}}
	for _, name := range names {
		m.Own = append(m.Own, tree.Row{Path: name, Size: int64(len(name)), SHA256: hashOf(name), Role: catalog.Mutable})
	}
	m.Own = append(m.Own, tree.Row{Path: "z", Size: 1, SHA256: hashOf("a"), Role: catalog.Link})
	m.TreeID = tree.ID(m.Own)
	var text, out bytes.Buffer
	if err := m.Encode(&text); err != nil {
		f.Fatal(err)
	}
	w := tar.NewWriter(&out)
	for _, name := range append([]string{BundleManifest}, names...) {
		data := name
		if name == BundleManifest {
			data = text.String()
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data))}); err != nil {
			f.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "z", Linkname: "a"}); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	return out.Bytes()
}

// repeated is a text again and again, and counts what was read.
type repeated struct {
	text string
	read int
}

func (r *repeated) Read(p []byte) (n int, err error) {
	n = copy(p, strings.Repeat(r.text, len(p)/len(r.text)+1))
	r.read += n
	return n, nil
}

// A manifest that is made to take much memory is read to its first line that is none.
func TestManifestOfJunk(t *testing.T) {
	for _, c := range []struct {
		begin, text string
		most        int // bytes to read
	}{
		{manifestMagic + "{}\n", "own x\n", 1 << 20},
		{manifestMagic + "{}\n", "\n", 1 << 20},
		{manifestMagic + "{}\n", "x", 1 << 20},
		{manifestMagic, "x", maxHead + 1<<20},
		{"", "x", 1 << 20},
		{"publish-manifest 9\n", "x", 1 << 20},
	} {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		must(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: BundleManifest, Size: maxBundleManifest}))
		_, err := io.WriteString(w, c.begin)
		must(err)
		junk := &repeated{text: c.text}
		_, err = Unbundle(t.Context(), io.MultiReader(&buf, junk), nil, nil)
		if e := new(fault.Error); !errors.As(err, &e) || e.Kind != fault.Invalid || junk.read > c.most {
			t.Errorf("%q, %q: %v after %d bytes", c.begin, c.text, err, junk.read)
		}
	}
}

// Whatever is read, a file comes once, is in the manifest, and stays in the tree.
func FuzzUnbundle(f *testing.F) {
	f.Add(bundleOf(f, "a", "b/c"))
	f.Fuzz(func(t *testing.T, data []byte) {
		came := map[string]bool{}
		m, err := Unbundle(t.Context(), bytes.NewReader(data), func(*Manifest) error { return nil },
			func(_ context.Context, row tree.Row, content io.Reader) error {
				if clean, _, ok := catalog.Clean(row.Path); came[row.Path] || !ok || clean != row.Path ||
					strings.HasPrefix(clean, ".publish-") {
					t.Errorf("%q comes", row.Path)
				}
				came[row.Path] = true
				_, err := io.Copy(io.Discard, content)
				return err
			})
		if err != nil {
			return
		}
		if tree.ID(m.Own) != m.TreeID {
			t.Error("the rows are not those of the tree")
		}
		for p := range came {
			if _, ok := tree.Find(m.Own, p); !ok {
				t.Errorf("%q came, and is no row", p)
			}
		}
	})
}
