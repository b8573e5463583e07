package publish

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/plain"
	"example.com/publish/stage/tree"
)

// A large file of a tree without indexes goes to the store as a stream, is not copied to
// machines that join, and comes back with a revert.
func TestSharedLarge(t *testing.T) {
	store := newStore()
	m := joined(t, &machine{store: store, who: "ada", of: plain.Format{}})
	one, two := strings.Repeat("one\n", maxNear/4+1), strings.Repeat("two\n", maxNear/4+1)
	put := func(files map[string]string) {
		t.Helper()
		for path, data := range files {
			at := filepath.Join(m.dir, "staging", path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(data), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	shows := func(want string) {
		t.Helper()
		if !bytes.Equal(store.Data("disk/a.img"), []byte(want)) {
			t.Fatalf("clients read %.4q", store.Data("disk/a.img"))
		}
		report, _, err := m.repo().Verify(ctx, "", true)
		if err != nil || len(report.Findings) > 0 {
			t.Fatalf("%+v, %v", report, err)
		}
		var out bytes.Buffer
		v, err := m.repo().view(ctx, "production")
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		row, _ := tree.Find(v.Own, "disk/a.img")
		if err := v.CopyOut(ctx, &out, row, nil); err != nil || out.String() != want {
			t.Fatalf("%.4q, %v", out.String(), err)
		}
	}
	put(map[string]string{"disk/a.img": one, "index.html": "first\n"})
	m.promote()
	shows(one)
	put(map[string]string{"disk/a.img": two, "index.html": "second\n"})
	m.promote()
	shows(two)
	other := joined(t, &machine{store: store, who: "bob", of: plain.Format{}})
	for _, dir := range []string{m.repo().store.Dir(2), other.repo().store.Dir(2)} {
		if !gone(filepath.Join(dir, "disk/a.img")) || gone(filepath.Join(dir, "index.html")) {
			t.Errorf("%s: has the large file, or lacks the small one", dir)
		}
	}
	if res, err := other.repo().Revert(ctx, RevertOptions{}); err != nil || res.Generation != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	shows(one)
	store.Advance(48 * time.Hour)
	if _, err := m.repo().GC(ctx, false); err != nil {
		t.Fatal(err)
	}
	if keys := store.Keys("_publish/raw/"); len(keys) != 1 || keys[0] != "_publish/raw/"+sumOf(one) {
		t.Errorf("%q", keys)
	}
	shows(one)
}
