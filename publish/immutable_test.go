package publish

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
)

// What a manifest remembers of names that never move: those that left, until they
// are back.
func TestGone(t *testing.T) {
	r := &Repo{format: listed{}, Config: &Config{ImmutableTags: []string{"a:v*"}}}
	unit := func(key, digest string) catalog.Unit { return catalog.Unit{Key: key, Digest: digest} }
	live := &generation.Manifest{Gone: []catalog.Unit{unit("a/v0", "d0"), unit("a/v9", "d9"), unit("b/v1", "d1")}}
	units := []catalog.Unit{{Key: "a", Digest: "x", Group: true}, unit("a/v1", "d1"), unit("a/v2", "d2"), unit("a/w", "d3"),
		unit("a/v@d77", "d77")}
	next := []catalog.Unit{unit("a/v2", "d2"), unit("a/v9", "d9"), unit("a/w", "d4"), unit("b/v1", "d5")}

	want := []catalog.Unit{unit("a/v0", "d0"), unit("a/v1", "d1")}
	if diff := cmp.Diff(want, r.gone(live, units, next)); diff != "" {
		t.Error(diff)
	}
	if got := r.moves(live, units, next); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	for key, want := range map[string]int{"a/v0": 1, "a/v1": 1, "a/v2": 1, "a/v9": 1, "a/v3": 0, "b/v1": 0} {
		if got := r.moves(live, units, []catalog.Unit{unit(key, "new")}); len(got) != want {
			t.Errorf("%s: %+v", key, got)
		}
	}
	if got := r.moves(nil, nil, next); got != nil {
		t.Errorf("before the first generation: %+v", got)
	}
	r.Config.ImmutableTags = nil
	if got := r.gone(live, units, nil); len(got) != 3 {
		t.Errorf("what is recorded is forgotten with the key: %+v", got)
	}
}
