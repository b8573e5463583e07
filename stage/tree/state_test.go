package tree

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A tree is as it was only if nothing in it has changed, and nothing could have changed
// without a trace since it was read.
func TestStill(t *testing.T) {
	for name, c := range map[string]struct {
		change func(dir string) error
		young  bool
		want   bool
	}{
		"nothing":  {func(string) error { return nil }, false, true},
		"young":    {func(string) error { return nil }, true, false},
		"new":      {func(dir string) error { return os.WriteFile(filepath.Join(dir, "a", "c"), nil, 0o644) }, false, false},
		"gone":     {func(dir string) error { return os.Remove(filepath.Join(dir, "a", "b")) }, false, false},
		"written":  {func(dir string) error { return os.WriteFile(filepath.Join(dir, "a", "b"), nil, 0o644) }, false, false},
		"a mode":   {func(dir string) error { return os.Chmod(filepath.Join(dir, "a", "b"), 0o600) }, false, false},
		"a folder": {func(dir string) error { return os.Remove(filepath.Join(dir, "empty")) }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, d := range []string{"a", "empty"} {
				if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "a", "b"), []byte("bytes"), 0o644); err != nil {
				t.Fatal(err)
			}
			src, err := OpenSource(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			entries, err := src.Walk(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			was := StateOf(entries)
			since := time.Unix(0, entries[0].Stat.Ctime)
			if !c.young {
				since = since.Add(time.Hour)
			}
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			got, err := src.Still(t.Context(), was, since, []string{"a/b", "empty/gone"})
			if err != nil || got != c.want {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	// A folder whose times say that it changed after the tree was read.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	src, err := OpenSource(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	entries, err := src.Walk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	since := time.Now().Add(time.Hour)
	if err := os.Chtimes(dir, since, since.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, err := src.Still(t.Context(), StateOf(entries), since, nil); err != nil || got {
		t.Errorf("%v, %v", got, err)
	}
}
