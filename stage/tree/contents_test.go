package tree

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
)

// Content is read by its digest, from several directories by several goroutines; what is no
// such file is refused, and nothing is followed or waited for.
func TestContents(t *testing.T) {
	dir := t.TempDir()
	var want []catalog.Digest
	at := func(i int) string { return fmt.Sprintf("d%d/%d", i%3, i) }
	for i := range 60 {
		data := fmt.Append(nil, "content ", i)
		want = append(want, catalog.Digest{Algorithm: catalog.SHA256, Hex: fmt.Sprintf("%x", sha256.Sum256(data))})
		full := filepath.Join(dir, at(i))
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("0", filepath.Join(dir, "d0", "link")), os.Symlink("d0", filepath.Join(dir, "to")),
		os.Mkdir(filepath.Join(dir, "d0", "folder"), 0o755)); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	seen := make([]int, len(want))
	src := ContentsSeen(root, func(path string, st Stat, sum string) {
		var folder, i int
		if _, err := fmt.Sscanf(path, "d%d/%d", &folder, &i); err == nil && want[i].Hex == sum && st.Ino != 0 {
			seen[i]++ // one goroutine reads it
		}
	})
	var workers errgroup.Group
	for from := range 4 {
		workers.Go(func() error {
			for i := from; i < len(want); i += 4 {
				data, err := src.Blob(at(i), want[i], 100)
				if err != nil || string(data) != fmt.Sprint("content ", i) {
					return fmt.Errorf("%d: %q, %w", i, data, err)
				}
			}
			return nil
		})
	}
	if err := workers.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, n := range seen {
		if n != 1 {
			t.Errorf("%d was seen %d times", i, n)
		}
	}
	for path, bad := range map[string]error{"d0/1": fs.ErrNotExist, "gone/0": fs.ErrNotExist, "d1/1": catalog.ErrDigest,
		"d0/link": nil, "to/0": nil, "d0/folder": nil, "../0": nil} {
		if _, err := src.Blob(path, want[0], 100); err == nil || bad != nil && !errors.Is(err, bad) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := src.Blob(at(0), want[0], 5); !errors.Is(err, catalog.ErrDigest) {
		t.Errorf("longer than the limit: %v", err)
	}
}
