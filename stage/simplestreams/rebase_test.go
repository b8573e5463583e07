package simplestreams

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"

	"example.com/publish/stage/catalog"
)

// rebased is ours after a rebase, and its result. A second rebase has nothing to write.
func rebased(t interface {
	Helper()
	Fatal(...any)
	Errorf(string, ...any)
}, base, ours, theirs fstest.MapFS) (fstest.MapFS, *catalog.Rebased) {
	t.Helper()
	r, err := Format{}.Rebase(context.Background(), catalog.Files(base), catalog.Files(ours), catalog.Files(theirs))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Conflicts) > 0 {
		if len(r.Documents) > 0 {
			t.Errorf("it is refused, and there are documents")
		}
		return ours, r
	}
	after := maps.Clone(ours)
	for _, d := range r.Documents {
		if d.Data == nil {
			delete(after, d.Path)
		} else {
			after[d.Path] = file(string(d.Data))
		}
	}
	again, err := Format{}.Rebase(context.Background(), catalog.Files(base), catalog.Files(after), catalog.Files(theirs))
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Documents)+len(again.Conflicts) > 0 {
		t.Errorf("a second time it wants %v, %v\nbase\n%s\nours\n%s\ntheirs\n%s\nresult\n%s", again.Documents, again.Conflicts,
			base[defaultCatalog], ours[defaultCatalog], theirs[defaultCatalog], after[defaultCatalog])
	}
	return after, r
}

// shelf is a tree with products, each a line: its fields, a colon, and its versions with
// the words that stand for their content: "a os=x: 1=one 2=two".
func shelf(lines ...string) fstest.MapFS {
	products, names := object{}, []string{}
	for _, line := range lines {
		head, tail, _ := strings.Cut(line, ":")
		fields := strings.Fields(head)
		p := object{}
		for _, f := range fields[1:] {
			name, value, _ := strings.Cut(f, "=")
			p = p.set(name, quote(value))
		}
		versions := object{}
		for _, f := range strings.Fields(tail) {
			name, word, _ := strings.Cut(f, "=")
			word, label, _ := strings.Cut(word, "~")
			version := object{}.set("items", object{}.set("incus_combined.tar.gz", fmt.Appendf(nil,
				`{"ftype":"incus_combined.tar.gz","path":"images/%s","sha256":"%s","size":1,"mine":"x"}`, word,
				hashOf(word))).join())
			if label != "" {
				version = version.set("label", quote(label))
			}
			versions = versions.insert(name, version.join())
		}
		products = products.insert(fields[0], p.set("versions", versions.join()).join())
		names = append(names, fields[0])
	}
	slices.Sort(names)
	return fstest.MapFS{
		defaultCatalog: file(`{"content_id":"images","datatype":"image-downloads","format":"products:1.0","x":[1],"products":` +
			string(products.join()) + `}`),
		IndexPath: file(`{"format":"index:1.0","y":2,"index":{"images":{"datatype":"image-downloads","path":"` +
			defaultCatalog + `","products":` + string(list(names)) + `}}}`),
	}
}

// shelved is the reverse of shelf.
func shelved(tree fstest.MapFS) []string {
	out := []string{}
	for _, m := range split(split(tree[defaultCatalog].Data).get("products")) {
		p := split(m.raw)
		line := m.name
		for _, f := range p {
			if f.name != "versions" {
				line += " " + f.name + "=" + text(f.raw)
			}
		}
		line += ":"
		for _, v := range split(p.get("versions")) {
			items := split(split(v.raw).get("items"))
			line += " " + v.name + "=" + strings.TrimPrefix(text(split(items[0].raw).get("path")), "images/")
			if label := split(v.raw).get("label"); label != nil {
				line += "~" + text(label)
			}
		}
		out = append(out, line)
	}
	return out
}

func TestRebase(t *testing.T) {
	base := []string{"a os=x: 1=one 2=two", "b: 1=old"}
	for name, tt := range map[string]struct {
		ours, theirs []string
		want         string
		conflicts    string
		findings     int
	}{
		"nothing": {
			base,
			base,
			"a os=x: 1=one 2=two; b: 1=old", "", 0},
		"added here": {
			[]string{"a os=x: 1=one 2=two 3=three", "b: 1=old", "c: 1=c"},
			base,
			"a os=x: 1=one 2=two 3=three; b: 1=old; c: 1=c", "", 0},
		"added there": {
			base,
			[]string{"a os=x: 1=one 2=two 3=three", "b: 1=old", "c: 1=c"},
			"a os=x: 1=one 2=two 3=three; b: 1=old; c: 1=c", "", 0},
		"added on both sides": {
			[]string{"a os=x: 1=one 2=two 3=three", "b: 1=old"},
			[]string{"a os=x: 1=one 2=two 4=four", "b: 1=old", "d: 1=d"},
			"a os=x: 1=one 2=two 3=three 4=four; b: 1=old; d: 1=d", "", 0},
		"the same added": {
			[]string{"a os=x: 1=one 2=two 3=three", "b: 1=old", "c: 1=c"},
			[]string{"a os=x: 1=one 2=two 3=three", "b: 1=old", "c: 1=c"},
			"a os=x: 1=one 2=two 3=three; b: 1=old; c: 1=c", "", 0},
		"other content added": {
			[]string{"a os=x: 1=one 2=two 3=here", "b: 1=old"},
			[]string{"a os=x: 1=one 2=two 3=there", "b: 1=old"},
			"", "a/3 added added", 0},
		"a product added twice": {
			[]string{"a os=x: 1=one 2=two", "b: 1=old", "c: 1=c"},
			[]string{"a os=x: 1=one 2=two", "b: 1=old", "c: 1=x 2=y"},
			"", "c/1 added added", 0},
		"removed here": {
			[]string{"a os=x: 2=two", "b: 1=old"},
			base,
			"a os=x: 2=two; b: 1=old", "", 0},
		"removed there": {
			base,
			[]string{"a os=x: 2=two"},
			"a os=x: 2=two", "", 0},
		"removed on both sides": {
			[]string{"a os=x: 2=two", "b: 1=old"},
			[]string{"a os=x: 1=one"},
			"", "", 0},
		"the same removed": {
			[]string{"a os=x: 1=one 2=two"},
			[]string{"a os=x: 1=one 2=two"},
			"a os=x: 1=one 2=two", "", 0},
		"removed and added": {
			[]string{"a os=x: 1=one 2=two", "b: 2=new"},
			[]string{"a os=x: 1=one 2=two 3=three"},
			"a os=x: 1=one 2=two 3=three; b: 2=new", "", 0},
		"a product gone, grown": {
			[]string{"b: 1=old"},
			[]string{"a os=x: 1=one 2=two 3=three", "b: 1=old"},
			"a os=x: 3=three; b: 1=old", "", 0},
		"removed here, changed": {
			[]string{"b: 1=old"},
			[]string{"a os=x: 1=uno 2=two", "b: 1=old"},
			"", "a/1 removed changed", 0},
		"changed, removed there": {
			[]string{"a os=x: 1=uno 2=two", "b: 1=old"},
			[]string{"a os=x: 2=two", "b: 1=old"},
			"", "a/1 changed removed", 0},
		"changed here": {
			[]string{"a os=x: 1=uno 2=two", "b: 1=old"},
			[]string{"a os=x: 1=one 2=two", "b: 1=old 2=new"},
			"a os=x: 1=uno 2=two; b: 1=old 2=new", "", 0},
		"changed to the same": {
			[]string{"a os=x: 1=uno 2=two", "b: 1=old"},
			[]string{"a os=x: 1=uno 2=two", "b: 1=old 2=new"},
			"a os=x: 1=uno 2=two; b: 1=old 2=new", "", 0},
		"changed on both sides": {
			[]string{"a os=x: 1=uno 2=dos", "b: 1=old"},
			[]string{"a os=x: 1=ein 2=zwei", "b: 1=old"},
			"", "a/1 changed changed, a/2 changed changed", 0},
		"a field here": {
			[]string{"a os=y aliases=q: 1=one 2=two", "b: 1=old"},
			[]string{"a os=x: 1=one 2=two 3=three", "b: 1=old"},
			"a os=y aliases=q: 1=one 2=two 3=three; b: 1=old", "", 0},
		"a field there": {
			[]string{"a os=x: 1=one 2=two 3=three", "b: 1=old"},
			[]string{"a os=z: 1=one 2=two", "b: 1=old"},
			"a os=z: 1=one 2=two 3=three; b: 1=old", "", 0},
		"two fields": {
			[]string{"a os=x aliases=q: 1=one 2=two", "b: 1=old"},
			[]string{"a os=x foo=bar: 1=one 2=two", "b: 1=old"},
			"a os=x foo=bar aliases=q: 1=one 2=two; b: 1=old", "", 0},
		"a field on both sides": {
			[]string{"a os=y: 1=one 2=two 3=three", "b: 1=old"},
			[]string{"a os=z: 1=one 2=two", "b: 1=old"},
			"a os=z: 1=one 2=two 3=three; b: 1=old", "", 1},
		"a field gone here": {
			[]string{"a: 1=one 2=two", "b: 1=old"},
			[]string{"a os=x: 1=one 2=two 3=three", "b: 1=old"},
			"a: 1=one 2=two 3=three; b: 1=old", "", 0},
		"a field gone, changed": {
			[]string{"a: 1=one 2=two", "b: 1=old"},
			[]string{"a os=z: 1=one 2=two", "b: 1=old"},
			"a os=z: 1=one 2=two; b: 1=old", "", 1},
		"a label here": {
			[]string{"a os=x: 1=one~beta 2=two", "b: 1=old"},
			[]string{"a os=x: 1=one 2=two 3=three", "b: 1=old"},
			"a os=x: 1=one~beta 2=two 3=three; b: 1=old", "", 0},
		"a label on both sides": {
			[]string{"a os=x: 1=one~beta 2=two", "b: 1=old"},
			[]string{"a os=x: 1=one~rc 2=two", "b: 1=old"},
			"a os=x: 1=one~rc 2=two; b: 1=old", "", 1},
		"the same image, labelled": {
			[]string{"a os=x: 1=one 2=two 3=three~beta", "b: 1=old"},
			[]string{"a os=x: 1=one 2=two 3=three", "b: 1=old"},
			"a os=x: 1=one 2=two 3=three~beta; b: 1=old", "", 0},
		"emptied together": {
			[]string{"a os=x: 1=one", "b: 1=old"},
			[]string{"a os=x: 2=two", "b: 1=old"},
			"b: 1=old", "", 0},
		"all removed here": {
			nil,
			[]string{"a os=x: 1=one 2=two 3=three", "b: 1=old"},
			"a os=x: 3=three", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "removed on both sides" {
				tt.want = "" // a has 1 and 2 removed, b is gone there
			}
			after, r := rebased(t, shelf(base...), shelf(tt.ours...), shelf(tt.theirs...))
			var conflicts []string
			for _, c := range r.Conflicts {
				conflicts = append(conflicts, c.Ref+" "+string(c.Here)+" "+string(c.There))
			}
			if got := strings.Join(conflicts, ", "); got != tt.conflicts || len(r.Findings) != tt.findings {
				t.Fatalf("conflicts %q, findings %v", got, r.Findings)
			}
			if len(r.Conflicts) > 0 {
				return
			}
			if got := strings.Join(shelved(after), "; "); got != tt.want {
				t.Errorf("%s\nwant\n%s", got, tt.want)
			}
			catalogOf := mustRead(t, after)
			for _, f := range catalogOf.Findings {
				if f.Code == "index-products" || f.Severity == catalog.Error && len(shelved(after)) > 0 {
					t.Errorf("%v", f)
				}
			}
			if index := string(after[IndexPath].Data); !strings.Contains(index, `"y":2`) {
				t.Error(index)
			}
			if doc := string(after[defaultCatalog].Data); !strings.Contains(doc, `"x":[1]`) {
				t.Error(doc)
			}
		})
	}
}

// The first tree comes from nothing, on either side.
func TestRebaseFromNothing(t *testing.T) {
	none, some := fstest.MapFS{}, shelf("a: 1=one")
	for _, tt := range [][2]fstest.MapFS{{none, some}, {some, none}, {some, some}} {
		after, r := rebased(t, none, tt[0], tt[1])
		if got := shelved(after); !slices.Equal(got, []string{"a: 1=one"}) || len(r.Conflicts) > 0 {
			t.Errorf("%v", got)
		}
	}
	after, _ := rebased(t, none, shelf("b: 1=two"), some)
	if got := shelved(after); !slices.Equal(got, []string{"a: 1=one", "b: 1=two"}) {
		t.Errorf("%v", got)
	}
	if _, r := rebased(t, none, none, none); len(r.Documents) > 0 {
		t.Error(r.Documents)
	}
}

// What is lost in staging is not taken for removed.
func TestRebaseOfLostDocuments(t *testing.T) {
	tree := shelf("a: 1=one")
	for _, lost := range []string{IndexPath, defaultCatalog} {
		for side := range 3 {
			sides := [3]fstest.MapFS{tree, tree, tree}
			sides[side] = maps.Clone(tree)
			delete(sides[side], lost)
			_, err := Format{}.Rebase(t.Context(), catalog.Files(sides[0]), catalog.Files(sides[1]), catalog.Files(sides[2]))
			if wantErr := lost == defaultCatalog || side == 1; (err != nil) != wantErr {
				t.Errorf("%s, %d: %v", lost, side, err)
			}
		}
	}
	bad := maps.Clone(tree)
	bad[defaultCatalog] = file("{")
	if _, err := (Format{}).Rebase(t.Context(), catalog.Files(tree), catalog.Files(bad), catalog.Files(tree)); err == nil {
		t.Error("half a document")
	}
}

// Streams and documents of others come and go as well.
func TestRebaseStreams(t *testing.T) {
	with := func(tree fstest.MapFS, key, datatype, path, doc string) fstest.MapFS {
		tree = maps.Clone(tree)
		index := split(tree[IndexPath].Data)
		streams := split(index.get("index")).insert(key, []byte(`{"datatype":"`+datatype+`","path":"`+path+`","z":1}`))
		tree[IndexPath] = file(string(index.set("index", streams.join()).join()))
		if doc != "" {
			tree[path] = file(doc)
		}
		return tree
	}
	base := shelf("a: 1=one")
	more := shelf("c: 1=three")[defaultCatalog].Data
	ours := with(base, "daily", "image-downloads", "streams/v1/daily.json", string(more))
	theirs := with(shelf("a: 1=one", "b: 1=two"), "text", "content-download", "other.json", `{"t":1}`)
	for _, tt := range [][2]fstest.MapFS{{ours, theirs}, {theirs, ours}} {
		after, r := rebased(t, base, tt[0], tt[1])
		cat := mustRead(t, after)
		if len(r.Conflicts) > 0 || len(cat.Images) != 3 || after["other.json"] == nil || after["streams/v1/daily.json"] == nil {
			t.Fatalf("%v %v %v", r.Conflicts, cat.Images, r.Documents)
		}
		// Back again: what one side removes goes.
		back, r := rebased(t, after, base, after)
		if cat := mustRead(t, back); len(cat.Images) != 1 || len(r.Conflicts) > 0 {
			t.Errorf("%v", cat.Images)
		}
		back, _ = rebased(t, after, after, base)
		if cat := mustRead(t, back); len(cat.Images) != 1 || back["other.json"] != nil || back["streams/v1/daily.json"] != nil {
			t.Errorf("%v", back)
		}
	}
	_, r := rebased(t, base, with(base, "text", "content-download", "other.json", `{"t":2}`), theirs)
	if len(r.Conflicts) != 1 || r.Conflicts[0].Ref != "other.json" {
		t.Errorf("%v", r.Conflicts)
	}
}

// A model of writers: each begins from some state of production, adds and removes versions, and
// rebases when it is its turn.
func TestRebaseOfMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type state = map[string]string // content by product/version
		tree := func(s state) fstest.MapFS {
			byProduct := map[string]string{}
			for k, word := range s {
				product, version, _ := strings.Cut(k, "/")
				byProduct[product] += " " + version + "=" + word
			}
			var out []string
			for product, versions := range byProduct {
				out = append(out, product+":"+versions)
			}
			return shelf(out...)
		}
		read := func(tree fstest.MapFS) state {
			out := state{}
			for _, line := range shelved(tree) {
				product, versions, _ := strings.Cut(line, ":")
				for _, v := range strings.Fields(versions) {
					version, word, _ := strings.Cut(v, "=")
					out[product+"/"+version] = word
				}
			}
			return out
		}
		now := state{}
		for _, k := range []string{"a/1", "a/2", "b/1", "c/1", "c/2"} {
			now[k] = "old-" + strings.ReplaceAll(k, "/", "-")
		}
		production := tree(now)
		removed := map[string]bool{}
		type writer struct{ base, ours fstest.MapFS }
		var writers []writer
		for n := range rapid.IntRange(1, 6).Draw(t, "writers") {
			own := maps.Clone(now)
			for _, k := range slices.Sorted(maps.Keys(now)) {
				if rapid.IntRange(0, 4).Draw(t, "remove") == 0 {
					delete(own, k)
					removed[k] = true
				}
			}
			for i := range rapid.IntRange(0, 3).Draw(t, "add") {
				own[fmt.Sprintf("%s/%d%d", rapid.SampledFrom([]string{"a", "b", "d"}).Draw(t, "to"), n+3, i)] = fmt.Sprintf("w%d%d", n, i)
			}
			writers = append(writers, writer{production, tree(own)})
		}
		want := maps.Clone(now)
		for k := range removed {
			delete(want, k)
		}
		for _, w := range writers {
			for k, word := range read(w.ours) {
				if !removed[k] {
					want[k] = word
				}
			}
		}
		for _, i := range rapid.Permutation([]int{0, 1, 2, 3, 4, 5}[:len(writers)]).Draw(t, "order") {
			after, r := rebased(t, writers[i].base, writers[i].ours, production)
			if len(r.Conflicts) > 0 {
				t.Fatal(r.Conflicts)
			}
			production = after
		}
		if got := read(production); !maps.Equal(got, want) {
			t.Fatalf("%v\nwant\n%v", got, want)
		}
	})
}

// FuzzRebase gets the catalogs of base, ours and theirs, and an index for all of them.
func FuzzRebase(f *testing.F) {
	doc := func(lines ...string) string { return string(shelf(lines...)[defaultCatalog].Data) }
	index := string(shelf("a: 1=one")[IndexPath].Data)
	f.Add(doc("a os=x: 1=one"), doc("a os=y: 1=one 2=two"), doc("b: 1=x"), index)
	f.Add(`{"products":{"a":{}}}`, `{"Products":{"a":{"versions":null}}}`, `{"products":{}}`, index)
	f.Add(wild(), wild(), doc("a: 1=one"), `{"index":{"x":{"datatype":"image-downloads","path":"streams/v1/images.json"}}}`)
	f.Fuzz(func(t *testing.T, base, ours, theirs, index string) {
		sides := make([]fstest.MapFS, 3)
		for i, doc := range []string{base, ours, theirs} {
			sides[i] = fstest.MapFS{defaultCatalog: file(doc), IndexPath: file(index)}
		}
		r, err := Format{}.Rebase(t.Context(), catalog.Files(sides[0]), catalog.Files(sides[1]), catalog.Files(sides[2]))
		if err != nil || len(r.Conflicts) > 0 {
			return
		}
		after := apply(sides[1], r.Documents)
		again, err := Format{}.Rebase(t.Context(), catalog.Files(sides[0]), catalog.Files(after), catalog.Files(sides[2]))
		if err != nil || len(again.Documents)+len(again.Conflicts) > 0 {
			t.Errorf("%v %v\nbase %s\nours %s\ntheirs %s\nresult %s", err, again, base, ours, theirs, after[defaultCatalog].Data)
		}
	})
}
