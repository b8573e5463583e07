package publish

import "testing"

func TestHoldStopsPromoteOnly(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.put(map[string]string{"a/2": "two"})
	w.promote()
	if err := w.repo().Hold(ctx, "freeze"); err != nil {
		t.Fatal(err)
	}
	w.put(map[string]string{"a/3": "three"})
	_, err := w.repo().Promote(ctx, PromoteOptions{Force: true})
	wantKind(t, err, Refused)
	w.revert(0)
	w.gc()
	if err := w.repo().Unhold(ctx); err != nil {
		t.Fatal(err)
	}
	w.promote()
}
