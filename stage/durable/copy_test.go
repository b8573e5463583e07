package durable

import (
	"os"
	"path/filepath"
	"testing"
)

// WriteCopy replaces a file as a whole, with exactly this mode, and leaves nothing beside it.
func TestWriteCopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy")
	for _, text := range []string{"one", "another"} {
		if err := WriteCopy(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		fi, serr := os.Stat(path)
		if err != nil || serr != nil || string(data) != text || fi.Mode().Perm() != 0o640 {
			t.Errorf("%q, %v, %v, %v", data, err, fi, serr)
		}
	}
	if err := os.Mkdir(path+"s", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteCopy(path+"s", nil, 0o600); err == nil {
		t.Error("replaced a directory")
	}
	if list, err := os.ReadDir(filepath.Dir(path)); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}
