package generation

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/plain"
	"example.com/publish/stage/tree"
)

func TestCarry(t *testing.T) {
	const grace = 2 * time.Hour
	for name, c := range map[string]struct {
		live, next map[string]string
		carried    map[string]int // rows of the live generation that it carries itself, and who dropped them
		now        time.Time
		grace      time.Duration
		want       []string // "path dropped", and "code path" of findings
	}{
		"nothing changes": {
			live: map[string]string{"a": "one"}, next: map[string]string{"a": "one"}},
		"a file disappears": {
			live: map[string]string{"a": "one", "b": "two"}, next: map[string]string{"b": "two", "c": "three"},
			want: []string{"a 3"}},
		"without a grace window nothing is carried": {
			live: map[string]string{"a": "one", "b": "two"}, next: map[string]string{"b": "two"}, grace: -1},
		"what is carried stays carried for its window": {
			live: map[string]string{"a": "one", "b": "two", "d": "x"}, carried: map[string]int{"a": 1, "b": 2},
			next: map[string]string{"d": "x"},
			now:  hours(2), want: []string{"b 2"}}, // the window of 1 ended at hours(2)
		"a carried path comes back": {
			live: map[string]string{"a": "one", "b": "two"}, carried: map[string]int{"a": 2},
			next: map[string]string{"a": "one", "b": "two"}},
		"other content under a path that is served": {
			live: map[string]string{"a": "one"}, next: map[string]string{"a": "two"},
			want: []string{"content-replaced a"}},
		"other content under a path that is carried": {
			live: map[string]string{"a": "one", "b": "x"}, carried: map[string]int{"a": 2},
			next: map[string]string{"a": "two", "b": "x"},
			now:  hours(2), want: []string{"content-replaced a"}},
		"other content after the window": {
			live: map[string]string{"a": "one", "b": "x"}, carried: map[string]int{"a": 2},
			next: map[string]string{"a": "two", "b": "x"},
			now:  hours(3)},
		"a page gets other bytes": {
			live: map[string]string{"a.html": "one"}, next: map[string]string{"a.html": "two"},
			want: []string{"content-replaced a.html"}}, // plain trees: a warning
		"a folder where a file was": {
			live: map[string]string{"a": "one"}, next: map[string]string{"a/b": "two"},
			want: []string{"path-conflict a"}},
		"a file where a folder was": {
			live: map[string]string{"a/b": "one"}, next: map[string]string{"a": "two"},
			want: []string{"path-conflict a/b"}},
		"names that only begin alike are no folder": {
			live: map[string]string{"a": "one", "c": "x"}, next: map[string]string{"a-b": "two", "a0": "y", "c": "x"},
			want: []string{"a 3"}},
		"a link to what the file was": {
			live: map[string]string{"a": "one", "z": "one"}, next: map[string]string{"a": "-> z", "z": "one"},
			want: []string{"content-replaced a"}},
		"a link to nothing": {
			live: map[string]string{"a": "one"}, next: map[string]string{"a": "-> gone"},
			want: []string{"path-conflict a"}},
		"a file below what became a link": {
			live: map[string]string{"d/a": "one"}, next: map[string]string{"d": "-> e", "e/a": "one"}},
		"a file below a link that does not lead to it": {
			live: map[string]string{"d/a": "one"}, next: map[string]string{"d": "-> e", "e/b": "two"},
			want: []string{"path-conflict d/a"}},
		"a link disappears": {
			live: map[string]string{"a": "one", "l": "-> a"}, next: map[string]string{"a": "one"},
			want: []string{"l 3"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			live := w.make(2, nil, c.live)
			m := *live.Manifest
			m.Own = slices.DeleteFunc(slices.Clone(m.Own), func(r tree.Row) bool {
				dropped, carried := c.carried[r.Path]
				if carried {
					m.Carried = append(m.Carried, Carried{Row: r, Dropped: dropped})
				}
				return carried
			})
			live.Manifest = &m
			windows := WindowsOf(slices.Values([]Switch{{Generation: 1, First: true, Time: hours(0), Grace: grace},
				{Generation: 2, First: true, Left: []int{1}, Time: hours(1), Grace: grace}}), grace)
			carrier := &Carrier{Live: live, Windows: windows, Now: c.now, Grace: grace, Spelled: "2h",
				Format: plain.Format{}}
			if c.now.IsZero() {
				carrier.Now = hours(1)
			}
			if c.grace < 0 {
				carrier.Grace = 0
			}
			d, own := w.draft(c.next)
			next, err := d.Files()
			must(t, err)
			defer next.Close()
			carried, findings := carrier.Carry(3, own, next)
			var got []string
			for _, c := range carried {
				got = append(got, strings.TrimSpace(c.Path+" "+string(rune('0'+c.Dropped))))
			}
			for _, f := range findings {
				got = append(got, f.Code+" "+f.Path)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A file that a gc deleted, when the grace was shorter or the clock was ahead, is
// not carried although its window is open.
func TestCarryAfterGC(t *testing.T) {
	w := newWorld(t)
	live := w.make(2, nil, map[string]string{"a": "one", "b": "two", "c": "three"})
	m := *live.Manifest
	m.Own, m.Carried = m.Own[2:], []Carried{{Row: m.Own[0], Dropped: 1}, {Row: m.Own[1], Dropped: 1}}
	live.Manifest = &m
	must(t, os.Remove(filepath.Join(live.Dir, "a")))
	for recorded, want := range map[time.Duration]int{time.Hour: 1, 9 * time.Hour: 2} {
		windows := WindowsOf(slices.Values([]Switch{{Generation: 1, First: true, Time: hours(0), Grace: recorded}}),
			9*time.Hour)
		carrier := &Carrier{Live: live, Windows: windows, Now: hours(2), Grace: 9 * time.Hour, Format: plain.Format{}}
		carried, findings := carrier.Carry(3, m.Own, Inside{})
		if len(carried) != want || len(findings) > 0 {
			t.Errorf("recorded %s: %v, %v", recorded, carried, findings)
		}
	}
}

func TestNewBytes(t *testing.T) {
	rows := func(files map[string]string) []tree.Row { return fill(t, t.TempDir(), files) }
	next := rows(map[string]string{"a": "one", "b": "other", "c": "three", "d": "four"})
	if got := (&Carrier{}).NewBytes(next); got != 17 {
		t.Error("before the first promote all is new:", got)
	}
	live := &View{Tree: Tree{Manifest: &Manifest{Own: rows(map[string]string{"a": "one", "b": "two"})}}}
	for i, row := range rows(map[string]string{"c": "three", "d": "four"}) {
		live.Carried = append(live.Carried, Carried{Row: row, Dropped: 1 + i})
	}
	windows := WindowsOf(slices.Values([]Switch{{Generation: 1, First: true, Time: hours(0)},
		{Generation: 2, First: true, Time: hours(2)}}), time.Hour)
	if got := (&Carrier{Live: live, Windows: windows,
		Now: hours(2)}).NewBytes(next); got != int64(len("other")+len("three")) {
		t.Error(got) // the window of c has ended
	}
}

// A content counts once, and not if production has it under another path.
func TestNewBytesOfTwins(t *testing.T) {
	row := func(path, content string, role catalog.Role) tree.Row {
		return tree.Row{Path: path, Size: int64(len(content)), SHA256: content, Role: role}
	}
	live := &View{Tree: Tree{Manifest: &Manifest{Own: []tree.Row{row("a", "one", catalog.Content),
		row("p", "page", catalog.Mutable)}}}}
	next := []tree.Row{row("a", "one", catalog.Content), row("b", "one", catalog.Content),
		row("c", "three", catalog.Content), row("d", "three", catalog.Content), row("q", "page", catalog.Mutable)}
	if got := (&Carrier{Live: live}).NewBytes(next); got != int64(len("three")+len("page")) {
		t.Error(got)
	}
}

func TestBar(t *testing.T) {
	rows := func(files map[string]string) []tree.Row { return fill(t, t.TempDir(), files) }
	from := &Manifest{Head: Head{TreeID: "bad", BarredTrees: []string{"worse"}},
		Own:    rows(map[string]string{"a": "one", "b": "two", "x": "bad"}),
		Barred: rows(map[string]string{"o": "old"})}
	target := &Manifest{Head: Head{TreeID: "good", BarredTrees: []string{"worse", "good"}},
		Own:    rows(map[string]string{"a": "one", "b": "other"}),
		Barred: rows(map[string]string{"p": "older"})}
	paths := func(rows []tree.Row) (out []string) {
		for _, r := range rows {
			out = append(out, r.Path)
		}
		return out
	}
	barred, trees := Bar(from, target, KindRevert, plain.Format{})
	if diff := cmp.Diff([]string{"b", "o", "p", "x"}, paths(barred)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"bad", "worse"}, trees); diff != "" {
		t.Error(diff)
	}
	barred, _ = Bar(from, target, KindAutoRevert, plain.Format{})
	if diff := cmp.Diff([]string{"o", "p"}, paths(barred)); diff != "" {
		t.Error("a failed health check bars that very tree alone:", diff)
	}
}

func TestFollow(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, map[string]string{"a": "one", "d/e/b": "two", "l": "-> a", "d/up": "-> ../a", "to": "-> d/e",
		"twice": "-> to/b",
		"gone":  "-> x", "out": "-> ../x", "abs": "-> /etc", "loop": "-> loop2", "loop2": "-> loop",
		"d/self": "-> ./e/../e/b", "slash": "-> d/e/", "top": "-> ."})
	in, err := OpenInside(dir)
	must(t, err)
	defer in.Close()
	for p, want := range map[string]string{"a": "a", "l": "a", "d/up": "a", "to": "d/e", "to/b": "d/e/b",
		"twice": "d/e/b", "d/self": "d/e/b", "slash": "d/e",
		"gone": "", "out": "", "abs": "", "loop": "", "l/x": "", "top": "", "top/l": "a", "d/../a": "a", "..": ""} {
		got, ok := follow(in, p)
		if got != want && !(want == "" && !ok) || ok != (want != "") {
			t.Errorf("%s leads to %q, %v, want %q", p, got, ok, want)
		}
		// As the kernel sees it.
		if fi, err := os.Stat(filepath.Join(dir, p)); want != "" {
			is, err2 := os.Lstat(filepath.Join(dir, got))
			if err != nil || err2 != nil || !os.SameFile(fi, is) {
				t.Errorf("%s: %v, %v", p, err, err2)
			}
		}
	}
}

func TestDiffUnits(t *testing.T) {
	from := []catalog.Unit{{Key: "a/1", Digest: "x"}, {Key: "b/1", Digest: "x"}, {Key: "g", Digest: "x", Group: true},
		{Key: "h", Group: true}}
	to := []catalog.Unit{{Key: "b/1", Digest: "y"}, {Key: "c/1", Digest: "x"}, {Key: "g", Digest: "y", Group: true},
		{Key: "i", Group: true}}
	added, removed, changed := DiffUnits(from, to)
	if diff := cmp.Diff([][]string{{"c/1"}, {"a/1"}, {"b/1", "g"}}, [][]string{added, removed, changed}); diff != "" {
		t.Error(diff)
	}
}
