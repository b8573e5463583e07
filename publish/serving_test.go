package publish

import (
	"os"
	"path/filepath"
	"testing"
)

// While it cannot be read what production is, a reader asks as of a generation that it has
// open; also after a switch has put that beside production.
func TestReadAs(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		v, err := w.repo().OpenProduction()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		w.put(map[string]string{"a/2": "two"})
		w.promote()
		damage := func(path string) {
			path = filepath.Join(w.dir, path)
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("damaged\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		damage(".publish/manifests/000002")
		if _, err := w.repo().Overview(ctx); err == nil {
			t.Error("the manifest of production is damaged, and nobody says so")
		}
		r := w.repo().ReadAs(v.Manifest)
		o, err := r.Overview(ctx)
		if err != nil || o.NoStaging != nil || o.NoHistory != nil || o.Production.Generation != 1 || o.Staging.Added != 1 ||
			o.Staged == nil {
			t.Errorf("%+v, %v", o, err)
		}
		if c, err := r.Carried(ctx); err != nil || c.Generation != 1 {
			t.Errorf("%+v, %v", c, err)
		}
		if d, err := r.Diff(ctx, "production", "staging"); err != nil || len(d.Added) != 1 {
			t.Errorf("%+v, %v", d, err)
		}
		damage(".publish/history")
		o, err = r.Overview(ctx)
		if err != nil || o.NoHistory == nil || o.Production.Generation != 1 || o.Production.Files == 0 || o.Staged != nil {
			t.Errorf("%+v, %v", o, err)
		}
	})
}
