package oci

import (
	"fmt"
	"testing"

	"example.com/publish/stage/catalog"
)

// Many names at once stand for the same as each by itself, and each layout is read once.
func TestResolveMany(t *testing.T) {
	f := newFixture()
	one, two, inner := f.image("acme/app", "one"), f.image("acme/app", "two"), f.image("acme/app", "inner")
	f.layout("acme/app", one.tag("v1"), two.tag("v2"), f.list("acme/app", inner).tag("all"))
	f.layout("acme/other", f.image("acme/other", "other").tag("v1"))
	refs := []string{"acme/other:v1", "acme/app:v2", "acme/none:v1", "acme/app:v1", "acme/app:v3",
		"acme/app@" + inner.digest(), "acme/app:v1@" + two.digest(), "acme/none:v2", "acme/app:all", "no name at all",
		"acme/app:v1"}
	src := &readCount{f.source(), map[string]int{}}
	got := make([]string, len(refs))
	Format{}.ResolveMany(t.Context(), src, refs, func(n int, r *catalog.Resolved, err error) {
		got[n] = fmt.Sprintf("%+v, %v", r, err)
	})
	for n, ref := range refs {
		r, err := Format{}.Resolve(t.Context(), f.source(), ref)
		if want := fmt.Sprintf("%+v, %v", r, err); got[n] != want {
			t.Errorf("%s is %s, not %s", ref, got[n], want)
		}
	}
	if n := src.read["acme/other/index.json"]; n != 1 {
		t.Errorf("the layout of one name is read %d times", n)
	}
	src.read = map[string]int{}
	Format{}.ResolveMany(t.Context(), src, []string{"acme/app:v1", "acme/app:v2", "acme/app:v3", "acme/app:all"},
		func(int, *catalog.Resolved, error) {})
	if n := src.read["acme/app/index.json"]; n != 1 {
		t.Errorf("the layout of four names is read %d times", n)
	}
}

// readCount counts how often each document is read.
type readCount struct {
	catalog.Source
	read map[string]int
}

func (c *readCount) Document(path string) ([]byte, error) {
	c.read[path]++
	return c.Source.Document(path)
}
