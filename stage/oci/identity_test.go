package oci

import (
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

// entryOf is the entry of a tag in the fixture's repository.
func (f *fixture) entryOf(t *testing.T, tag string) *entry {
	t.Helper()
	x, err := parseIndex(f.files[path.Join(repo, indexName)].Data)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(x.entries, func(e entry) bool { return tagOf(e) == tag })
	if i < 0 {
		t.Fatalf("no entry has the tag %q", tag)
	}
	return &x.entries[i]
}

// addAs brings an input as a person asked for.
func (f *fixture) addAs(t *testing.T, opt catalog.Addition, in ...catalog.Input) (*catalog.Change, error) {
	t.Helper()
	s := sink{}
	edit, err := Format{}.Gather(t.Context(), in, s, opt)
	if err != nil {
		return nil, err
	}
	change, err := edit(t.Context(), f.source())
	if err != nil {
		return nil, err
	}
	for from, to := range change.Places {
		f.write(to, string(s[from]))
	}
	f.apply(change.Documents)
	return change, nil
}

// The record of an image says who asked for what and when, moves with every copy,
// and tells nothing of this machine.
func TestRecord(t *testing.T) {
	from, now := newFixture(), time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	one, two := from.image("some/dir", "one"), from.image("some/dir", "two")
	from.layout("some/dir", one.tag("x"))
	f := newFixture()
	opt := catalog.Addition{Name: "acme/app", Now: now}
	if _, err := f.addAs(t, opt, from.input("some/dir")); err != nil {
		t.Fatal(err)
	}
	got, stale := f.entryOf(t, "latest").identity(repo)
	want := identity{Requested: "acme/app", Defaulted: true, StagedAt: now.Truncate(time.Second), Source: "dir"}
	if stale != "" || !sameIdentity(got, want) {
		t.Errorf("%+v %s", got, stale)
	}
	if text := string(f.entryOf(t, "latest").raw); strings.Contains(text, "some") {
		t.Errorf("a path is told: %s", text)
	}

	// Another image an hour later; and the same one again, later still, changes nothing.
	from.layout("some/dir", two.tag("x"))
	opt.Now = now.Add(time.Hour)
	change, err := f.addAs(t, opt, from.input("some/dir"))
	if err != nil || change.Images[0].Before != one.digest() {
		t.Fatalf("%+v %v", change, err)
	}
	want.StagedAt, want.MovedFrom = want.StagedAt.Add(time.Hour), one.digest()
	if got, _ = f.entryOf(t, "latest").identity(repo); !sameIdentity(got, want) {
		t.Errorf("%+v", got)
	}
	opt.Now = now.Add(2 * time.Hour)
	if change, err = f.addAs(t, opt, from.input("some/dir")); err != nil || len(change.Documents) > 0 ||
		change.Images[0].Before != "" {
		t.Errorf("%+v %v", change, err)
	}

	// Asked for in another way, it has another record.
	opt.Name = "acme/app:latest@" + two.digest()
	if _, err = f.addAs(t, opt, from.input("some/dir")); err != nil {
		t.Fatal(err)
	}
	want.Requested, want.Defaulted, want.Pinned = opt.Name, false, two.digest()
	want.StagedAt = want.StagedAt.Add(time.Hour)
	if got, _ = f.entryOf(t, "latest").identity(repo); !sameIdentity(got, want) {
		t.Errorf("%+v", got)
	}

	// From this tree to another one, and there it is staged at another time.
	g := newFixture()
	opt = catalog.Addition{Now: now.Add(24 * time.Hour)}
	if _, err := g.addAs(t, opt, f.input(repo)); err != nil {
		t.Fatal(err)
	}
	want.StagedAt, want.MovedFrom = opt.Now.Truncate(time.Second), ""
	if got, _ = g.entryOf(t, "latest").identity(repo); !sameIdentity(got, want) {
		t.Errorf("%+v", got)
	}
	_, findings := g.read(t)
	equal(t, "findings", findings, nil)
}

func sameIdentity(a, b identity) bool {
	same := a.Platforms.String() == b.Platforms.String() && a.StagedAt.Equal(b.StagedAt)
	a.Platforms, b.Platforms, a.StagedAt, b.StagedAt = nil, nil, time.Time{}, time.Time{}
	return same && a.Requested == b.Requested && a.Defaulted == b.Defaulted && a.Pinned == b.Pinned &&
		a.Source == b.Source && a.MovedFrom == b.MovedFrom
}

// umoci and oras copy all annotations to a new tag. What is recorded there of the
// old one is not believed.
func TestStaleIdentity(t *testing.T) {
	f := newFixture()
	x := f.image(repo, "x")
	record := func(tag, name, requested string) d {
		notes := d{refName: tag, sourceNote: "s.tar"}
		if name != "" {
			notes[imageName] = name
		}
		if requested != "" {
			notes[requestedNote] = requested
		}
		return x.with("annotations", notes)
	}
	for name, c := range map[string]struct {
		entry d
		stale string
	}{
		"all is right":           {record("v1", repo+":v1", "acme/app:v1"), ""},
		"nothing but a source":   {record("v1", "", ""), ""},
		"another tag":            {record("v2", repo+":v1", "acme/app:v1"), imageName},
		"another tag, asked for": {record("v2", "", "acme/app:v1"), requestedNote},
		"another repository":     {record("v1", "docker.io/acme/other:v1", ""), imageName},
		"no name":                {record("v1", "A B", ""), imageName},
		"a full ref.name":        {record(repo+":v1", "", ""), ""},
		"of another repository":  {record("ghcr.io/x:v1", "", ""), refName},
		"untagged":               {record("", repo+"@"+x.digest(), ""), ""},
		"untagged, of a tag":     {record("", repo+":v1", ""), imageName},
	} {
		t.Run(name, func(t *testing.T) {
			f.layout(repo, c.entry)
			_, findings := f.read(t)
			findings = slices.DeleteFunc(findings, func(s string) bool { return strings.Contains(s, "untagged") })
			if (len(findings) > 0) != (c.stale != "") ||
				c.stale != "" && !strings.HasPrefix(findings[0], "warning identity-stale "+repo+"/index.json: "+c.stale+" is ") {
				t.Errorf("%q", findings)
			}
			x, err := parseIndex(f.files[repo+"/index.json"].Data)
			if err != nil {
				t.Fatal(err)
			}
			if id, _ := x.entries[0].identity(repo); (id.Source == "") != (c.stale != "") {
				t.Errorf("%+v", id)
			}
		})
	}
}

// Who adds one platform after the other has all of them at the end: then none was picked.
func TestPickedOneByOne(t *testing.T) {
	from := newFixture()
	multi := from.list("l", from.runs("l", "linux", "amd64").with("platform", d{"os": "linux", "architecture": "amd64"}),
		from.runs("l", "linux", "arm64").with("platform", d{"os": "linux", "architecture": "arm64"}),
		from.runs("l", "linux", "s390x").with("platform", d{"os": "linux", "architecture": "s390x"}))
	from.layout("l", multi.tag("v1"))
	f := newFixture()
	for _, c := range []struct{ add, want string }{
		{"amd64", "linux/amd64"}, {"arm64", "linux/amd64,linux/arm64"}, {"s390x", ""}, {"s390x", ""}, {"amd64", ""},
	} {
		s := sink{}
		opt := catalog.Addition{Name: "acme/app:v1", Platforms: []string{"linux/" + c.add}}
		edit, err := Format{}.Bring(t.Context(), from.input("l"), s, opt)
		if err != nil {
			t.Fatal(err)
		}
		change, err := edit(t.Context(), f.source())
		if err != nil {
			t.Fatal(err)
		}
		for name, to := range change.Places {
			f.write(to, string(s[name]))
		}
		f.apply(change.Documents)
		x, err := parseIndex(f.files[repo+"/index.json"].Data)
		if err != nil || len(x.entries) != 1 {
			t.Fatal(len(x.entries), err)
		}
		if got := x.entries[0].Annotations.of(platformsNote); got != c.want {
			t.Errorf("after %s: %q were picked, want %q", c.add, got, c.want)
		}
		found, err := Format{}.Resolve(t.Context(), f.source(), "acme/app:v1")
		if err != nil || strings.Join(found.Platforms, ",") != c.want {
			t.Errorf("after %s: resolves to %+v, want %q: %v", c.add, found, c.want, err)
		}
	}
	_, findings := f.read(t)
	equal(t, "findings", findings, nil)
}

// A partial index is an error, unless the entry says that the others were not picked.
func TestPicked(t *testing.T) {
	f := newFixture()
	arm, amd := f.image(repo, "arm"), f.image(repo, "amd")
	on := func(x d, arch string) d { return x.with("platform", d{"os": "linux", "architecture": arch}) }
	about := f.image(repo, "about").with("platform", d{"os": "unknown", "architecture": "unknown"}, "annotations",
		d{attestation: amd.digest()})
	multi := f.list(repo, on(arm, "arm64"), on(amd, "amd64"), about)
	f.layout(repo, multi.with("annotations", d{refName: "v1", platformsNote: "linux/arm64"}))
	whole := newFixture()
	for p, file := range f.files {
		whole.write(p, string(file.Data))
	}
	drop := func(x d) { delete(f.files, repo+"/blobs/sha256/"+x.digest()[7:]) }
	drop(amd)
	drop(about)
	lines := func() (out []string) {
		_, findings := f.read(t)
		for _, line := range findings {
			out = append(out, strings.Join(strings.Fields(line)[:2], " "))
		}
		return out
	}
	equal(t, "picked", lines(), []string{"warning partial-index", "warning partial-index"})
	f.layout(repo, multi.with("annotations", d{refName: "v1", platformsNote: "linux/arm64"}), multi.tag("v2"))
	equal(t, "another tag wants all", lines(), []string{"error partial-index", "error partial-index"})
	f.layout(repo, multi.with("annotations", d{refName: "v1", platformsNote: "linux/arm64,linux/amd64"}))
	equal(t, "the picked one is gone", lines(), []string{"error partial-index", "warning partial-index"})

	g := newFixture()
	opt := catalog.Addition{Name: "acme/app:v1", Platforms: []string{"linux/amd64"}}
	if _, err := g.addAs(t, opt, whole.input(repo)); err != nil {
		t.Fatal(err)
	}
	cat, findings := g.read(t)
	if len(findings) != 1 || len(cat.Items) != 7 || g.files[repo+"/blobs/sha256/"+about.digest()[7:]] == nil {
		t.Errorf("%d items, want an index, and an image with what is about it: %q", len(cat.Items), findings)
	}
	opt.Platforms = []string{"linux/arm64/v8", "linux/amd64"}
	if _, err := newFixture().addAs(t, opt, whole.input(repo)); err == nil || !strings.Contains(err.Error(), "arm64/v8") {
		t.Errorf("a platform that is not there: %v", err)
	}
}

// Several inputs with images of one repository come together, and share what they
// have in common.
func TestGatherSeveral(t *testing.T) {
	one, two := newFixture(), newFixture()
	shared := one.image("l", "shared")
	two.image("l", "shared")
	one.layout("l", shared.tag("v1"), one.image("l", "a").tag("a"))
	two.layout("l", shared.tag("v2"), two.image("l", "b").tag("b"))
	f := newFixture()
	change, err := f.addAs(t, catalog.Addition{Repository: "acme/app"}, one.input("l"), archive(two.tar(t, "l")))
	if err != nil {
		t.Fatal(err)
	}
	if len(change.Documents) != 2 || len(change.Images) != 4 {
		t.Errorf("%+v", change)
	}
	cat, findings := f.read(t)
	equal(t, "findings", findings, nil)
	equal(t, "images", names(cat), []string{repo + "/a", repo + "/b", repo + "/v1", repo + "/v2"})

	// Two names for the image of two inputs.
	one.layout("l", shared.tag("v1"))
	two.layout("l", shared)
	if _, err := newFixture().addAs(t, catalog.Addition{Name: "x"}, one.input("l"), archive(two.tar(t, "l"))); err != nil {
		t.Error(err)
	}
}
