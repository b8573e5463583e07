package publish

import (
	"os"
	"testing"
)

// A manifest that is made anew from a tree, after a revoke deleted files of it,
// still tells what they were: a revert leaves them out of the indexes.
func TestManifestAnewAfterRevoke(t *testing.T) {
	for _, mode := range []string{"symlink", "rename"} {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one", "b/1": "both"})
		w.promote()
		w.put(map[string]string{"a/1": "one", "b/1": "both", "c/1": "three"})
		w.promote()
		must(t, os.Remove(w.repo().manifestPath(1)))
		if _, err := w.repo().Revoke(ctx, RevokeOptions{What: []string{"a/1"}, Why: "leaked"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.repo().Recover(ctx); err != nil {
			t.Fatal(err)
		}
		w.revert(1)
		if got := w.items(); len(got) != 1 || got["b/1"] != "both" {
			t.Errorf("%s: production shows %v", mode, got)
		}
		if report, err := w.repo().Validate(ctx, "production", true); err != nil || len(report.Errors()) > 0 {
			t.Errorf("%s: %+v, %v", mode, report, err)
		}
	}
}
