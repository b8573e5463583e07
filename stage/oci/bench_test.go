package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"example.com/publish/stage/catalog"
)

// onDisk is the source of a fixture that was written to a directory.
func (f *fixture) onDisk(b *testing.B) catalog.Source {
	b.Helper()
	dir := b.TempDir()
	for p, file := range f.files {
		at := filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(at, file.Data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { root.Close() })
	return catalog.Files(root.FS())
}

// manyTags is a repository of 20,000 tags on disk, each an image of its own.
func manyTags(b *testing.B) (src catalog.Source, tags int) {
	b.Helper()
	f := newFixture()
	var entries []d
	for i := range 20_000 {
		entries = append(entries, f.image(repo, fmt.Sprint(i)).tag(fmt.Sprint("v", i)))
	}
	f.layout(repo, entries...)
	return f.onDisk(b), len(entries)
}

func BenchmarkRead(b *testing.B) {
	src, tags := manyTags(b)
	for b.Loop() {
		cat, err := Format{}.Read(b.Context(), src)
		if err != nil || len(cat.Images) != tags {
			b.Fatal(len(cat.Images), err)
		}
	}
}

// One of them goes.
func BenchmarkWithout(b *testing.B) {
	src, _ := manyTags(b)
	for b.Loop() {
		docs, err := Format{}.WithoutVersions(b.Context(), src, func(n catalog.Name) bool { return n.Version == "v7" })
		if err != nil || len(docs) != 1 {
			b.Fatal(len(docs), err)
		}
	}
}

// What the manifests name is remembered: the ratio to BenchmarkRead is what that saves.
func BenchmarkReadRemembered(b *testing.B) {
	on, tags := manyTags(b)
	src := &remembering{Source: on, facts: map[catalog.Digest][]byte{}}
	if _, err := (Format{}).Read(b.Context(), src); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		cat, err := Format{}.Read(b.Context(), src)
		if err != nil || len(cat.Images) != tags {
			b.Fatal(len(cat.Images), err)
		}
	}
}
