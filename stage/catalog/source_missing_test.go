package catalog

import (
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"
)

// lookedAt counts what is asked of a file system, by path.
type lookedAt struct {
	fstest.MapFS
	times map[string]int
}

func (l lookedAt) Lstat(name string) (fs.FileInfo, error) {
	l.times[name]++
	return l.MapFS.Lstat(name)
}

func (l lookedAt) ReadLink(name string) (string, error) { return l.MapFS.ReadLink(name) }

// That no link leads to a directory is looked at once, also for files that are not there.
func TestFoldersOfMissingFiles(t *testing.T) {
	fsys := lookedAt{fstest.MapFS{"a/b/there": {Data: []byte("x")}}, map[string]int{}}
	src := Files(fsys)
	for i := range 10 {
		want := Digest{SHA256, fmt.Sprintf("%064d", i)}
		if _, err := src.Blob(fmt.Sprintf("a/b/%d", i), want, 10); err == nil {
			t.Fatal("a blob that is not there was read")
		}
	}
	if fsys.times["a"] != 1 || fsys.times["a/b"] != 1 {
		t.Errorf("looked at a %d times, at a/b %d times", fsys.times["a"], fsys.times["a/b"])
	}
	fsys.MapFS["c"] = &fstest.MapFile{Data: []byte("d"), Mode: fs.ModeSymlink}
	for range 2 {
		if _, err := src.Blob("c/d", Digest{SHA256, fmt.Sprintf("%064d", 1)}, 10); err == nil {
			t.Fatal("a link was followed")
		}
	}
	if fsys.times["c"] != 2 {
		t.Errorf("a link was looked at %d times", fsys.times["c"])
	}
}
