package publish

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// copies are the names in a folder of a machine that begin so.
func (m *machine) copies(dir, begin string) (out []string) {
	m.t.Helper()
	list, err := os.ReadDir(filepath.Join(m.dir, dir))
	if err != nil {
		m.t.Fatal(err)
	}
	for _, d := range list {
		if strings.HasPrefix(d.Name(), begin) {
			out = append(out, d.Name())
		}
	}
	return out
}

// A machine whose generations another one collected removes its copies of them, and keeps
// what its staging was made from.
func TestSharedTrim(t *testing.T) {
	store := newStore()
	a := newMachine(t, store, "ada")
	a.put(map[string]string{"a/1": "one"})
	a.promote()
	b := newMachine(t, store, "bob")
	for n := 2; n <= 5; n++ {
		a.put(map[string]string{"a/1": fmt.Sprint("content ", n)})
		a.promote()
		if st, err := b.repo().Status(ctx); err != nil || st.Production.Generation != n {
			t.Fatalf("%+v, %v", st, err)
		}
	}
	was := len(b.copies(".publish/bucket", "file-"))
	if got := b.copies("generations", "0"); len(got) != 5 || was < 5 {
		t.Fatalf("%v, %d documents", got, was)
	}
	a.cfg = func(c *Config) { c.Grace, c.Generations.Keep = 0, 1 }
	b.cfg = a.cfg
	store.Advance(25 * 3600e9)
	if res, err := a.repo().GC(ctx, false); err != nil || len(res.Generations) < 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	var kept []string
	for _, g := range a.present(t).Kept {
		kept = append(kept, fmt.Sprintf("%06d", g.Generation))
	}
	kept = append(kept, "000005")
	base := slices.Compact(append([]string{"000001"}, kept...)) // bob's staging was made from it
	for _, by := range []*machine{a, b} {
		want := kept
		if by == b {
			want = base
		}
		if _, err := by.repo().Recover(ctx); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"generations", ".publish/manifests"} {
			if diff := gocmp.Diff([]string{}, slices.DeleteFunc(by.copies(dir, "0"), func(n string) bool {
				return slices.Contains(want, n)
			})); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", by.who, dir, diff)
			}
		}
		refs := len(by.present(t).Manifests())
		if got := by.copies(".publish/bucket", "manifest-"); len(got) > refs {
			t.Errorf("%s: %d manifests of %d: %v", by.who, len(got), refs, got)
		}
	}
	if got := b.copies(".publish/bucket", "file-"); len(got) > 2 { // of production and of the base
		t.Errorf("%v", got)
	}
	if _, err := b.repo().Status(ctx); err != nil {
		t.Error(err)
	}
	_, err := b.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Refused)
	if _, _, err := b.repo().Reset(ctx); err != nil {
		t.Fatal(err)
	}
	if res := b.promote(); !res.Unchanged || !slices.Equal(b.copies("generations", "0"), kept) {
		t.Errorf("%+v, %v", res, b.copies("generations", "0"))
	}
}
