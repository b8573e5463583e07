package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Spare checks the tree that waits to become the next one: it names no
// generation, and each of its files is production's, the same inode at the same
// path. There may be none.
func Spare(repo string) error {
	dir := filepath.Join(repo, "generations", ".spare")
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel := strings.TrimPrefix(path, dir+"/")
		if strings.HasPrefix(rel, ".publish-") {
			return fmt.Errorf("the spare has %s", rel)
		}
		is, err := os.Lstat(path)
		if err != nil {
			return err
		}
		live, err := os.Lstat(filepath.Join(repo, "production", rel))
		if err != nil || !os.SameFile(is, live) {
			return fmt.Errorf("the spare has %s, which is not production's: %v", rel, err)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
