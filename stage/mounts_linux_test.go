package stage

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// mounted makes path a mount of its own.
func mounted(t *testing.T, path string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", path, "tmpfs", 0, ""); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(path, syscall.MNT_DETACH) })
}

// Staging, or a folder of it, may be a volume of its own: what goes to trash is
// copied there, and what comes from an upload is copied into the folder.
func TestMounts(t *testing.T) {
	for name, mount := range map[string]string{"staging": ".", "a folder": "images"} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			mounted(t, filepath.Join(s.Dir, mount))
			trash := filepath.Join(t.TempDir(), "trash")
			put := func(p, data string) {
				t.Helper()
				full := filepath.Join(s.Dir, p)
				if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(full, []byte(data), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			put("images/stale", "stale")
			put("images/deep/stale", "deep")
			put("images/changed", "before")
			if err := os.Symlink("stale", filepath.Join(s.Dir, "images/link")); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mkfifo(filepath.Join(s.Dir, "images/pipe"), 0o644); err != nil {
				t.Fatal(err)
			}
			from := t.TempDir()
			for p, data := range map[string]string{"images/changed": "after", "images/new": "new"} {
				if err := os.MkdirAll(filepath.Join(from, "images"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(from, p), []byte(data), 0o444); err != nil {
					t.Fatal(err)
				}
			}
			src, err := tree.OpenSource(from)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			rows := []tree.Row{
				{Path: "images/changed", Size: 5, SHA256: sum([]byte("after")), Role: catalog.Mutable},
				{Path: "images/new", Size: 3, SHA256: sum([]byte("new")), Role: catalog.Content},
			}
			if _, _, err := s.Reset(t.Context(), src, rows, trash); err != nil {
				t.Fatal(err)
			}
			for p, want := range map[string]string{"images/changed": "after", "images/new": "new"} {
				if got, err := os.ReadFile(filepath.Join(s.Dir, p)); err != nil || string(got) != want {
					t.Errorf("staging: %s is %q, %v", p, got, err)
				}
			}
			for p, want := range map[string]string{"images/stale": "stale", "images/deep/stale": "deep",
				"images/changed": "before", "images/link": "stale"} {
				if got, err := os.ReadFile(filepath.Join(trash, p)); err != nil || string(got) != want {
					t.Errorf("trash: %s is %q, %v", p, got, err)
				}
			}
			if fi, err := os.Stat(filepath.Join(trash, "images/stale")); err != nil || fi.Mode().Perm() != 0o640 {
				t.Errorf("%v, %v", fi, err)
			}
			if left, err := tree.Walk(t.Context(), s.Dir); err != nil || len(left) != 2 {
				t.Errorf("staging has %v, %v", left, err)
			}
			// Documents, one and more than one.
			docs := []catalog.Document{{Path: "images/a.json", Data: []byte("a")},
				{Path: "images/b.json", Data: []byte("b")}}
			for n := 1; n <= 2; n++ {
				unlock, err := s.Exclusive(t.Context(), "test")
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Apply(docs[:n]); err != nil {
					t.Fatal(err)
				}
				unlock()
			}
			for _, d := range docs {
				if got, err := os.ReadFile(filepath.Join(s.Dir, d.Path)); err != nil || string(got) != string(d.Data) {
					t.Errorf("%s is %q, %v", d.Path, got, err)
				}
			}
			if list, err := os.ReadDir(filepath.Join(s.Dir, "images")); err != nil || len(list) != 4 {
				t.Errorf("%v, %v", list, err)
			}
		})
	}
}

// What cannot be removed of an earlier rewriting of documents is in nobody's way.
func TestApplyBesideLeftover(t *testing.T) {
	s := newStage(t)
	stuck := filepath.Join(s.Dir, Incoming, applying)
	mounted(t, stuck)
	var left []string
	s.Left = func(path string, err error) { left = append(left, path) }
	unlock, err := s.Exclusive(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	docs := []catalog.Document{{Path: "a.json", Data: []byte("a")}, {Path: "b.json", Data: []byte("b")}}
	if err := s.Apply(docs); err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		if got, err := os.ReadFile(filepath.Join(s.Dir, d.Path)); err != nil || string(got) != string(d.Data) {
			t.Errorf("%s is %q, %v", d.Path, got, err)
		}
	}
	if list, err := os.ReadDir(filepath.Dir(stuck)); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if len(left) == 0 || left[0] != stuck {
		t.Errorf("left over: %v", left)
	}
}
