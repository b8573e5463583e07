package check

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// served writes an index.json that names the root of a layout with a tag, and its
// children as they are added for clients.
func served(t *testing.T, layout string) {
	t.Helper()
	var index struct{ Manifests []map[string]any }
	data, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	if err != nil {
		t.Fatal(err)
	}
	root := index.Manifests[0]
	root["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "v1"}
	var children struct{ Manifests []map[string]any }
	digest := strings.Replace(root["digest"].(string), ":", "/", 1)
	if data, err = os.ReadFile(filepath.Join(layout, "blobs", digest)); err == nil {
		err = json.Unmarshal(data, &children)
	}
	if err != nil {
		t.Fatal(err)
	}
	list := []map[string]any{root}
	for _, c := range children.Manifests {
		c["annotations"] = map[string]string{added[0]: "true"}
		list = append(list, c)
	}
	if data, err = json.Marshal(map[string]any{"schemaVersion": 2, "manifests": list}); err != nil {
		t.Fatal(err)
	}
	write(t, layout, "index.json", string(data))
}

func TestLayouts(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, layout string)
		want  string
	}{
		"good":           {func(*testing.T, string) {}, ""},
		"half a removal": {func(t *testing.T, layout string) { os.Remove(filepath.Join(layout, "index.json")) }, ""},
		"blob missing": {func(t *testing.T, layout string) {
			blobs, _ := filepath.Glob(filepath.Join(layout, "blobs/sha256/*"))
			os.Remove(blobs[0])
		}, "is missing"},
		"other bytes": {func(t *testing.T, layout string) {
			blobs, _ := filepath.Glob(filepath.Join(layout, "blobs/sha256/*"))
			write(t, layout, strings.TrimPrefix(blobs[0], layout), "x")
		}, "has 1 bytes"},
		"child not named": {func(t *testing.T, layout string) {
			data, _ := os.ReadFile(filepath.Join(layout, "index.json"))
			root, _, _ := strings.Cut(string(data), "},{")
			write(t, layout, "index.json", root+"}]}")
		}, "has no entry"},
		"half an index": {func(t *testing.T, layout string) { write(t, layout, "index.json", `{"manif`) }, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := t.TempDir()
			layout := filepath.Join(tree, "acme/app")
			for _, layout := range []string{layout, filepath.Join(tree, "acme/other")} {
				if err := WriteLayout(layout, "one"); err != nil {
					t.Fatal(err)
				}
				served(t, layout)
			}
			c.spoil(t, layout)
			view, err := read(tree, true)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if name == "good" && (len(view.Named) != 14 || len(view.Pulled) != 6) {
				t.Errorf("%+v", view)
			}
		})
	}
}

// What a registry resolved it resolves until its window ends, whatever the tags are.
func TestStillResolved(t *testing.T) {
	tree := t.TempDir()
	layout := filepath.Join(tree, "acme/app")
	if err := WriteLayout(layout, "one"); err != nil {
		t.Fatal(err)
	}
	served(t, layout)
	before, err := read(tree, true)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, layout, "index.json", `"org.opencontainers.image.ref.name":"v1"`, `"`+added[1]+`":"2030-01-02T03:04:05Z"`)
	held, err := read(tree, true)
	if err != nil || len(held.Named) != 0 {
		t.Fatalf("%+v, %v", held, err)
	}
	if err := StillServed(before, held, true, nil); err != nil {
		t.Error(err)
	}
	write(t, layout, "index.json", `{"schemaVersion":2,"manifests":[]}`)
	gone, err := read(tree, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := StillServed(before, gone, true, nil); err == nil {
		t.Error("a digest that is not resolved any more is no error")
	}
	if err := StillServed(before, gone, false, nil); err != nil {
		t.Error(err)
	}
}
