package tombstone

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable/durabletest"
	"example.com/publish/stage/tree"
)

// sum returns a sha256 that begins with c.
func sum(c string) string { return c + strings.Repeat("0", 64-len(c)) }

func TestGraveyard(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	one := Stone{Time: at, Who: "eve", Why: "leaked", Before: 3,
		Revoked: []Revoked{{Path: "a/x", SHA256: sum("a"), Product: "p", Version: "1",
			Fingerprint: sum("f")}}}
	two := Stone{Time: at, Who: "eve", Why: "again", Before: 5, Unnamed: []Named{{Product: "p", Version: "2"},
		{Product: "q"}}}
	g := Of(one, Stone{Done: true}, two)

	for _, c := range []struct {
		n    int
		row  tree.Row
		want bool
	}{
		{2, tree.Row{Path: "other", SHA256: sum("a")}, true},
		{3, tree.Row{Path: "a/x", SHA256: sum("a")}, false}, // made by force after the revoke
		{2, tree.Row{Path: "a/x", SHA256: sum("b")}, false},
		{2, tree.Row{Path: "a/x", SHA256: sum("a"), Role: catalog.Link}, false},
	} {
		if got := g.Redacted(c.n, c.row); got != c.want {
			t.Errorf("generation %d, %+v: %t", c.n, c.row, got)
		}
	}
	if s := g.Over(sum("a")); s == nil || s.Reason() != "by eve at 2030-01-02T03:04:05Z: leaked" {
		t.Errorf("%+v", s)
	}
	if g.Over(sum("b")) != nil || (&Graveyard{}).Over(sum("a")) != nil {
		t.Error("a stone over what was not revoked")
	}
	if len(g.Unnamed(4)) != 2 || len(g.Unnamed(5)) != 0 {
		t.Errorf("%v, %v", g.Unnamed(4), g.Unnamed(5))
	}
	if done, pending := g.Split(); done.Len() != 2 || len(pending) != 1 || pending[0].Why != "again" {
		t.Errorf("%d done, %+v", done.Len(), pending)
	}
	for what, want := range map[string]bool{"p": true, "p/1": true, "p/2": true, "q": true, "a/x": true, sum("a"): true,
		sum("f")[:12]: true,
		"p/3":         false, "a": false, sum("b"): false} {
		if g.Has(catalog.ParseWhat(what)) != want {
			t.Errorf("%s: %t", what, !want)
		}
	}
	if g.Lacks(one) || g.Lacks(two) || g.Lacks(Stone{}) || !g.Lacks(Stone{Unnamed: []Named{{Product: "r"}}}) ||
		!g.Lacks(Stone{Revoked: []Revoked{{SHA256: sum("b")}}}) {
		t.Error("Lacks is wrong")
	}

	rows := []tree.Row{{Path: "a/x", SHA256: sum("a"), Size: 1}, {Path: "a/y", SHA256: sum("b"), Size: 1}}
	if got := g.Among(rows, nil); len(got) != 1 || got[0].Path != "a/x" {
		t.Errorf("%+v", got)
	}
	if got := g.Among(rows, rows[:1]); len(got) != 0 {
		t.Errorf("what production has is asked for: %+v", got)
	}

	image := catalog.Image{Product: "p", Version: "2", Paths: []string{"a/z"}}
	for since, want := range []string{"p/2", "p/2", "p/2", "", ""} {
		name, s := g.NamedSince(since, []catalog.Image{image}, rows)
		if name != want || (s == nil) != (want == "") {
			t.Errorf("since %d: %q, %+v", since, name, s)
		}
	}
	image.Paths = []string{"a/y"}
	if name, s := g.NamedSince(0, []catalog.Image{image}, rows); s != nil {
		t.Errorf("%s has content again", name)
	}
}

// FuzzTombstones gets the texts of the lines.
func FuzzTombstones(f *testing.F) {
	f.Add(`{"time":"2030-01-02T03:04:05Z","before":3,"revoked":[{"path":"a","sha256":"`+sum("x")+`"}]}`+"\n"+
		`{"done":true}`+"\n", uint(9))
	f.Fuzz(func(t *testing.T, text string, at uint) {
		Parse([]byte(text))
		data := durabletest.Lines(text)
		g, file := Parse(data)
		done, pending := g.Split()
		if done.Len()+len(pending) != g.Len() {
			t.Errorf("%d and %d are not %d", done.Len(), len(pending), g.Len())
		}
		// What is revoked stays revoked, whatever lines follow.
		for _, line := range g.Stones() {
			for _, c := range line.Revoked {
				if g.Over(c.SHA256) == nil {
					t.Errorf("%+v is not revoked", c)
				}
			}
		}
		var again strings.Builder
		for _, line := range g.Stones() {
			text, err := line.Marshal()
			if err != nil {
				return
			}
			again.Write(append(text, '\n'))
		}
		if back, _ := Parse(durabletest.Lines(again.String())); !cmp.Equal(back.Stones(), g.Stones(), cmpopts.EquateEmpty()) {
			t.Error(cmp.Diff(back.Stones(), g.Stones(), cmpopts.EquateEmpty()))
		}
		if len(file.Bad) > 0 || file.Torn || len(data) == 0 {
			return
		}
		if _, wrong := Parse(durabletest.Flipped(data, at)); len(wrong.Bad) == 0 && !wrong.Torn {
			t.Errorf("one bit is wrong: %q", durabletest.Flipped(data, at))
		}
	})
}
