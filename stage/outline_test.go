package stage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
	"example.com/publish/stage/tree"
)

// namedLayouts are a staging tree with two repositories, a page, orphans and an upload.
func namedLayouts(t *testing.T) *Stage {
	t.Helper()
	s := newStage(t)
	s.Format = oci.Format{}
	s.Facts = filepath.Join(filepath.Dir(s.Hashes), "facts")
	for _, r := range []string{"acme/app", "acme/app-two", "acme/app/three"} {
		image(t, s, r, "v1", "one")
		image(t, s, r, "v2", "two of "+r)
	}
	blobs := "acme/app/blobs/"
	put(t, s, "index.html", "a page", "acme/app/README", "another", blobs+"sha256/odd", "orphan",
		blobs+"sha256/"+strings.Repeat("a", 64), "orphan", blobs+"sha512/"+strings.Repeat("b", 128), "orphan",
		blobs+"sha256/oci-put-blob1", "upload", "gone/blobs/sha256/"+strings.Repeat("c", 64), "orphan")
	return s
}

// pathOfBlob returns the path of a blob that only one tag of acme/app needs.
func pathOfBlob(t *testing.T, s *Stage, tag string) string {
	t.Helper()
	o, err := s.Outline(t.Context(), true)
	must(t, err)
	found := ""
	for i := range o.Images {
		if o.Images[i].Product == "acme/app" && o.Images[i].Version == tag {
			o.Each(i, func(blob int) {
				b := o.Blobs.At(blob)
				found = fmt.Sprintf("%s/%x", o.Blobs.Dirs[b.Dir], b.Sum)
			})
		}
	}
	return found
}

// Names tell what a look at each file tells.
func TestOutline(t *testing.T) {
	s := namedLayouts(t)
	gone := pathOfBlob(t, s, "v2")
	must(t, os.Remove(filepath.Join(s.Dir, gone)))
	for range 2 { // with what was learned, too
		o, err := s.Outline(t.Context(), false)
		must(t, err)
		want, err := s.Validate(t.Context(), Checks{Now: time.Now()})
		must(t, err)
		if o == nil {
			t.Fatal("staging is not in the usual form")
		}
		if got := o.TreeID(); got != tree.ID(want.Rows) {
			t.Error("another tree id")
		}
		if diff := cmp.Diff(want.Strays, o.Strays, cmp.AllowUnexported(tree.Entry{})); diff != "" { // they are files
			t.Error(diff)
		}
		missing := 0
		for _, there := range o.There {
			if !there {
				missing++
			}
		}
		if still, err := o.Still(); missing != 1 || !still || err != nil {
			t.Errorf("%d missing, %v, %v", missing, still, err)
		}
	}
}

// Of what is not in the usual form there is no outline.
func TestOutlineUnusual(t *testing.T) {
	for name, change := range map[string]func(s *Stage, blob string) error{
		"a link for a file": func(s *Stage, p string) error { return relink(p, filepath.Join(s.Dir, "index.html")) },
		"a dangling link":   func(s *Stage, p string) error { return relink(p, "nowhere") },
		"a link for a document": func(s *Stage, p string) error {
			return relink(filepath.Join(s.Dir, "acme/app/index.json"), p)
		},
		"a link elsewhere": func(s *Stage, p string) error { return os.Symlink("acme", filepath.Join(s.Dir, "link")) },
		"a download":       func(s *Stage, p string) error { return os.WriteFile(p+".aria2", nil, 0o644) },
		"a large page": func(s *Stage, p string) error {
			return os.WriteFile(filepath.Join(s.Dir, "large"), make([]byte, maxOther+1), 0o644)
		},
		"a bad name": func(s *Stage, p string) error { return os.WriteFile(filepath.Join(s.Dir, "a\nb"), nil, 0o644) },
		"another format": func(s *Stage, p string) error {
			s.Format = Stage{}.Format
			return nil
		},
		"content elsewhere": func(s *Stage, p string) error {
			s.Elsewhere = func() (*Elsewhere, error) { return &Elsewhere{}, nil }
			return nil
		},
	} {
		s := namedLayouts(t)
		must(t, change(s, filepath.Join(s.Dir, pathOfBlob(t, s, "v1"))))
		if o, err := s.Outline(t.Context(), true); o != nil || err != nil {
			t.Errorf("%s: has an outline, %v", name, err)
		}
	}
}

func relink(at, to string) error {
	if err := os.Remove(at); err != nil {
		return err
	}
	return os.Symlink(to, at)
}

// A folder with the name of a blob is no blob.
func TestOutlineFolder(t *testing.T) {
	s := namedLayouts(t)
	at := pathOfBlob(t, s, "v1")
	must(t, os.Remove(filepath.Join(s.Dir, at)))
	must(t, os.MkdirAll(filepath.Join(s.Dir, at, "below"), 0o755))
	o, err := s.Outline(t.Context(), true)
	must(t, err)
	sum, _ := catalog.ParseSum(filepath.Base(at))
	if blob := o.Blobs.Find(0, &sum); blob < 0 || o.There[blob] {
		t.Error("a folder is taken for a blob")
	}
}

// Who writes a document after it was read is noticed.
func TestStillOutlined(t *testing.T) {
	s := namedLayouts(t)
	o, err := s.Outline(t.Context(), true)
	must(t, err)
	image(t, s, "acme/app", "v3", "three")
	if still, err := o.Still(); still || err != nil {
		t.Errorf("%v, %v", still, err)
	}
}

// An image is removed by its name or digest from what the indexes say, and by anything
// else as ever.
func TestRemoveOutlined(t *testing.T) {
	s := namedLayouts(t)
	blob := pathOfBlob(t, s, "v1")
	for _, what := range []string{"acme/app-two:v1", blob} {
		out, err := s.Remove(t.Context(), t.TempDir(), what)
		must(t, err)
		if len(out) == 0 || out[0].Version != "v1" || out[0].Type != "container" {
			t.Errorf("%s: %+v", what, out)
		}
	}
	if _, err := s.Remove(t.Context(), t.TempDir(), "acme/app:v2", "acme/app:v9"); err == nil {
		t.Error("what is not there is removed")
	}
	left, err := s.List(t.Context())
	must(t, err)
	var names []string
	for _, i := range left {
		names = append(names, i.Ref)
	}
	want := []string{"acme/app:v2", "acme/app-two:v2", "acme/app/three:v1", "acme/app/three:v2"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}
