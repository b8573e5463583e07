package stage

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// layouts is a format like that of OCI: each directory with an index is a
// repository, whose index names manifests by their hash, and these name layers.
// It has to find the indexes, and to read content.
type layouts struct{ catalog.Format }

func (layouts) Ref(n catalog.Name) string { return n.String() }

func (layouts) Name() string { return "layouts" }

func (layouts) Class(p string) catalog.Class {
	switch {
	case path.Base(p) == "index":
		return catalog.Index
	case strings.Contains(p, "blobs/"):
		return catalog.ItemLike
	}
	return catalog.Other
}

func (f layouts) Documents(src catalog.Source) ([]string, error) { return f.find(src, ".") }

func (f layouts) find(src catalog.Source, dir string) (found []string, err error) {
	for name, err := range src.List(dir) {
		if err != nil {
			return nil, err
		}
		sub, isDir := strings.CutSuffix(name, "/")
		switch {
		case isDir && sub != "blobs":
			more, err := f.find(src, path.Join(dir, sub))
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		case name == "index":
			found = append(found, path.Join(dir, name))
		}
	}
	return found, nil
}

func (layouts) Clearsigned(string) string { return "" }

func (f layouts) Read(ctx context.Context, src catalog.Source) (*catalog.Catalog, error) {
	indexes, err := f.Documents(src)
	cat := &catalog.Catalog{Documents: indexes}
	for _, index := range indexes {
		data, err := src.Document(index)
		if err != nil {
			return nil, err
		}
		item := func(sum string) string {
			p := path.Join(path.Dir(index), "blobs", sum)
			cat.Items = append(cat.Items, catalog.Item{Path: p, Size: -1, SHA256: sum, Product: path.Dir(index),
				Index: index})
			return p
		}
		for sum := range strings.FieldsSeq(string(data)) {
			manifest, err := src.Blob(item(sum), catalog.Digest{Algorithm: catalog.SHA256, Hex: sum}, 1000)
			if err != nil {
				cat.Findings = append(cat.Findings, catalog.Finding{Severity: catalog.Error, Code: "bad-digest",
					Path: index, Message: err.Error()})
				continue
			}
			for layer := range strings.FieldsSeq(string(manifest)) {
				item(layer)
			}
		}
	}
	slices.SortFunc(cat.Items, func(a, b catalog.Item) int { return strings.Compare(a.Path, b.Path) })
	return cat, err
}

// A snapshot's format reads documents as they were copied, and content from
// staging, by its digest; a tree that is left in the directory is not of it.
func TestSnapshotSource(t *testing.T) {
	layer := []byte("layer")
	manifest, large := []byte(sum(layer)), make([]byte, 1001)
	repository := func(dir string, more ...string) map[string][]byte {
		return map[string][]byte{
			dir + "/index": []byte(sum(manifest) + strings.Join(more, "")), dir + "/page": []byte("page"),
			dir + "/blobs/" + sum(manifest): manifest, dir + "/blobs/" + sum(layer): layer,
			dir + "/blobs/orphan": layer,
		}
	}
	for name, c := range map[string]struct {
		tree map[string][]byte
		want []string // codes
	}{
		"sound": {repository("a/b"), []string{"left-out"}},
		"two":   {joined(repository("a"), repository("b/c/d")), []string{"left-out"}},
		"other manifest": {joined(repository("a"), map[string][]byte{"a/blobs/" + sum(manifest): layer}),
			[]string{"bad-digest", "hash-mismatch", "left-out"}},
		"no manifest": {repository("a", "\n"+sum([]byte("x"))), []string{"bad-digest", "left-out", "missing"}},
		"too large": {joined(repository("a", "\n"+sum(large)), map[string][]byte{"a/blobs/" + sum(large): large}),
			[]string{"bad-digest", "left-out"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.Format = layouts{}
			for p, data := range c.tree {
				must(t, os.MkdirAll(filepath.Dir(join(s.Dir, p)), 0o755))
				must(t, os.WriteFile(join(s.Dir, p), data, 0o644))
			}
			snap := snapshot(t, s, &Base{})
			valid, report := validate(t, snap)
			var got []string
			for _, f := range report.Findings {
				got = append(got, f.Code)
			}
			slices.Sort(got)
			if !slices.Equal(slices.Compact(got), c.want) {
				t.Errorf("%v: %+v", got, report.Findings)
			}
			if sound := name == "sound" || name == "two"; (valid != nil) != sound {
				t.Errorf("valid: %v", valid)
			}
			for p := range c.tree {
				_, err := os.Lstat(join(snap.Dir, p))
				if orphan := path.Base(p) == "orphan"; valid != nil && errors.Is(err, os.ErrNotExist) != orphan {
					t.Errorf("%s: %v", p, err)
				}
			}
		})
	}
}

// What lies in the directory already, and was not copied, is no document.
func TestSnapshotSourceOfASpare(t *testing.T) {
	s := newStage(t)
	s.Format = layouts{}
	snap := snapshot(t, s, &Base{})
	for _, p := range []string{"old/index", "index", "old/blobs/x"} {
		must(t, os.MkdirAll(filepath.Dir(join(snap.Dir, p)), 0o755))
		must(t, os.WriteFile(join(snap.Dir, p), []byte("x"), 0o644))
	}
	src, done, err := snap.contents()
	must(t, err)
	defer done()
	if found, err := (layouts{}).Documents(src); len(found) > 0 || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if _, err := src.Document("index"); !catalog.Missing(err) {
		t.Errorf("%v", err)
	}
}

func joined(maps ...map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for _, m := range maps {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}
