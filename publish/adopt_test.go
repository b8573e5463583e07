package publish

import (
	"os"
	"path/filepath"
	"testing"

	"example.com/publish/publish/site"
)

// An adoption that was killed just before production was replaced can be repeated.
func TestAdoptAgainAfterAKill(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		base := t.TempDir()
		live := filepath.Join(base, "www")
		os.MkdirAll(live, 0o755)
		if err := stageItems(live, map[string]string{"a/1": "one"}); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(base, "repo")
		if err := Init(dir, choices, InitOptions{Switch: mode, Production: live, Adopt: live}); err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, dir: dir, now: epoch}
		w.step = func(n string) error {
			if n == "after-ready" {
				panic(errInjected)
			}
			return nil
		}
		func() {
			defer func() { recover() }()
			w.repo().Adopt(ctx, live, "")
		}()
		w.step = nil
		// killed inside Site.Replace, between its first step and the exchange
		aside := live + site.AsideSuffix
		if mode == "symlink" {
			if err := os.Symlink(filepath.Join(dir, "generations/000001"), aside); err != nil {
				t.Fatal(err)
			}
		} else {
			if err := os.Rename(filepath.Join(dir, "generations/.next-000001"), aside); err != nil {
				t.Fatal(err)
			}
		}
		res, _, err := w.repo().Adopt(ctx, live, "")
		if err != nil {
			t.Errorf("%v", err)
		} else {
			t.Log("generation", res.Generation, "warnings nil:", res.Warnings == nil)
		}
	})
}
