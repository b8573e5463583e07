package oci

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/fstest"

	"example.com/publish/stage/catalog"
)

// counting counts how often each content is read.
type counting struct {
	catalog.Source
	mu    sync.Mutex
	reads map[string]int
}

func (c *counting) Blob(p string, want catalog.Digest, limit int64) ([]byte, error) {
	data, err := c.Source.Blob(p, want, limit)
	if limit > 0 && err == nil {
		c.mu.Lock()
		c.reads[p]++
		c.mu.Unlock()
	}
	return data, err
}

// What is read ahead on several processors is what is read one after the other, and each
// manifest is read once: of more tags than are read ahead at a time, with an index that many
// list, and with manifests that are wrong.
func TestReadAhead(t *testing.T) {
	f := newFixture()
	var entries []d
	for i := range aheadNodes + 100 {
		image := f.image(repo, fmt.Sprint("image", i))
		switch i % 5 {
		case 1:
			image = f.list(repo, image, f.image(repo, fmt.Sprint("child", i)))
		case 2:
			f.files[repo+"/blobs/sha256/"+image.digest()[7:]] = &fstest.MapFile{Data: []byte("other bytes")}
		case 3:
			delete(f.files, repo+"/blobs/sha256/"+image.digest()[7:])
		case 4:
			image = f.blob(repo, ociManifest, fmt.Sprintf(`{"schemaVersion":2,"nothing":%d}`, i))
		}
		entries = append(entries, image.tag(fmt.Sprint("v", i)), image.tag(fmt.Sprint("w", i)))
	}
	f.layout(repo, entries...)
	read := func(how reading) (*catalog.Catalog, map[string]int) {
		src := &counting{Source: f.source(), reads: map[string]int{}}
		b := &builder{cat: &catalog.Catalog{Listed: map[string][]catalog.Naming{}}}
		l, err := readLayout(t.Context(), src, repo, b.note, how)
		if err != nil {
			t.Fatal(err)
		}
		b.add(l)
		return b.finish(), src.reads
	}
	want, once := read(reading{})
	got, reads := read(reading{wide: true})
	if !reflect.DeepEqual(got, want) || len(got.Findings) == 0 || len(got.Images) != 2*(aheadNodes+100) {
		t.Errorf("%d images, %d findings: not what is read one after the other", len(got.Images), len(got.Findings))
	}
	for p, n := range reads {
		if bad := n - once[p]; bad > 1 || bad > 0 && len(f.files[p].Data) > 60 {
			t.Errorf("%s was read %d times", p, n)
		}
	}
	if len(reads) != len(once) {
		t.Errorf("%d were read, not %d", len(reads), len(once))
	}
}
