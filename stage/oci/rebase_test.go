package oci

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"example.com/publish/stage/catalog"
)

// tagged is a tree with one image a word, such as "repo:v1=one": the content of a tag
// follows from the word. A word "repo:v1=one+sig" has a referrer also, "repo=one" no tag.
func tagged(words ...string) *fixture {
	f := newFixture()
	lists := map[string][]d{}
	for _, w := range words {
		name, content, _ := strings.Cut(w, "=")
		repository, tag, _ := strings.Cut(name, ":")
		content, referrer, _ := strings.Cut(content, "+")
		made := f.image(repository, content)
		if tag != "" {
			lists[repository] = append(lists[repository], made.tag(tag))
		} else {
			lists[repository] = append(lists[repository], made)
		}
		if referrer != "" {
			lists[repository] = append(lists[repository], f.image(repository, referrer, "subject", made))
		}
	}
	for repository, list := range lists {
		f.layout(repository, list...)
	}
	return f
}

// rebase makes f what the three-way merge makes of it. Its content is that of all sides.
func (f *fixture) rebase(t interface {
	Helper()
	Fatal(...any)
}, base, theirs *fixture) *catalog.Rebased {
	t.Helper()
	r, err := Format{}.Rebase(context.Background(), base.source(), f.source(), theirs.source())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Conflicts) > 0 {
		if len(r.Documents) > 0 {
			t.Fatal("it is refused, and there are documents")
		}
		return r
	}
	for _, from := range []*fixture{base, theirs} {
		for p, file := range from.files {
			if strings.Contains(p, "/blobs/") {
				f.files[p] = file
			}
		}
	}
	f.apply(r.Documents)
	again, err := Format{}.Rebase(context.Background(), base.source(), f.source(), theirs.source())
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Documents)+len(again.Conflicts) > 0 {
		t.Fatal("a second time it wants", again.Documents, again.Conflicts)
	}
	return r
}

// entriesOf is the reverse of tagged, without order: digests stand for contents.
func entriesOf(f *fixture) []string {
	out := []string{}
	for p, file := range f.files {
		repository, ok := strings.CutSuffix(p, "/index.json")
		if !ok {
			continue
		}
		x, err := parseIndex(file.Data)
		if err != nil {
			panic(err)
		}
		for _, e := range x.entries {
			out = append(out, repository+":"+tagOf(e)+"="+e.Digest)
		}
	}
	slices.Sort(out)
	return out
}

func TestRebase(t *testing.T) {
	const base = "a:1=one a:2=two b:1=old"
	for name, tt := range map[string]struct{ ours, theirs, want, conflicts string }{
		"nothing":     {base, base, base, ""},
		"added here":  {base + " a:3=three c:1=c", base, base + " a:3=three c:1=c", ""},
		"added there": {base, base + " a:3=three c:1=c", base + " a:3=three c:1=c", ""},
		"added on both sides": {base + " a:3=three c:1=c", base + " a:4=four c:2=d",
			base + " a:3=three a:4=four c:1=c c:2=d", ""},
		"the same added":        {base + " a:3=three", base + " a:3=three", base + " a:3=three", ""},
		"other content added":   {base + " a:3=here", base + " a:3=there", "", "a:3 added added"},
		"a repository twice":    {base + " c:1=x", base + " c:1=y", "", "c:1 added added"},
		"removed here":          {"a:2=two b:1=old", base, "a:2=two b:1=old", ""},
		"removed there":         {base, "a:2=two", "a:2=two", ""},
		"a repository gone":     {"a:1=one a:2=two", base, "a:1=one a:2=two", ""},
		"gone and grown":        {"a:1=one a:2=two", base + " b:2=new", "a:1=one a:2=two b:2=new", ""},
		"grown and gone":        {base + " b:2=new", "a:1=one a:2=two", "a:1=one a:2=two b:2=new", ""},
		"removed here, changed": {"a:2=two b:1=old", "a:1=uno a:2=two b:1=old", "", "a:1 removed changed"},
		"changed, removed":      {"a:1=uno a:2=two b:1=old", "a:2=two b:1=old", "", "a:1 changed removed"},
		"changed here":          {"a:1=uno a:2=two b:1=old", base + " a:3=x", "a:1=uno a:2=two b:1=old a:3=x", ""},
		"changed there":         {base + " a:3=x", "a:1=uno a:2=two b:1=old", "a:1=uno a:2=two b:1=old a:3=x", ""},
		"changed to the same":   {"a:1=uno a:2=two b:1=old", "a:1=uno a:2=two b:1=old", "a:1=uno a:2=two b:1=old", ""},
		"changed twice": {"a:1=uno a:2=two b:1=x", "a:1=ein a:2=two b:1=y", "",
			"a:1 changed changed, b:1 changed changed"},
		"signed here":           {"a:1=one+sig a:2=two b:1=old", base + " a:3=x", "a:1=one+sig a:2=two b:1=old a:3=x", ""},
		"signed there":          {base + " a:3=x", "a:1=one+sig a:2=two b:1=old", "a:1=one+sig a:2=two b:1=old a:3=x", ""},
		"signed, removed there": {"a:1=one+sig a:2=two b:1=old", "a:2=two b:1=old", "a:2=two b:1=old", ""},
		"signed, new":           {base + " a:3=three+sig", base, base + " a:3=three+sig", ""},
		"untagged":              {base + " a=loose", base + " b=loose", base + " a=loose b=loose", ""},
		"all gone here":         {"", base + " b:2=new", "b:2=new", ""},
	} {
		t.Run(name, func(t *testing.T) {
			ours := tagged(strings.Fields(tt.ours)...)
			r := ours.rebase(t, tagged(strings.Fields(base)...), tagged(strings.Fields(tt.theirs)...))
			var conflicts []string
			for _, c := range r.Conflicts {
				conflicts = append(conflicts, c.Ref+" "+string(c.Here)+" "+string(c.There))
			}
			equal(t, "conflicts", []string{strings.Join(conflicts, ", ")}, []string{tt.conflicts})
			if len(r.Conflicts) == 0 {
				equal(t, "entries", entriesOf(ours), entriesOf(tagged(strings.Fields(tt.want)...)))
			}
		})
	}
}

// A tag that goes takes its referrers along, unless another tag needs them; one that was
// taken back alone goes alone.
func TestRebaseReferrers(t *testing.T) {
	signed := "a:1=one+sig a:2=two+mark"
	for _, tt := range [][3]string{
		{"a:2=two+mark", signed, "a:2=two+mark"},                                  // removed here
		{"a:1=one a:2=two+mark", signed + " a:3=x", "a:1=one a:2=two+mark a:3=x"}, // taken back here
		{"a:2=two+mark", signed + " a:9=one", "a:2=two+mark a:9=one+sig"},         // there, another tag needs it
		{"a:1=uno a:2=two+mark", signed, "a:1=uno a:2=two+mark"},                  // moved on
	} {
		ours := tagged(strings.Fields(tt[0])...)
		if r := ours.rebase(t, tagged(strings.Fields(signed)...), tagged(strings.Fields(tt[1])...)); len(r.Conflicts) > 0 {
			t.Fatal(r.Conflicts)
		}
		equal(t, tt[0], entriesOf(ours), entriesOf(tagged(strings.Fields(tt[2])...)))
	}
}

// Members of index.json that nobody here knows survive, from either side.
func TestRebaseUnknownMembers(t *testing.T) {
	with := func(f *fixture, member string) *fixture {
		index := string(f.files["a/index.json"].Data)
		f.write("a/index.json", strings.Replace(index, "{", "{"+member+",", 1))
		return f
	}
	base := "a:1=one"
	ours := with(tagged(base, "a:2=two"), `"x":1,"z":1`)
	r := ours.rebase(t, tagged(base), with(tagged(base, "a:3=three"), `"y":2,"z":2`))
	index := string(ours.files["a/index.json"].Data)
	for _, want := range []string{`"x":1`, `"y":2`, `"z":2`} {
		if !strings.Contains(index, want) {
			t.Errorf("%s is not in %s", want, index)
		}
	}
	if len(r.Findings) != 1 || r.Findings[0].Severity != catalog.Warning {
		t.Error(r.Findings)
	}
}

// Whatever the order of writers, all their additions are there in the end, and nothing
// that one of them removed.
func TestRebaseOfMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := []string{"a:1=a1", "a:2=a2", "b:1=b1", "c:1=c1+sig"}
		base := tagged(start...)
		removed, want := map[string]bool{}, map[string]bool{}
		var writers []*fixture
		for n := range rapid.IntRange(1, 5).Draw(t, "writers") {
			var own []string
			for _, w := range start {
				if rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
					removed[w] = true
				} else {
					own = append(own, w)
				}
			}
			for i := range rapid.IntRange(0, 2).Draw(t, "add") {
				w := fmt.Sprintf("%s:w%d%d=w%d%d", rapid.SampledFrom([]string{"a", "b", "d"}).Draw(t, "to"), n, i, n, i)
				own, want[w] = append(own, w), true
			}
			writers = append(writers, tagged(own...))
		}
		for _, w := range start {
			if !removed[w] {
				want[w] = true
			}
		}
		production := base
		for _, i := range rapid.Permutation([]int{0, 1, 2, 3, 4}[:len(writers)]).Draw(t, "order") {
			if r := writers[i].rebase(t, base, production); len(r.Conflicts) > 0 {
				t.Fatal(r.Conflicts)
			}
			production = writers[i]
		}
		got, expect := entriesOf(production), entriesOf(tagged(slices.Sorted(maps.Keys(want))...))
		if !slices.Equal(got, expect) {
			t.Fatalf("%q\nwant\n%q", got, expect)
		}
	})
}
