package generation

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

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
