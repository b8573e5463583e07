package stage

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// offered is a tree with one version of a product, as it comes of a server: its files in dir,
// but for the root, if other has that.
func offered(t *testing.T, dir, version, root, other string) *Fetched {
	t.Helper()
	f := &Fetched{Name: "https://images.example.com#*", Documents: map[string][]byte{}, Contents: map[string]FetchedFile{}}
	item := func(ftype, data string) map[string]any {
		path := "images/" + version + "/file." + ftype
		file := FetchedFile{Path: filepath.Join(dir, sum([]byte(data))), Move: true}
		if data == root && other != "" {
			file = FetchedFile{Path: other}
		} else {
			must(t, os.WriteFile(file.Path, []byte(data), 0o444))
		}
		f.Contents[path] = file
		return map[string]any{"ftype": ftype, "path": path, "size": len(data), "sha256": sum([]byte(data))}
	}
	meta := item("incus.tar.xz", "meta "+version)
	meta["combined_squashfs_sha256"] = sum([]byte("meta " + version + root))
	document := func(path string, v any) {
		data, err := json.Marshal(v)
		must(t, err)
		f.Documents[path] = data
	}
	document("streams/v1/images.json", map[string]any{"products": map[string]any{"debian:13": map[string]any{
		"arch": "amd64", "extra": "kept", "versions": map[string]any{version: map[string]any{
			"items": map[string]any{"meta": meta, "root": item("squashfs", root)}}}}}})
	document("streams/v1/index.json", map[string]any{"index": map[string]any{"images": map[string]any{
		"datatype": "image-downloads", "path": "streams/v1/images.json", "products": []string{"debian:13"}}}})
	return f
}

// A tree is united with what staging has: its files are moved, and a content of staging is
// linked.
func TestUnite(t *testing.T) {
	s := newStage(t)
	ctx, dir := context.Background(), t.TempDir()
	first := offered(t, dir, "20260101_00:00", "hsqs one", "")
	out, err := s.Unite(ctx, first, "mirror run")
	must(t, err)
	if len(out.Images) != 1 || out.Unchanged || len(out.Kept) > 0 {
		t.Errorf("%+v", out)
	}
	for name, file := range first.Contents {
		if _, err := os.Lstat(file.Path); err == nil {
			t.Errorf("%s: was copied, not moved", name)
		}
	}
	held := s.Holders()(catalog.Digest{Algorithm: catalog.SHA256, Hex: sum([]byte("hsqs one"))})
	_, err = s.Unite(ctx, offered(t, dir, "20260102_00:00", "hsqs one", held), "mirror run")
	must(t, err)
	if !oneFile(t, s, "images/20260101_00:00/file.squashfs", "images/20260102_00:00/file.squashfs") {
		t.Error("a content that staging has was copied")
	}
	if doc := string(read(t, filepath.Join(s.Dir, "streams/v1/images.json"))); !strings.Contains(doc, `"extra":"kept"`) {
		t.Errorf("a field is lost: %s", doc)
	}
	if images := valid(t, s); len(images) != 2 {
		t.Errorf("staging has %+v", images)
	}
	same := offered(t, dir, "20260102_00:00", "hsqs one", "")
	for name := range same.Contents { // nobody reads what lies in its place
		same.Contents[name] = FetchedFile{Path: filepath.Join(dir, "none"), Move: true}
	}
	again, err := s.Unite(ctx, same, "mirror run")
	must(t, err)
	if !again.Unchanged {
		t.Errorf("the same again: %+v", again)
	}
	s.Format = racing{s.Format, func() {
		must(t, os.Remove(filepath.Join(s.Dir, "images/20260102_00:00/file.squashfs")))
	}}
	if _, err = s.Unite(ctx, same, "mirror run"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that goes meanwhile: %v", err)
	}
}

// racing is a format during whose Merge somebody does something.
type racing struct {
	catalog.Format
	then func()
}

func (r racing) Merge(ctx context.Context, theirs catalog.Source) (catalog.Edit, error) {
	r.then()
	return r.Format.Merge(ctx, theirs)
}

// What is not as it should be is refused, and staging is as it was.
func TestUniteRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *Stage, f *Fetched)
		want   func(error) bool
	}{
		"a file that is not what its hash says": {func(_ *Stage, f *Fetched) {
			path := f.Contents["images/20260102_00:00/file.squashfs"].Path
			must(t, os.Chmod(path, 0o644))
			must(t, os.WriteFile(path, []byte("hsqs two"), 0o444))
		}, func(err error) bool { return errors.Is(err, catalog.ErrDigest) }},
		"a file that is not there": {func(_ *Stage, f *Fetched) {
			delete(f.Contents, "images/20260102_00:00/file.squashfs")
		}, func(err error) bool { return errors.Is(err, os.ErrNotExist) }},
		"a path that climbs": {func(_ *Stage, f *Fetched) {
			doc := f.Documents["streams/v1/images.json"]
			f.Documents["streams/v1/images.json"] = []byte(strings.Replace(string(doc), "images/2", "../2", 1))
		}, func(err error) bool { return errors.As(err, new(*FindingsError)) }},
		"a document that is cut": {func(_ *Stage, f *Fetched) {
			f.Documents["streams/v1/images.json"] = f.Documents["streams/v1/images.json"][:50]
		}, func(err error) bool { return errors.As(err, new(*FindingsError)) }},
		"a folder in its place": {func(s *Stage, _ *Fetched) {
			must(t, os.MkdirAll(filepath.Join(s.Dir, "images/20260102_00:00/file.squashfs"), 0o755))
		}, func(err error) bool { return errors.As(err, new(*FindingsError)) }},
		"a link instead of its folder": {func(s *Stage, _ *Fetched) {
			must(t, os.Symlink("20260101_00:00", filepath.Join(s.Dir, "images/20260102_00:00")))
		}, func(err error) bool { return errors.As(err, new(*FindingsError)) }},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir, ctx := newStage(t), t.TempDir(), context.Background()
			_, err := s.Unite(ctx, offered(t, dir, "20260101_00:00", "hsqs one", ""), "mirror run")
			must(t, err)
			before := string(read(t, filepath.Join(s.Dir, "streams/v1/images.json")))
			f := offered(t, dir, "20260102_00:00", "hsqs two!", "")
			c.change(s, f)
			if _, err := s.Unite(ctx, f, "mirror run"); !c.want(err) {
				t.Errorf("error %v", err)
			}
			if got := string(read(t, filepath.Join(s.Dir, "streams/v1/images.json"))); got != before {
				t.Errorf("staging has changed: %s", got)
			}
			if left, err := filepath.Glob(filepath.Join(s.Dir, ".publish-*/*")); err != nil || len(left) > 0 {
				t.Errorf("%v are left", left)
			}
		})
	}
}
