package generation

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A file with other hard links is not touched, because they share its time.
func TestTimesOfSharedFile(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"live", "new", "staging"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	for p, text := range map[string]string{"live/x": "old", "staging/x": "new"} {
		must(t, os.WriteFile(filepath.Join(dir, p), []byte(text), 0o444))
		must(t, os.Chtimes(filepath.Join(dir, p), time.Time{}, epoch))
	}
	must(t, os.Link(filepath.Join(dir, "staging/x"), filepath.Join(dir, "new/x")))
	row := func(text string) []tree.Row {
		return []tree.Row{{Path: "x", Size: int64(len(text)), SHA256: sumOf(text), Role: catalog.Content}}
	}
	batch, err := durable.NewBatch(dir)
	must(t, err)
	defer batch.Close()
	next := filepath.Join(dir, "new")
	live, err := OpenInside(filepath.Join(dir, "live"))
	must(t, err)
	defer live.Close()
	times := &Times{Live: live, Dir: next, Tmp: next, Now: epoch, Batch: batch}
	must(t, times.settle(t.Context(), row("new"), &Manifest{Own: row("old")}, nil))
	must(t, batch.Flush())
	for p, want := range map[string]time.Time{"new/x": epoch.Add(time.Second), "staging/x": epoch} {
		fi, err := os.Stat(filepath.Join(dir, p))
		must(t, err)
		if data, err := os.ReadFile(filepath.Join(dir, p)); err != nil || string(data) != "new" ||
			!fi.ModTime().Equal(want) || fi.Mode() != 0o444 {
			t.Errorf("%s: %q, %s, %v, %v", p, data, fi.ModTime(), fi.Mode(), err)
		}
	}
}
