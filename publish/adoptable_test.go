package publish

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An adoption that the disk cannot hold copies nothing.
func TestAdoptNeedsSpace(t *testing.T) {
	w := newWorld(t, "symlink")
	live := filepath.Join(filepath.Dir(w.dir), "live")
	must(t, stageItems(live, map[string]string{"a/1": strings.Repeat("one", 10_000), "b/1": "two"}))
	w.cfg = func(c *Config) { c.Production = live }
	hole, err := os.Create(filepath.Join(live, "images", "hole.bin"))
	must(t, err)
	must(t, hole.Truncate(1<<40))
	must(t, hole.Close())
	must(t, os.WriteFile(filepath.Join(live, "upload.part"), make([]byte, 1<<20), 0o644))
	var asked int64
	free := int64(1)
	r := w.repo()
	r.free = func(string) (int64, error) { return free, nil }
	need, err := r.AdoptionNeed(ctx, live)
	if need.Shared {
		t.Skip("the file system shares data: an adoption needs no space")
	}
	asked = need.Bytes
	if err == nil || need.Files != 4 || need.Free != 1 || asked < 30_000 || asked > 200_000 {
		t.Fatalf("%+v, %v", need, err)
	}
	_, _, err = r.Adopt(ctx, live, "")
	if kindOf(err) != Failed || !strings.Contains(err.Error(), "must be copied here") {
		t.Errorf("%v", err)
	}
	if list, err := os.ReadDir(filepath.Join(w.dir, "generations")); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	must(t, os.Remove(hole.Name()))
	free = asked
	if _, _, err := r.Adopt(ctx, live, ""); err != nil {
		t.Error(err)
	}
	if got := w.itemsIn(live); got["b/1"] != "two" {
		t.Errorf("%v", got)
	}
}
