package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/plain"
	"example.com/publish/stage/tree"
)

// machine is a build server: its staging, and what that began from.
type machine struct {
	*Stage
	base *Side
	shop *shop
	dry  bool // each rebase is also done to a copy
}

// join makes another machine with staging as production is.
func (o *shop) join(t *testing.T, f catalog.Format, production *Side) *machine {
	t.Helper()
	s := newStage(t)
	s.Format, s.Facts = f, filepath.Join(filepath.Dir(s.Hashes), "facts")
	m := &machine{Stage: s, shop: o, dry: true}
	s.Elsewhere = func() (*Elsewhere, error) { return &Elsewhere{Rows: m.base.rows(), Open: o.open}, nil }
	m.follow(t, production)
	return m
}

func (m *machine) trash() string { return filepath.Join(filepath.Dir(m.Dir), ".publish/trash") }

// follow rebases staging onto production. Before, it may do so to a copy, as a dry run does:
// that ends the same, and changes nothing.
func (m *machine) follow(t *testing.T, production *Side) *Rebased {
	t.Helper()
	same := func(*Rebased) {}
	if m.dry {
		same = m.imagine(t, production)
	}
	r, err := m.Rebase(context.Background(), "test", m.base, production, m.trash())
	must(t, err)
	if len(r.Conflicts) == 0 {
		m.base = production
	}
	same(r)
	clean(t, m.Stage)
	return r
}

// imagine rebases a copy of staging. It returns what compares that with what was done.
func (m *machine) imagine(t *testing.T, production *Side) func(*Rebased) {
	t.Helper()
	before, dir, at := contents(t, m.Dir), t.TempDir(), m.base
	dry, err := m.Scratch(t.Context(), dir, func() (*Elsewhere, error) { return at.Elsewhere(), nil })
	must(t, err)
	imagined, err := dry.Rebase(t.Context(), "test", m.base, production, filepath.Join(dir, "trash"))
	must(t, err)
	if diff := cmp.Diff(before, contents(t, m.Dir)); diff != "" {
		t.Fatalf("a copy changes staging: %s", diff)
	}
	return func(r *Rebased) {
		if diff := cmp.Diff(r, imagined); diff != "" {
			t.Fatalf("what was done, and what was done to a copy: %s", diff)
		}
		at = m.base
		if diff := cmp.Diff(m.peeked(t), (&machine{Stage: dry}).peeked(t)); diff != "" {
			t.Fatalf("staging and its copy: %s", diff)
		}
	}
}

// peeked is what status would show of the staging of a machine.
func (m *machine) peeked(t *testing.T) []tree.Row {
	t.Helper()
	got, err := m.Validate(t.Context(), Checks{Now: time.Now()})
	must(t, err)
	return got.Rows
}

// side is production with these rows.
func (o *shop) side(rows []tree.Row) *Side { return &Side{Rows: rows, Open: o.open} }

// promote makes the staging of a machine production.
func (m *machine) promote(t *testing.T) *Side {
	t.Helper()
	v, r := validate(t, snapshot(t, m.Stage, &Base{}))
	if v == nil {
		t.Fatalf("%+v", r.Findings)
	}
	for _, row := range v.Rows {
		local := filepath.Join(v.Dir, row.Path)
		if row.Role == catalog.Link {
			if text, err := os.Readlink(local); err == nil {
				m.shop.has[row.SHA256] = []byte(text)
			}
		} else if exists(local) {
			m.shop.has[row.SHA256] = read(t, local)
		}
	}
	return m.shop.side(v.Rows)
}

func pathsOf(rows []tree.Row) (out []string) {
	for _, r := range rows {
		out = append(out, r.Path)
	}
	return out
}

// Two machines change staging; what both added is there in the end, and nothing that one
// of them removed, in whatever order they promote.
func TestRebase(t *testing.T) {
	change := map[string]func(t *testing.T, a, b *machine){
		"simplestreams": func(t *testing.T, a, b *machine) {
			add(t, a.Stage, built(t, "alpine", "1"))
			add(t, b.Stage, built(t, "gentoo", "1"))
			put(t, b.Stage, "index.html", "another page")
			_, err := b.Remove(t.Context(), b.trash(), "debian:one:default:amd64")
			must(t, err)
		},
		"oci": func(t *testing.T, a, b *machine) {
			image(t, a.Stage, "acme/app", "v3", "three")
			image(t, b.Stage, "acme/other", "v1", "other")
			_, err := b.Remove(t.Context(), b.trash(), "acme/app:v1")
			must(t, err)
		},
		"plain": func(t *testing.T, a, b *machine) {
			put(t, a.Stage, "a/three", "3")
			put(t, b.Stage, "a/four", "4", "z", "changed")
			_, err := b.Remove(t.Context(), b.trash(), "a/two", "a/link")
			must(t, err)
		},
	}
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			o := &shop{}
			o.sell(t, s)
			start := o.side(o.rows)
			var results [][]tree.Row
			for _, order := range [][]int{{0, 1}, {1, 0}} {
				list := []*machine{o.join(t, s.Format, start), o.join(t, s.Format, start)}
				for _, m := range list {
					if got := m.promote(t); !slices.Equal(got.Rows, start.Rows) {
						t.Fatalf("a machine that joins has another tree: %s", cmp.Diff(start.Rows, got.Rows))
					}
				}
				change[name](t, list[0], list[1])
				first, second := list[order[0]], list[order[1]]
				production := first.promote(t)
				first.follow(t, production)
				if r := second.follow(t, production); len(r.Conflicts) > 0 {
					t.Fatal(r.Conflicts)
				}
				production = second.promote(t)
				second.follow(t, production)
				first.follow(t, production)
				for _, m := range list {
					if got := m.promote(t); !slices.Equal(got.Rows, production.Rows) {
						t.Errorf("%s", cmp.Diff(production.Rows, got.Rows))
					}
				}
				results = append(results, production.Rows)
			}
			if diff := cmp.Diff(pathsOf(results[0]), pathsOf(results[1])); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What cannot be united changes nothing.
func TestRebaseConflicts(t *testing.T) {
	s := stores(t)["oci"]
	o := &shop{}
	o.sell(t, s)
	start := o.side(o.rows)
	a, b := o.join(t, s.Format, start), o.join(t, s.Format, start)
	image(t, a.Stage, "acme/app", "v9", "mine")
	image(t, b.Stage, "acme/app", "v9", "yours")
	before := contents(t, b.Dir)
	r := b.follow(t, a.promote(t))
	want := []catalog.Clash{{Ref: "acme/app:v9", Here: catalog.Added, There: catalog.Added}}
	if diff := cmp.Diff(want, r.Conflicts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, contents(t, b.Dir)); diff != "" {
		t.Error(diff)
	}
}

// The rules of a tree without indexes, path by path. A word is path=content; what is not
// in the list of a side was removed.
func TestRebasePlain(t *testing.T) {
	for name, tt := range map[string]struct{ ours, theirs, want, conflicts string }{
		"nothing":                {"a=1 b=2", "a=1 b=2", "a=1 b=2", ""},
		"added":                  {"a=1 b=2 c=3", "a=1 b=2 d=4", "a=1 b=2 c=3 d=4", ""},
		"the same added":         {"a=1 b=2 c=3", "a=1 b=2 c=3", "a=1 b=2 c=3", ""},
		"other content added":    {"a=1 b=2 c=3", "a=1 b=2 c=4", "", "c added added"},
		"removed here":           {"b=2", "a=1 b=2 c=3", "b=2 c=3", ""},
		"removed there":          {"a=1 b=2 c=3", "b=2", "b=2 c=3", ""},
		"removed twice":          {"b=2", "b=2", "b=2", ""},
		"changed here":           {"a=9 b=2", "a=1 b=3", "a=9 b=3", ""},
		"changed to the same":    {"a=9 b=2", "a=9 b=2", "a=9 b=2", ""},
		"changed twice":          {"a=9 b=2", "a=8 b=2", "", "a changed changed"},
		"removed here, changed":  {"b=2", "a=8 b=2", "", "a removed changed"},
		"changed, removed there": {"a=9 b=2", "b=2", "", "a changed removed"},
	} {
		t.Run(name, func(t *testing.T) {
			o := &shop{has: map[string][]byte{}}
			first := o.join(t, plain.Format{}, nil)
			put(t, first.Stage, "a", "1", "b", "2")
			start := first.promote(t)
			a, b := o.join(t, plain.Format{}, start), o.join(t, plain.Format{}, start)
			a.become(t, tt.theirs)
			b.become(t, tt.ours)
			production := a.promote(t)
			r := b.follow(t, production)
			var conflicts []string
			for _, c := range r.Conflicts {
				conflicts = append(conflicts, c.Ref+" "+string(c.Here)+" "+string(c.There))
			}
			if got := strings.Join(conflicts, ", "); got != tt.conflicts {
				t.Fatal(got)
			}
			if tt.want != "" {
				if got := b.words(t); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
			}
		})
	}
}

// become makes the staging of a machine have these words.
func (m *machine) become(t *testing.T, words string) {
	t.Helper()
	want := map[string]string{}
	for _, w := range strings.Fields(words) {
		p, content, _ := strings.Cut(w, "=")
		want[p] = content
	}
	for _, w := range strings.Fields(m.words(t)) {
		p, content, _ := strings.Cut(w, "=")
		if _, ok := want[p]; !ok {
			_, err := m.Remove(t.Context(), m.trash(), p)
			must(t, err)
		} else if want[p] == content {
			delete(want, p)
		}
	}
	for p, content := range want {
		put(t, m.Stage, p, content)
	}
}

// words is what a machine would promote.
func (m *machine) words(t *testing.T) string {
	t.Helper()
	got, err := m.Validate(context.Background(), Checks{Now: time.Now()})
	must(t, err)
	var out []string
	for _, row := range got.Rows {
		data, ok := m.shop.has[row.SHA256]
		if !ok {
			data = read(t, filepath.Join(m.Dir, row.Path))
		}
		out = append(out, row.Path+"="+string(data))
	}
	return strings.Join(out, " ")
}

// Machines in any number and order, each with changes of its own.
func TestRebaseOfMany(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := &shop{has: map[string][]byte{}}
		first := o.join(t, plain.Format{}, nil)
		want := map[string]string{"a": "1", "b": "2", "c/d": "3"}
		for p, content := range want {
			put(t, first.Stage, p, content)
		}
		production := first.promote(t)
		var list []*machine
		start := maps.Clone(want)
		for n := range rapid.IntRange(1, 4).Draw(rt, "machines") {
			m := o.join(t, plain.Format{}, production)
			m.dry = false
			own := maps.Clone(start)
			for _, p := range slices.Sorted(maps.Keys(start)) {
				if p != "a" && rapid.IntRange(0, 3).Draw(rt, "remove") == 0 { // an empty tree is refused
					delete(own, p)
					delete(want, p)
				}
			}
			for i := range rapid.IntRange(0, 2).Draw(rt, "add") {
				p := fmt.Sprintf("n%d/%d", n, i)
				own[p], want[p] = p, p
			}
			var words []string
			for p, content := range own {
				words = append(words, p+"="+content)
			}
			m.become(t, strings.Join(words, " "))
			list = append(list, m)
		}
		for _, i := range rapid.Permutation([]int{0, 1, 2, 3}[:len(list)]).Draw(rt, "order") {
			list[i].follow(t, production)
			production = list[i].promote(t)
			list[i].follow(t, production)
		}
		for _, m := range list {
			m.follow(t, production)
			var words []string
			for p, content := range want {
				words = append(words, p+"="+content)
			}
			slices.Sort(words)
			if got := m.words(t); got != strings.Join(words, " ") {
				rt.Fatalf("%s, want %s", got, words)
			}
		}
	})
}

// Stopped at each step, or when the store does not answer, a rebase that is run again
// ends as if nothing had happened.
func TestRebaseKilled(t *testing.T) {
	killed := errors.New("killed")
	for _, name := range []string{"simplestreams", "oci", "plain"} {
		t.Run(name, func(t *testing.T) {
			run := func(stop string, fails int) (state map[string]string, words []tree.Row, asked int) {
				s := stores(t)[name]
				o := &shop{}
				o.sell(t, s)
				start := o.side(o.rows)
				a, b := o.join(t, s.Format, start), o.join(t, s.Format, start)
				switch name {
				case "simplestreams":
					add(t, a.Stage, built(t, "alpine", "1"))
					add(t, b.Stage, built(t, "gentoo", "1"))
					put(t, a.Stage, "index.html", "new", "more.html", "more")
				case "oci":
					image(t, a.Stage, "acme/app", "v3", "three")
					image(t, b.Stage, "acme/other", "v1", "other")
				case "plain":
					put(t, b.Stage, "z", "3") // as it was
					a.become(t, "a/one=1 z=9 y=8")
					_, err := b.Remove(t.Context(), b.trash(), "a/one")
					must(t, err)
				}
				production := a.promote(t)
				o.read = nil
				b.step = func(step string) error {
					if step == stop {
						return killed
					}
					return nil
				}
				theirs := *production
				theirs.Open = func(ctx context.Context, row tree.Row) (io.ReadCloser, error) {
					if asked++; asked == fails {
						return nil, killed
					}
					return o.open(ctx, row)
				}
				_, err := b.Rebase(t.Context(), "test", b.base, &theirs, b.trash())
				if (err != nil) != (stop != "" || fails > 0) {
					t.Fatalf("%s %d: %v", stop, fails, err)
				}
				b.step = nil
				theirs.Open = o.open
				b.follow(t, &theirs)
				got, err := b.Validate(t.Context(), Checks{Now: time.Now()})
				must(t, err)
				if len(got.Report.Errors()) > 0 {
					t.Errorf("%s %d: %+v", stop, fails, got.Report.Findings)
				}
				return contents(t, b.Dir), got.Rows, asked
			}
			want, rows, asked := run("", 0)
			for _, stop := range []string{"brought", "placed", "applied", "listed", "dropped"} {
				got, other, _ := run(stop, 0)
				if cmp.Diff(rows, other) != "" || cmp.Diff(want, got) != "" {
					t.Errorf("%s: %s %s", stop, cmp.Diff(want, got), cmp.Diff(rows, other))
				}
			}
			for n := 1; n <= asked; n++ {
				if _, other, _ := run("", n); cmp.Diff(rows, other) != "" {
					t.Errorf("request %d: %s", n, cmp.Diff(rows, other))
				}
			}
		})
	}
}

// Pages of both sides come together; compressed copies follow their documents.
func TestRebasePages(t *testing.T) {
	s := stores(t)["simplestreams"]
	index := "streams/v1/index.json"
	for name, data := range packed(t, read(t, filepath.Join(s.Dir, index))) {
		if strings.HasSuffix(name, ".gz") || name == ".gz" {
			put(t, s, index+".gz", string(data))
		}
	}
	if !exists(filepath.Join(s.Dir, index+".gz")) {
		t.Fatal("no compressed copy")
	}
	o := &shop{}
	o.sell(t, s)
	start := o.side(o.rows)
	a, b := o.join(t, s.Format, start), o.join(t, s.Format, start)
	put(t, a.Stage, "index.html", "theirs", "a.html", "a")
	put(t, b.Stage, "index.html", "ours", "b.html", "b")
	add(t, a.Stage, built(t, "alpine", "1"))
	add(t, b.Stage, built(t, "gentoo", "1"))
	r := b.follow(t, a.promote(t))
	if len(r.Findings) != 1 || r.Findings[0].Path != "index.html" {
		t.Errorf("%+v", r.Findings)
	}
	for p, want := range map[string]string{"index.html": "theirs", "a.html": "a", "b.html": "b"} {
		if got := string(read(t, filepath.Join(b.Dir, p))); got != want {
			t.Errorf("%s: %s", p, got)
		}
	}
	got, err := b.Validate(t.Context(), Checks{Now: time.Now()})
	must(t, err)
	for _, f := range got.Report.Findings {
		t.Errorf("%+v", f)
	}
	// Who only follows has production's, byte by byte.
	c := o.join(t, s.Format, start)
	production := b.promote(t)
	c.follow(t, production)
	if got := c.promote(t); !slices.Equal(got.Rows, production.Rows) {
		t.Error(cmp.Diff(production.Rows, got.Rows))
	}
}

// Whatever is staged, a reset makes it production, with what is missing elsewhere.
func TestResetTo(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			o := &shop{}
			o.sell(t, s)
			start := o.side(o.rows)
			m := o.join(t, s.Format, start)
			switch name {
			case "simplestreams":
				add(t, m.Stage, built(t, "alpine", "1"))
				must(t, os.Remove(filepath.Join(m.Dir, "index.html")))
				put(t, m.Stage, "index.html/x", "in the way", "other.html", "x")
			case "oci":
				image(t, m.Stage, "acme/app", "v3", "three")
				image(t, m.Stage, "acme/other", "v1", "other")
			case "plain":
				put(t, m.Stage, "z", "other", "a/one", "1", "b", "new")
				_, err := m.Remove(ctx, m.trash(), "a/two")
				must(t, err)
			}
			for range 2 {
				_, _, err := m.ResetTo(ctx, "stage reset", start, m.trash())
				must(t, err)
				if got := m.promote(t); !slices.Equal(got.Rows, start.Rows) {
					t.Error(cmp.Diff(start.Rows, got.Rows))
				}
				clean(t, m.Stage)
			}
			added, dropped, err := m.ResetTo(ctx, "stage reset", start, m.trash())
			if err != nil || added+dropped > 0 {
				t.Errorf("a third time: %d added, %d dropped, %v", added, dropped, err)
			}
			if name == "plain" && !exists(filepath.Join(m.trash(), "b")) {
				t.Error("b is lost")
			}
		})
	}
}
