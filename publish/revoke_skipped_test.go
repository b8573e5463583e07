package publish

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A revoke by name removes versions that clients skip from production, staging and a
// kept tree. That includes a version without content, and holds if the revoke is
// killed at any step.
func TestRevokeSkipped(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		for at := 1; ; at++ {
			w := newWorld(t, mode)
			w.put(map[string]string{"a/1": "one", "a/2-odd": "poison", "a/odd": noContent, "b/1": "other"})
			w.promote()
			w.now = w.now.Add(time.Minute)
			w.put(map[string]string{"a/2-odd": "poison", "a/3": "three", "a/odd": noContent, "b/1": "other",
				"b/odd": noContent})
			w.promote()
			w.now = w.now.Add(time.Minute)
			n, killed := 0, false
			w.step = func(string) error {
				if n++; n == at {
					killed = true
					return errInjected
				}
				return nil
			}
			_, err := w.repo().Revoke(ctx, RevokeOptions{What: []string{"a"}, Why: "leaked"})
			w.step = nil
			if !killed {
				if err != nil {
					t.Fatal(err)
				}
			} else if w.revoke("a"); at == 1 && err == nil {
				t.Fatal("a step failed, and nobody was told")
			}
			for _, data := range []string{"one", "poison", "three"} {
				nowhere(t, w, data)
			}
			want := map[string]string{"b/1": "other", "b/odd": noContent}
			wantItems(t, w, want)
			if got := w.itemsIn(filepath.Join(w.dir, "staging")); !maps.Equal(got, want) {
				t.Fatalf("killed at %d: staging names %v", at, got)
			}
			checkVerify(t, w)
			w.now = w.now.Add(time.Minute)
			if w.revert(1); !maps.Equal(w.items(), map[string]string{"b/1": "other"}) {
				t.Fatalf("killed at %d: reverted to %v", at, w.items())
			}
			if !killed {
				return
			}
		}
	})
}

// If one content of a version was revoked, the rest of the version does not keep
// content from being revoked, and can be revoked by the version's name.
func TestRevokeRestOfSkipped(t *testing.T) {
	w := newWorld(t, "symlink")
	dir := filepath.Join(w.dir, "staging")
	if err := stageItems(dir, map[string]string{"a/odd": "kernel", "a/odd2": "initrd", "b/1": "initrd",
		"b/2": "two"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "index.json"), []byte(strings.ReplaceAll(string(data), `"odd2"`, `"odd"`)),
		0o644))
	w.promote()
	w.now = w.now.Add(time.Minute)
	path := "images/" + sumOf("kernel")[:16] + ".bin"
	if res := w.revoke(path); len(res.Revoked) != 1 || len(res.Kept) != 0 {
		t.Fatalf("%+v", res)
	}
	wantItems(t, w, map[string]string{"b/1": "initrd", "b/2": "two"})
	w.now = w.now.Add(time.Minute)
	if res := w.revoke("b/1"); len(res.Revoked) != 1 || len(res.Kept) != 0 {
		t.Fatalf("%+v", res)
	}
	nowhere(t, w, "initrd")
	wantItems(t, w, map[string]string{"b/2": "two"})
}
