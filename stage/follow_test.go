package stage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/simplestreams"
	"example.com/publish/stage/tree"
)

// entriesOf makes walked ones: "a/b" a file, "a/l > x" a link.
func entriesOf(list ...string) (out []tree.Entry) {
	for _, s := range list {
		p, target, link := strings.Cut(s, " > ")
		e := tree.Entry{Path: p}
		if link {
			e = tree.LinkTo(p, target)
		}
		out = append(out, e)
	}
	return out
}

func TestLinks(t *testing.T) {
	for name, c := range map[string]struct {
		tree []string
		want []string
	}{
		"folder": {[]string{"v1/a", "v1/b/c", "w > v1"}, []string{"w/a = v1/a", "w/b/c = v1/b/c"}},
		"file":   {[]string{"v1/a", "w > v1/a"}, []string{"w = v1/a"}},
		"to links": {[]string{"v1/a", "w > v1", "x > w", "y > x/a"}, []string{"w/a = v1/a", "x/a = v1/a",
			"y = v1/a"}},
		"inside":      {[]string{"v1/a", "v1/l > a", "w > v1"}, []string{"v1/l = v1/a", "w/a = v1/a", "w/l = v1/a"}},
		"up and down": {[]string{"p/q/l > ../../v1/./", "v1/a"}, []string{"p/q/l/a = v1/a"}},
		"itself":      {[]string{"a", "l > l"}, []string{"l: link-loop"}},
		"circle":      {[]string{"a", "l > m", "m > l"}, []string{"l: link-loop", "m: link-loop"}},
		"holds it":    {[]string{"d/a", "d/l > ."}, []string{"d/l: link-loop"}},
		"the tree":    {[]string{"d/a", "d/l > .."}, []string{"d/l: link-loop"}},
		"each other":  {[]string{"a/f", "a/l > ../b", "b/g", "b/m > ../a"}, []string{"a/l/g = b/g", "b/m/f = a/f"}},
		"dangling":    {[]string{"a", "l > b", "m > a/b"}, []string{"l: link-dangling", "m: link-dangling"}},
		"absolute":    {[]string{"a", "l > /a"}, []string{"l: link-outside"}},
		"climbs":      {[]string{"d/a", "d/l > ../../x"}, []string{"d/l: link-outside"}},
		"climbs back": {[]string{"d/a", "d/l > ../../tree/d/a"}, []string{"d/l: link-outside"}},
		"through out": {[]string{"a", "l > m/etc", "m > /"}, []string{"l: link-outside", "m: link-outside"}},
		"through up": {[]string{"a", "d/e/f", "l > m/../../x", "m > d"},
			[]string{"l: link-outside", "m/e/f = d/e/f"}},
		"parent of one": {[]string{"a", "d/e/f", "l > m/../g", "m > d/e", "d/g > e/f"},
			[]string{"d/g = d/e/f", "l = d/e/f", "m/f = d/e/f"}},
	} {
		t.Run(name, func(t *testing.T) {
			list := entriesOf(c.tree...)
			slices.SortFunc(list, func(a, b tree.Entry) int { return strings.Compare(a.Path, b.Path) })
			l := links(list, simplestreams.Format{})
			var got []string
			for _, e := range l.aliases {
				got = append(got, e.Path+" = "+e.Name)
			}
			for _, e := range list {
				if v, bad := l.verdicts[e.Path]; bad {
					got = append(got, e.Path+": "+v.code)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A few links to each other's folders could make millions of paths.
func TestLinksAreBounded(t *testing.T) {
	var list []string
	for i := range 30 {
		for _, n := range []string{"a", "b"} {
			list = append(list, fmt.Sprintf("d%02d/%s > ../d%02d", i, n, i+1))
		}
	}
	list = append(list, "d30/file")
	l := links(entriesOf(list...), simplestreams.Format{})
	if n := len(l.aliases); n > maxLinkFiles+maxLinkFactor*len(list) {
		t.Errorf("%d files", n)
	}
	if v := l.verdicts["d00/a"]; v.code != "link-depth" {
		t.Errorf("%+v", v)
	}
}

// What an index names through a link is content under that path, and its real
// name is nothing that a prune deletes.
func TestNamedThroughLink(t *testing.T) {
	s := newStage(t)
	s.Links = FollowLinks
	add(t, s, built(t, "alpha", ""))
	must(t, os.Rename(filepath.Join(s.Dir, "images"), filepath.Join(s.Dir, "real")))
	must(t, os.Symlink("real", filepath.Join(s.Dir, "images")))
	checked, err := s.Validate(context.Background(), Checks{Now: time.Now()})
	must(t, err)
	peeked, err := s.Peek(context.Background())
	must(t, err)
	v, base := promoted(t, s, &Base{})
	root := "images/" + sum(squashfs("alpha")) + ".squashfs"
	if got := contents(t, v.Dir)[root]; got != sum(squashfs("alpha")) {
		t.Errorf("%s is not published", root)
	}
	for _, c := range []*Checked{checked, peeked} {
		if len(c.Report.Findings) > 0 {
			t.Errorf("findings %+v", c.Report.Findings)
		}
		if diff := cmp.Diff(v.Rows, c.Rows); diff != "" {
			t.Error(diff)
		}
	}
	if list, sure, err := s.Orphans(context.Background(), checked.Catalog); err != nil || sure && len(list) > 0 {
		t.Errorf("orphans %v, %v, %v", list, sure, err)
	}
	base.TreeID, base.Named = v.TreeID, named(v.Catalog)
	if snap := snapshot(t, s, base); !snap.Same {
		t.Error("the same tree is made anew")
	}
}

// Links to single files, too, of both files of a pair.
func TestNamedThroughFileLinks(t *testing.T) {
	s := newStage(t)
	s.Links = FollowLinks
	add(t, s, built(t, "alpha", ""))
	list, err := os.ReadDir(filepath.Join(s.Dir, "images"))
	must(t, err)
	for _, d := range list {
		put(t, s, "real/"+d.Name(), string(read(t, filepath.Join(s.Dir, "images", d.Name()))))
		must(t, os.Remove(filepath.Join(s.Dir, "images", d.Name())))
		must(t, os.Symlink("../real/"+d.Name(), filepath.Join(s.Dir, "images", d.Name())))
	}
	checked, err := s.Validate(context.Background(), Checks{Now: time.Now(), Full: true})
	must(t, err)
	if len(checked.Report.Errors()) > 0 {
		t.Errorf("findings %+v", checked.Report.Findings)
	}
	promoted(t, s, &Base{})
}

func TestLinksInATreeWithIndexes(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "alpha", ""))
	root := "images/" + sum(squashfs("alpha")) + ".squashfs"
	must(t, os.Symlink("images", filepath.Join(s.Dir, "latest")))
	must(t, os.Rename(filepath.Join(s.Dir, root), filepath.Join(s.Dir, "elsewhere")))
	must(t, os.Symlink("../elsewhere", filepath.Join(s.Dir, root)))
	v, r := validate(t, snapshot(t, s, &Base{}))
	if diff := cmp.Diff([]string{"error link " + root, "error link latest"}, codes(r)); diff != "" || v != nil {
		t.Error(diff)
	}
}
