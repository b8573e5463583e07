package generation

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/plain"
	"example.com/publish/stage/tree"
)

// world is a store in which trees are made without staging.
type world struct {
	t testing.TB
	*Store
	history map[int]Recorded
	erased  map[string]bool // sha256
	stop    string          // the protocol point at which Seal stops
}

var errStopped = errors.New("stopped")

func newWorld(t testing.TB) *world {
	dir := t.TempDir()
	w := &world{t: t, history: map[int]Recorded{}, erased: map[string]bool{}}
	w.Store = &Store{Trees: filepath.Join(dir, "generations"), Manifests: filepath.Join(dir, "manifests"),
		IDFile:   filepath.Join(dir, "id"),
		Recorded: func(n int) (Recorded, error) { return w.history[n], nil },
		Erased: func(int) (func(tree.Row) bool, error) {
			return func(r tree.Row) bool { return w.erased[r.SHA256] }, nil
		},
		Remove: durable.RemoveAll,
		At: func(step string) error {
			if step == w.stop {
				return errStopped
			}
			return nil
		}}
	must(t, os.Mkdir(w.Trees, 0o755))
	must(t, os.Mkdir(w.Manifests, 0o755))
	must(t, GiveID(w.IDFile))
	return w
}

// draft makes a draft with files, given by path and text; "-> x" is a link to x.
func (w *world) draft(files map[string]string) (*Draft, []tree.Row) {
	w.t.Helper()
	d, err := w.Draft(SnapshotPrefix)
	must(w.t, err)
	return d, fill(w.t, d.Dir, files)
}

func fill(t testing.TB, dir string, files map[string]string) []tree.Row {
	t.Helper()
	var rows []tree.Row
	for _, p := range slices.Sorted(maps.Keys(files)) {
		text, full := files[p], filepath.Join(dir, p)
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		row := tree.Row{Path: p, Role: catalog.Content}
		if strings.HasSuffix(p, ".html") {
			row.Role = catalog.Mutable
		}
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			text, row.Role = to, catalog.Link
			must(t, os.Symlink(to, full))
		} else {
			must(t, os.WriteFile(full, []byte(text), 0o444))
			must(t, os.Chtimes(full, time.Time{}, epoch))
		}
		row.Size, row.SHA256 = int64(len(text)), sumOf(text)
		rows = append(rows, row)
	}
	return rows
}

// make makes generation n after the live one, which may be nil, up to its final
// name in the store.
func (w *world) make(n int, live *View, files map[string]string) *View {
	w.t.Helper()
	d, rows := w.draft(files)
	m := &Manifest{Head: Head{Generation: n, Origin: n, Kind: KindPromote, TreeID: tree.ID(rows)}, Own: rows}
	if live != nil {
		m.From = live.Generation
	}
	lost, err := d.Seal(w.t.Context(), m, live, hours(n))
	must(w.t, err)
	if len(lost) > 0 {
		w.t.Fatal(lost)
	}
	must(w.t, os.Rename(w.Waiting(n), w.Dir(n)))
	w.history[n] = Recorded{Known: true, Seal: m.Seal}
	return w.view(n)
}

func (w *world) view(n int) *View {
	w.t.Helper()
	v, err := w.View(n)
	must(w.t, err)
	w.t.Cleanup(func() { v.Close() })
	return v
}

func TestManifests(t *testing.T) {
	w := newWorld(t)
	kind := func(err error) fault.Kind {
		var e *fault.Error
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		return e.Kind
	}
	if _, err := w.Manifest(1); kind(err) != fault.NotFound {
		t.Error(err)
	}
	rows := fill(t, t.TempDir(), map[string]string{"a": "one"})
	must(t, w.WriteManifest(&Manifest{Head: Head{Generation: 1, Kind: KindPromote, Who: "x"}, Own: rows}))
	for range 2 {
		m, err := w.Manifest(1)
		must(t, err)
		if m.Who != "x" || !slices.Equal(m.Own, rows) || sealOf(w.ManifestPath(1)) != m.Seal {
			t.Errorf("%+v", m)
		}
	}
	// A cached manifest is not used after its file changed.
	must(t, w.WriteManifest(&Manifest{Head: Head{Generation: 1, Kind: KindPromote, Who: "y"}}))
	if m, err := w.Manifest(1); err != nil || m.Who != "y" {
		t.Error(m, err)
	}
	data, err := os.ReadFile(w.ManifestPath(1))
	must(t, err)
	must(t, os.WriteFile(w.ManifestPath(2), data, 0o644))
	if _, err := w.Manifest(2); err == nil || !strings.Contains(err.Error(), "it is of generation 1") {
		t.Error(err)
	}
	must(t, os.WriteFile(w.ManifestPath(3), data[:len(data)-2], 0o644))
	if _, err := w.Manifest(3); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	heads, err := w.Heads()
	must(t, err)
	if len(heads) != 1 || heads[1].Who != "y" {
		t.Error("what cannot be read has no head:", heads)
	}
	must(t, os.WriteFile(w.ManifestPath(4), []byte("publish-manifest 2\n"), 0o644))
	if _, err := w.Heads(); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
}

func TestNumbers(t *testing.T) {
	w := newWorld(t)
	next := func(top int) int {
		n, err := w.Next(top)
		must(t, err)
		return n
	}
	if n := next(0); n != 1 {
		t.Error(n)
	}
	w.make(3, nil, map[string]string{"a": "one"})
	for name, want := range map[string]int{".trash-000007": 8, ".trash-000008-2": 9, ".next-000010": 11,
		".snapshot-000099": 11, "000012": 13, "13": 13} {
		must(t, os.Mkdir(filepath.Join(w.Trees, name), 0o755))
		_ = want
	}
	if n := next(0); n != 13 {
		t.Error("a name takes its number:", n)
	}
	must(t, os.WriteFile(filepath.Join(w.Manifests, "000020"), nil, 0o644))
	if n := next(4); n != 21 {
		t.Error("so does a manifest:", n)
	}
	if n := next(30); n != 31 {
		t.Error("and the history:", n)
	}
	kept, err := w.Kept(15)
	must(t, err)
	if diff := cmp.Diff([]int{3, 15}, kept); diff != "" {
		t.Error("a tree without its number is on its way out:", diff)
	}
}

func TestWhose(t *testing.T) {
	w := newWorld(t)
	v := w.make(1, nil, map[string]string{"a": "one", "b": "two"})
	other := newWorld(t)
	other.make(1, nil, map[string]string{"a": "one", "b": "two"})
	is := func(what, dir string, want int, foreign bool) {
		t.Helper()
		if n, err := w.Whose(dir); n != want || errors.Is(err, ErrForeign) != foreign {
			t.Errorf("%s: %d, %v", what, n, err)
		}
	}
	is("ours", v.Dir, 1, false)
	is("nothing", filepath.Join(w.Trees, "x"), 0, false)
	is("another directory", w.Manifests, 0, false)
	is("another repository's", other.Dir(1), 0, true)
	if !w.Claimed(other.Dir(1)) || w.Claimed(v.Dir) || w.Says(other.Dir(1)) != 1 {
		t.Error("claims")
	}
	// A copy of the repository made another generation with that number.
	id, err := os.ReadFile(w.IDFile)
	must(t, err)
	must(t, os.WriteFile(other.IDFile, id, 0o644))
	other.make(2, nil, map[string]string{"c": "three"})
	must(t, w.WriteManifest(&Manifest{Head: Head{Generation: 2, Kind: KindPromote}}))
	is("a copy's", other.Dir(2), 0, true)

	must(t, os.Remove(w.ManifestPath(1)))
	is("by the history", v.Dir, 1, false)
	w.history = map[int]Recorded{}
	is("nothing proves it", v.Dir, 0, true)
	w.history = map[int]Recorded{1: {Lost: true}}
	is("all is lost but the id", v.Dir, 1, false)
	m := *v.Manifest
	m.TreeSeal = v.Seal
	must(t, w.WriteManifest(&m))
	is("by a manifest that was made anew", v.Dir, 1, false)

	// A tree of an old version, without a mark: its number and its files are checked.
	w.history = map[int]Recorded{1: {Known: true}}
	must(t, os.Remove(filepath.Join(v.Dir, MarkName)))
	is("unmarked", v.Dir, 1, false)
	must(t, os.Remove(filepath.Join(v.Dir, "a")))
	is("half of it is there", v.Dir, 1, false)
	must(t, os.Remove(filepath.Join(v.Dir, "b")))
	is("nothing of it is there", v.Dir, 0, true)
	w.erased = map[string]bool{sumOf("one"): true, sumOf("two"): true}
	is("it was revoked", v.Dir, 1, false)
}

func TestView(t *testing.T) {
	w := newWorld(t)
	v := w.make(1, nil, map[string]string{"a": "one", "d/b": "two", "in": "-> d/b", "out": "-> ../000002/a"})
	w.make(2, v, map[string]string{"a": "other"})
	read := func(v *View, row tree.Row) string {
		t.Helper()
		f, err := v.Open(row)
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		data, err := durable.ReadBounded(f, 100)
		must(t, err)
		return string(data)
	}
	if got := read(v, v.Own[0]); got != "one" {
		t.Error(got)
	}
	// After a switch the name leads to another tree, but the view shows the same one.
	prod := filepath.Join(filepath.Dir(w.Trees), "production")
	must(t, os.Rename(w.Dir(1), prod))
	live, err := (&Tree{Manifest: v.Manifest, Dir: prod}).View()
	must(t, err)
	defer live.Close()
	must(t, os.Rename(prod, w.Dir(1)))
	must(t, os.Rename(w.Dir(2), prod))
	for _, v := range []*View{v, live} {
		if c, err := v.Claim(); err != nil || c.Number != 1 || c.Seal != v.Seal {
			t.Errorf("%+v, %v", c, err)
		}
		if got := read(v, v.Own[1]); got != "two" {
			t.Error(got)
		}
	}
	if _, err := (&Tree{Manifest: v.Manifest, Dir: prod}).View(); !errors.Is(err, ErrMoved) {
		t.Error("another generation stands there:", err)
	}
	var e *fault.Error
	if _, err := w.View(2); !errors.As(err, &e) || e.Kind != fault.NotFound {
		t.Error(err)
	}
	// No path leads out of the tree.
	if fi, err := v.Stat("in"); err != nil || fi.Size() != 3 {
		t.Error(fi, err)
	}
	for _, p := range []string{"out", "../000002/a", "/etc/passwd"} {
		if _, err := v.Stat(p); !isGone(err) {
			t.Errorf("%s: %v", p, err)
		}
		if f, err := v.Open(tree.Row{Path: p, Size: 5}); err == nil {
			f.Close()
			t.Errorf("%s was opened", p)
		}
	}
	// A file with another size than its row is refused.
	must(t, os.Chmod(filepath.Join(w.Dir(1), "a"), 0o644))
	must(t, os.WriteFile(filepath.Join(w.Dir(1), "a"), []byte("longer"), 0o644))
	if got := read(v, v.Own[0]); !strings.Contains(got, "has 6 bytes, the manifest says 3") {
		t.Error(got)
	}
	must(t, os.Remove(filepath.Join(w.Dir(1), "a")))
	if _, err := v.Open(v.Own[0]); !isGone(err) {
		t.Error(err)
	}
}

// A view and its store are used by many readers at once.
func TestViewByMany(t *testing.T) {
	w := newWorld(t)
	files := map[string]string{"a": "one", "d/b": "two", "d/e/c": "three"}
	v := w.make(1, nil, files)
	w.make(2, v, files)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for n := range 40 {
				for _, row := range v.Own {
					f, err := v.Open(row)
					if err != nil {
						t.Error(err)
						return
					}
					data, err := durable.ReadBounded(f, 100)
					if f.Close(); err != nil || string(data) != files[row.Path] {
						t.Errorf("%s: %q, %v", row.Path, data, err)
					}
				}
				other, err := w.View(1 + n%2)
				if err != nil {
					t.Error(err)
					return
				}
				if id, err := w.Whose(other.Dir); err != nil || id != 1+n%2 {
					t.Error(id, err)
				}
				other.Close()
			}
		})
	}
	readers.Wait()
	if _, err := catalog.Format.Documents(plain.Format{}, v.Contents()); err != nil {
		t.Error(err)
	}
}
