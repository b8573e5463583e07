package bucket

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A cache that cannot be written is told of once, without the names of its files.
func TestUnstored(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var told []string
	s := New(Options{Cache: filepath.Join(file, "cache"), Warn: func(text string) { told = append(told, text) }})
	s.store(filepath.Join(s.Cache, "a"), nil)
	s.store(filepath.Join(s.Cache, "b"), nil)
	if len(told) != 1 || !strings.HasPrefix(told[0], s.Cache+": what is fetched is not kept: ") {
		t.Errorf("%q", told)
	}
}
