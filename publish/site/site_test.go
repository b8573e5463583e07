package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

var ctx = context.Background()

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// each runs a test for every site. For a new local site, add one line.
func each(t *testing.T, f func(t *testing.T, w *world)) {
	for _, kind := range (Kinds{Symlink, Exchange}) {
		t.Run(kind(Place{}).Name(), func(t *testing.T) { f(t, newWorld(t, kind)) })
	}
}

// world is a store and a production beside it.
type world struct {
	Site
	t     *testing.T
	place Place
	left  []string
}

func newWorld(t *testing.T, make func(Place) Site) *world {
	w := &world{t: t}
	top := t.TempDir()
	w.place = Place{Production: filepath.Join(top, "production"), Relative: true, Store: filepath.Join(top, "store"),
		Trees: marks{}, Left: func(path string, err error) { w.left = append(w.left, filepath.Base(path)) },
		Remove: durable.RemoveAll, Now: time.Now, At: func(string) error { return nil }}
	must(t, os.Mkdir(w.place.Store, 0o755))
	w.Site = make(w.place)
	return w
}

// marks reads from the file owner in a directory whose tree it is: "us 1".
type marks struct{}

func (marks) Whose(dir string) (n int, err error) {
	data, err := os.ReadFile(filepath.Join(dir, "owner"))
	if err != nil {
		return 0, nil
	}
	var who string
	if _, err := fmt.Sscan(string(data), &who, &n); err != nil {
		return 0, err
	}
	if who != "us" {
		return 0, generation.Another(dir, "belongs to %s", who)
	}
	return n, nil
}

func (marks) Says(dir string) (n int) {
	data, _ := os.ReadFile(filepath.Join(dir, "owner"))
	_, _ = fmt.Sscan(string(data), new(string), &n)
	return n
}

// grow makes a tree at path.
func grow(t *testing.T, path, owner string, n int) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(path, "images"), 0o755))
	must(t, os.WriteFile(filepath.Join(path, "owner"), fmt.Appendf(nil, "%s %d\n", owner, n), 0o644))
	must(t, os.WriteFile(filepath.Join(path, "images", "file"), fmt.Appendf(nil, "%s %d", owner, n), 0o644))
}

// tree returns generation n, at its place while it is live.
func (w *world) tree(n int) *generation.Tree {
	return &generation.Tree{Manifest: &generation.Manifest{Head: generation.Head{Generation: n}}, Dir: w.Dir(n)}
}

func (w *world) prepare(n int) error { return w.Prepare(ctx, w.tree(n), nil) }

// seal makes generation n, waiting for its switch.
func (w *world) seal(n int) {
	w.t.Helper()
	grow(w.t, filepath.Join(w.place.Store, generation.NextPrefix+generation.Number(n)), "us", n)
}

// change makes generation n and switches to it.
func (w *world) change(from, n int) {
	w.t.Helper()
	w.seal(n)
	must(w.t, w.prepare(n))
	must(w.t, w.Switch(ctx, from, n))
	must(w.t, w.Settle(ctx))
	must(w.t, w.Tidy(ctx))
	w.shows(n)
}

// shows checks that production is generation n, for this package and for a reader; 0
// means that it does not exist.
func (w *world) shows(n int) {
	w.t.Helper()
	if live, err := w.Live(ctx); err != nil || live != n {
		w.t.Errorf("live is generation %d, %v; want %d", live, err, n)
	}
	data, err := os.ReadFile(filepath.Join(w.place.Production, "images", "file"))
	if n == 0 && errors.Is(err, fs.ErrNotExist) {
		return
	}
	if want := fmt.Sprintf("us %d", n); string(data) != want {
		w.t.Errorf("production shows %q, %v; want %q", data, err, want)
	}
	if id, err := w.place.Trees.Whose(w.Dir(n)); err != nil || id != n {
		w.t.Errorf("%s is generation %d, %v; want %d", w.Dir(n), id, err, n)
	}
}

// kept checks that exactly these generations are in the store under their
// numbers, beside the live one, and that nothing waits.
func (w *world) kept(live int, want ...int) {
	w.t.Helper()
	if w.Dir(live) != w.place.Production {
		want = append(want, live)
	}
	names := []string{}
	for _, n := range want {
		names = append(names, generation.Number(n))
		if id, err := w.place.Trees.Whose(filepath.Join(w.place.Store, generation.Number(n))); err != nil || id != n {
			w.t.Errorf("%s holds generation %d, %v", generation.Number(n), id, err)
		}
	}
	list, err := os.ReadDir(w.place.Store)
	must(w.t, err)
	if len(list) != len(names) {
		w.t.Errorf("the store holds %v, want %v", list, names)
	}
	beside, err := os.ReadDir(filepath.Dir(w.place.Production))
	must(w.t, err)
	for _, d := range beside {
		if strings.HasPrefix(d.Name(), ".") {
			w.t.Errorf("%s is left beside production", d.Name())
		}
	}
}

func TestSwitch(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.shows(0)
		must(t, w.Probe(ctx))
		w.change(0, 1)
		w.kept(1)
		w.change(1, 2)
		w.kept(2, 1)
		w.change(2, 4)
		w.kept(4, 2, 1)
		must(t, w.Tidy(ctx))
		must(t, w.Settle(ctx))
		w.kept(4, 2, 1)
		if len(w.left) > 0 {
			t.Error(w.left)
		}
	})
}

// Each site keeps its guarantees.
func TestGuarantee(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		g := w.Guarantee()
		w.change(0, 1)
		w.seal(2)
		must(t, w.prepare(2))
		w.shows(1)
		if _, err := os.Stat(filepath.Join(w.place.Store, generation.Number(2))); (err == nil) == g.NamedOnceLive {
			t.Errorf("%+v: what was prepared has its number: %v", g, err == nil)
		}
		// A reader that opened production reads all of one generation.
		root, err := os.OpenRoot(w.place.Production)
		must(t, err)
		defer root.Close()
		must(t, w.Switch(ctx, 1, 2))
		for _, name := range []string{"owner", "images/file"} {
			if data, err := root.ReadFile(name); g.Whole && (err != nil || strings.TrimSpace(string(data)) != "us 1") {
				t.Errorf("%+v: the old tree's %s is %q, %v", g, name, data, err)
			}
		}
		if fi, err := os.Stat(w.Dir(2)); g.Local && (err != nil || !fi.IsDir()) {
			t.Errorf("%+v: %v", g, err)
		}
	})
}

// If a switch is killed between any two steps, Tidy leaves the old or the new
// generation live, and the next switch works.
func TestKilled(t *testing.T) {
	for killed, steps := range map[string]int{
		"before it was prepared": 0, "before the switch": 1, "after the switch": 2, "after it was durable": 3,
	} {
		each(t, func(t *testing.T, w *world) {
			w.change(0, 1)
			w.seal(2)
			for _, step := range []func() error{
				func() error { return w.prepare(2) },
				func() error { return w.Switch(ctx, 1, 2) },
				func() error { return w.Settle(ctx) },
			}[:steps] {
				must(t, step())
			}
			must(t, w.Tidy(ctx))
			live := 1
			if steps > 1 {
				live = 2
			}
			w.shows(live)
			if steps > 1 {
				w.kept(2, 1)
			}
			// The repository's sweep removes a tree that never was production.
			if steps <= 1 {
				must(t, os.RemoveAll(filepath.Join(w.place.Store, generation.NextPrefix+generation.Number(2))))
				must(t, os.RemoveAll(filepath.Join(w.place.Store, generation.Number(2))))
				w.kept(1)
			}
			w.change(live, 3)
			if t.Failed() {
				t.Log("killed", killed)
			}
		})
	}
}

// Prepare can be repeated, even if a killed one left something else.
func TestPrepareAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.change(0, 1)
		w.seal(2)
		w.seal(3)
		must(t, w.prepare(2))
		must(t, w.prepare(3))
		must(t, w.prepare(3))
		must(t, w.Switch(ctx, 1, 3))
		w.shows(3)
		if err := w.prepare(9); err == nil {
			t.Error("a generation was prepared that is not there")
		}
	})
}

// A generation that was production before becomes production again if production is
// missing.
func TestRestore(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.change(0, 1)
		w.change(1, 2)
		must(t, durable.RemoveAll(w.place.Production))
		if n, err := w.Live(ctx); n != 0 || err != nil {
			t.Errorf("generation %d, %v", n, err)
		}
		must(t, w.prepare(1))
		must(t, w.prepare(1)) // the first was cut short
		must(t, w.Switch(ctx, 0, 1))
		must(t, w.Settle(ctx))
		w.shows(1)
	})
}

func TestRestoreDangling(t *testing.T) {
	w := newWorld(t, Symlink)
	w.change(0, 1)
	w.change(1, 2)
	must(t, os.RemoveAll(w.Dir(2)))
	if n, err := w.Live(ctx); n != 0 || !errors.Is(err, ErrDangling) {
		t.Errorf("generation %d, %v", n, err)
	}
	must(t, w.prepare(1))
	must(t, w.Switch(ctx, 2, 1))
	w.shows(1)
}

// A tree that is not this repository's stays where it is, wherever production is.
func TestForeign(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for name, stand := range map[string]func(path string){
			"a tree of another repository": func(path string) { grow(t, path, "them", 7) },
			"a directory":                  func(path string) { must(t, os.MkdirAll(path, 0o755)) },
			"a link elsewhere": func(path string) {
				grow(t, path+"-away", "them", 7)
				must(t, os.Symlink(path+"-away", path))
			},
		} {
			must(t, durable.RemoveAll(w.place.Production))
			must(t, durable.RemoveAll(w.place.Production+"-away"))
			must(t, durable.RemoveAll(w.place.Store))
			must(t, os.Mkdir(w.place.Store, 0o755))
			w.change(0, 1)
			w.seal(2)
			must(t, w.prepare(2))
			must(t, os.Rename(w.place.Production, w.place.Production+".moved"))
			stand(w.place.Production)
			before, err := os.Lstat(w.place.Production)
			must(t, err)
			if n, err := w.Live(ctx); n != 0 || !errors.Is(err, ErrForeign) {
				t.Errorf("%s: live is %d, %v", name, n, err)
			}
			if err := w.Switch(ctx, 1, 2); !errors.Is(err, ErrForeign) {
				t.Errorf("%s: switched: %v", name, err)
			}
			if err := w.Switch(ctx, 0, 2); err == nil {
				t.Errorf("%s: switched as the first", name)
			}
			if after, err := os.Lstat(w.place.Production); err != nil || !os.SameFile(before, after) {
				t.Errorf("%s: it was moved: %v", name, err)
			}
			must(t, durable.RemoveAll(w.place.Production))
			must(t, os.Rename(w.place.Production+".moved", w.place.Production))
			w.shows(1)
		}
	})
}

// An exchange that was killed before it looked at the old tree is undone.
func TestForeignBroughtBack(t *testing.T) {
	w := newWorld(t, Exchange)
	w.change(0, 1)
	w.seal(2)
	must(t, os.RemoveAll(w.place.Production))
	grow(t, w.place.Production, "them", 7)
	must(t, durable.Exchange(filepath.Join(w.place.Store, generation.NextPrefix+generation.Number(2)),
		w.place.Production))
	must(t, w.Tidy(ctx))
	if n := (marks{}).Says(w.place.Production); n != 7 {
		t.Errorf("production says that it is generation %d", n)
	}
}

// Names that cannot be removed do not stop a switch.
func TestNamesInTheWay(t *testing.T) {
	w := newWorld(t, Symlink)
	w.change(0, 1)
	links := w.Site.(symlink).links()
	for _, name := range links[:len(links)-1] {
		must(t, os.Mkdir(name, 0o755))
	}
	w.seal(2)
	must(t, w.prepare(2))
	must(t, w.Switch(ctx, 1, 2))
	w.shows(2)
	must(t, os.Mkdir(links[len(links)-1], 0o755))
	w.seal(3)
	if err := w.prepare(3); err == nil || !strings.Contains(err.Error(), "is in the way") {
		t.Error(err)
	}
	w.shows(2)
}

func TestReplace(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		adopt := func() (string, error) { return w.Replace(ctx, 1, w.place.Production) }
		prepare := func() {
			w.seal(1)
			must(t, w.prepare(1))
		}
		prepare()
		grow(t, w.place.Production+"-other", "nobody", 0)
		grow(t, w.place.Production, "nobody", 0)
		must(t, CheckReplace(w.place.Production, w.place.Production))
		if _, err := w.Replace(ctx, 1, w.place.Production+"-other"); kindOf(err) != fault.Usage {
			t.Errorf("another tree stands there: %v", err)
		}
		must(t, os.Mkdir(w.place.Production+AsideSuffix, 0o755))
		if _, err := adopt(); kindOf(err) != fault.Usage || !strings.Contains(err.Error(), "is in the way") {
			t.Error(err)
		}
		must(t, os.Remove(w.place.Production+AsideSuffix))
		// A killed adoption left its new tree there.
		grow(t, w.place.Production+AsideSuffix, "us", 1)
		// A probe could not be removed, but now it can.
		probe := filepath.Join(filepath.Dir(w.place.Production), probePrefix(w.place.Production)+"1")
		must(t, os.Mkdir(probe, 0o755))
		aside, err := adopt()
		must(t, err)
		must(t, w.Settle(ctx))
		must(t, w.Tidy(ctx))
		w.shows(1)
		if !gone(probe) {
			t.Error("a probe is left")
		}
		if data, err := os.ReadFile(filepath.Join(aside, "images", "file")); string(data) != "nobody 0" {
			t.Errorf("%s: %q, %v", aside, data, err)
		}
		if aside != w.place.Production+AsideSuffix {
			t.Error(aside)
		}
	})
	each(t, func(t *testing.T, w *world) { // production does not exist
		w.seal(1)
		must(t, w.prepare(1))
		aside, err := w.Replace(ctx, 1, w.place.Store)
		if err != nil || aside != "" {
			t.Errorf("%q, %v", aside, err)
		}
		w.shows(1)
	})
}

func kindOf(err error) fault.Kind {
	if e := new(fault.Error); errors.As(err, &e) {
		return e.Kind
	}
	return fault.Failed
}

func TestExpire(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.change(0, 1)
		dir := w.Dir(1)
		must(t, os.MkdirAll(filepath.Join(dir, "old", "deep"), 0o755))
		for _, p := range []string{"old/deep/a", "old/b", "index"} {
			must(t, os.WriteFile(filepath.Join(dir, p), []byte(p), 0o640))
		}
		ahead := time.Now().Add(time.Hour).Truncate(time.Second)
		must(t, os.Chtimes(filepath.Join(dir, "index"), time.Time{}, ahead))
		row := func(p string) tree.Row { return tree.Row{Path: p} }

		// If a document cannot be written, the files that it names stay.
		lost := []catalog.Document{{Path: "none/index", Data: []byte("new")}}
		stay, err := w.Expire(ctx, w.tree(1), []tree.Row{row("old/b")}, lost)
		if err != nil || len(stay) != 1 || stay[0].Row != "none/index" {
			t.Errorf("%v, %v", stay, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "old/b")); err != nil {
			t.Error(err)
		}
		stay, err = w.Expire(ctx, w.tree(1), []tree.Row{row("old/deep/a"), row("old/gone"), row("images/file")},
			[]catalog.Document{{Path: "index", Data: []byte("new")}})
		if err != nil || len(stay) != 0 {
			t.Errorf("%v, %v", stay, err)
		}
		fi, err := os.Stat(filepath.Join(dir, "index"))
		must(t, err)
		if data, _ := os.ReadFile(filepath.Join(dir, "index")); string(data) != "new" ||
			fi.ModTime().Unix() <= ahead.Unix() || fi.Mode() != 0o640 {
			t.Errorf("%q, %v, %v", data, fi.ModTime(), fi.Mode())
		}
		for p, there := range map[string]bool{"old/b": true, "old/deep": false, "images": false, "owner": true} {
			if _, err := os.Lstat(filepath.Join(dir, p)); (err == nil) != there {
				t.Errorf("%s: %v", p, err)
			}
		}
	})
}

// What cannot be removed is returned, and the rest is still removed.
func TestExpireStays(t *testing.T) {
	w := newWorld(t, Symlink)
	stuck := errors.New("stuck")
	w.place.Remove = func(path string) error {
		if filepath.Base(path) == "file" {
			return stuck
		}
		return durable.RemoveAll(path)
	}
	w.Site = Symlink(w.place)
	w.change(0, 1)
	must(t, os.WriteFile(filepath.Join(w.Dir(1), "z"), nil, 0o644))
	stay, err := w.Expire(ctx, w.tree(1), []tree.Row{{Path: "images/file"}, {Path: "z"}}, nil)
	if err != nil || len(stay) != 1 || stay[0].Row != "images/file" || stay[0].Err != stuck {
		t.Errorf("%v, %v", stay, err)
	}
	if _, err := os.Lstat(filepath.Join(w.Dir(1), "z")); err == nil {
		t.Error("z is still there")
	}
}
