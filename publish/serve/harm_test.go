package serve

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What can be harmed. Under each, the view of generation 1 stays.
const (
	noStaging    = "unreadable staging" // production is well
	noHistory    = "a damaged history"  // likewise
	danglingLink = "a dangling link"
	brokenSeal   = "a broken seal" // of generation 2, which is production
)

// harmed is a world whose server has the view of generation 1, and then finds the harm.
// Generation 2 is kept, or is production.
func harmed(t *testing.T, harm string, config ...string) *world {
	t.Helper()
	w := streams(t, "symlink", config...)
	w.image("20260101", "one")
	w.promote()
	first, err := os.Readlink(w.production())
	w.no(err)
	w.image("20260102", "two")
	w.say("a secret message")
	second, err := os.Readlink(w.production())
	w.no(err)
	w.link(first)
	w.keep()
	w.reach(1)
	switch harm {
	case noStaging: // root may read what has no rights
		w.no(os.Rename(filepath.Join(w.dir, "staging"), filepath.Join(w.dir, "away")))
		w.no(os.WriteFile(filepath.Join(w.dir, "staging"), nil, 0o644))
		return w
	case noHistory:
		w.damage(".publish/history")
		return w
	case danglingLink:
		w.link("generations/nowhere")
	case brokenSeal:
		w.damage(".publish/manifests/000002")
		w.link(second)
	}
	for w.get("/-/readyz").StatusCode != 503 {
		time.Sleep(time.Millisecond)
	}
	return w
}

// heal ends the harm of harmed, except that of a history.
func (w *world) heal() {
	w.Helper()
	if fi, err := os.Lstat(filepath.Join(w.dir, "staging")); err == nil && !fi.IsDir() {
		w.no(os.Remove(filepath.Join(w.dir, "staging")))
		w.no(os.Rename(filepath.Join(w.dir, "away"), filepath.Join(w.dir, "staging")))
	}
	w.link("generations/000001")
	w.reach(1)
}

func (w *world) production() string { return filepath.Join(w.dir, "production") }

// link makes production lead to another place, at once.
func (w *world) link(to string) {
	w.Helper()
	w.no(os.Symlink(to, w.production()+".new"))
	w.no(os.Rename(w.production()+".new", w.production()))
}

// damage adds a line to a sealed file.
func (w *world) damage(path string) {
	w.Helper()
	path = filepath.Join(w.dir, path)
	data, err := os.ReadFile(path)
	w.no(err)
	w.no(os.Chmod(path, 0o644))
	w.no(os.WriteFile(path, append([]byte("more\n"), data...), 0o644))
}
