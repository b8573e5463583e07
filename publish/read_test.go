package publish

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"
	"time"

	"example.com/publish/publish/generation"
)

// If a switch and a gc remove what a reader was reading, it reads again. What is
// missing in two attempts is missing.
func TestReadOverASwitch(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		r, seen := w.repo(), []int{}
		err := r.steady(ctx, func(s *state) error {
			if seen = append(seen, s.current.Generation); len(seen) == 1 {
				w.put(map[string]string{"b/1": "two"})
				w.promote()
				w.now = w.now.Add(3 * time.Hour)
				w.gc()
			}
			_, err := r.catalogOf(ctx, s.current)
			return err
		})
		if err != nil || !slices.Equal(seen, []int{1, 2}) {
			t.Errorf("%v, %v", seen, err)
		}

		seen = nil
		err = r.glance(ctx, "production", func(s *state, v *generation.View) error {
			if seen = append(seen, v.Generation); len(seen) == 1 {
				w.put(map[string]string{"c/1": "three"})
				w.promote()
				w.now = w.now.Add(3 * time.Hour)
				w.gc()
			}
			_, _, err := r.imagesOf(ctx, v)
			return err
		})
		if err != nil || seen[len(seen)-1] != 3 || len(seen) != 2 {
			t.Errorf("%v, %v", seen, err)
		}

		calls := 0
		err = r.steady(ctx, func(*state) error { calls++; return fs.ErrNotExist })
		if !errors.Is(err, fs.ErrNotExist) || calls != 2 {
			t.Errorf("%d calls, %v", calls, err)
		}
	})
}

// A retired generation whose deletion has begun counts as not kept.
func TestReadWhatIsDeleted(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.put(map[string]string{"a/2": "two"})
	w.promote()
	must(t, os.Remove(w.repo().store.Dir(1)+"/"+generation.IdentityName))
	if _, err := w.repo().List(ctx, "1"); kindOf(err) != NotFound {
		t.Errorf("%v", err)
	}
	if images, err := w.repo().List(ctx, "2"); err != nil || len(images) != 1 {
		t.Errorf("%v, %v", images, err)
	}
}
