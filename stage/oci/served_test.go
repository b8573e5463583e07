package oci

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

// naming finds what a document names.
func naming(t *testing.T, data []byte, digest string) catalog.Naming {
	t.Helper()
	all := Format{}.Names(repo+"/index.json", data)
	i := slices.IndexFunc(all, func(n catalog.Naming) bool { return n.Digest.String() == digest })
	if i < 0 {
		t.Fatalf("%s is not named by %s", digest, data)
	}
	return all[i]
}

// What is served names the children and what is held, in the end; what is read of
// it is the tree's own again, byte for byte.
func TestServed(t *testing.T) {
	f := newFixture()
	arm, amd := f.image(repo, "arm"), f.image(repo, "amd")
	multi := f.list(repo, arm, amd)
	f.layout(repo, multi.tag("v1"), arm.tag("arm"))
	doc := repo + "/index.json"
	own := Format{}.Own(f.files[doc].Data)
	if again := (Format{}).Own(own); string(again) != string(own) {
		t.Errorf("the own form of the own form is %s, not %s", again, own)
	}
	cat, _ := f.read(t)
	if l := cat.Listed[doc]; len(l) != 1 || l[0].Digest.String() != amd.digest() {
		t.Fatalf("listed are %v, want only %s: the other has an entry", l, amd.digest())
	}

	old := f.image(repo, "old")
	held := naming(t, []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"`+ociManifest+`","size":5,"digest":"`+
		old.digest()+`"}]}`), old.digest())
	held.Kind, held.Until = catalog.NamedHeld, time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	listed := Format{}.List(f.files[doc].Data, cat.Listed[doc])
	served := Format{}.Hold(listed, []catalog.Naming{held})
	text := string(served)
	if at := strings.Index(text, old.digest()); at < strings.Index(text, amd.digest()) ||
		!strings.Contains(text[at:], `"com.example.publish.held-until":"2030-01-02T03:04:05Z"`) {
		t.Errorf("what is held does not stand last, or without its end: %s", text)
	}
	if strings.Count(text, arm.digest()) != 1 {
		t.Errorf("an entry stands there twice: %s", text)
	}
	if got := naming(t, served, old.digest()); got != held {
		t.Errorf("it reads as %v, and was written as %v", got, held)
	}
	if got := naming(t, served, amd.digest()); got != cat.Listed[doc][0] {
		t.Errorf("it reads as %v, and was written as %v", got, cat.Listed[doc][0])
	}
	if got := naming(t, served, multi.digest()).Kind; got != catalog.NamedItself {
		t.Errorf("an own entry is of kind %v", got)
	}
	f.write(doc, text)
	cat, findings := f.read(t)
	equal(t, "findings", findings, nil)
	equal(t, "images", names(cat), []string{repo + "/arm", repo + "/v1"})
	if again := (Format{}).Own(served); string(again) != string(own) {
		t.Errorf("%s, want %s", again, own)
	}
	if shorter := (Format{}).Hold(served, nil); string(shorter) != string(listed) {
		t.Errorf("what is held does not go alone: %s", shorter)
	}
	if again := (Format{}).List(served, cat.Listed[doc]); string(again) != string(listed) {
		t.Errorf("what is held does not go with a new list: %s", again)
	}
	if bare := (Format{}).Bare(served); len(Format{}.Names(doc, bare)) != 0 ||
		!strings.Contains(string(bare), "x-unknown") || string(Format{}.Own(bare)) != string(bare) {
		t.Errorf("bare, it is %s", bare)
	}
}

// Two windows of one digest: the later end counts. An own entry is not held, and a
// child is not held either.
func TestServedHeldTwice(t *testing.T) {
	f := newFixture()
	one, two := f.image(repo, "one"), f.image(repo, "two")
	f.layout(repo, one.tag("v1"), f.list(repo, two).tag("v2"))
	cat, _ := f.read(t)
	doc := repo + "/index.json"
	lost := catalog.Naming{Digest: catalog.Digest{Algorithm: "sha256", Hex: strings.Repeat("0", 64)},
		MediaType: ociManifest, Size: 1, Kind: catalog.NamedHeld, Until: time.Unix(100, 0)}
	later, own, child := lost, lost, lost
	later.Until, own.Digest = time.Unix(200, 0), naming(t, f.files[doc].Data, one.digest()).Digest
	child.Digest = cat.Listed[doc][0].Digest
	served := Format{}.Hold(Format{}.List(f.files[doc].Data, cat.Listed[doc]),
		[]catalog.Naming{lost, later, own, child})
	if s := string(served); strings.Count(s, "held-until") != 1 || !strings.Contains(s, "1970-01-01T00:03:20Z") {
		t.Errorf("%s", s)
	}
}

// What a document lost is what it named and the next one does not, whatever names it there.
func TestServedLost(t *testing.T) {
	entry := func(algorithm string, digit, size int, notes string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":"%s:%s","size":%d,"annotations":{%s}}`, ociManifest, algorithm,
			strings.Repeat(strconv.Itoa(digit), map[string]int{"sha256": 64, "sha512": 128, "md5": 32}[algorithm]), size,
			notes)
	}
	held, late, child := `"`+heldMark+`":"2030-01-02T03:04:05Z"`, `"`+heldMark+`":"late"`, `"`+childMark+`":"true"`
	var documents []string
	for _, list := range [][]string{
		nil,
		{entry("sha256", 1, 1, ""), entry("sha256", 2, 2, ""), entry("sha512", 1, 1, ""), entry("sha512", 2, 1, child)},
		{entry("sha256", 1, 1, held), entry("sha256", 3, 3, child), entry("sha512", 1, 1, late)},
		{entry("sha256", 1, 1, late), entry("sha256", 2, -1, ""), entry("sha256", 2, 3, held), entry("md5", 1, 1, "")},
		{entry("sha256", 1, 1, held), entry("sha256", 1, 2, child), entry("sha256", 1, 3, ""), entry("sha256", 0, 1, "")},
	} {
		documents = append(documents, `{"schemaVersion":2,"manifests":[`+strings.Join(list, ",")+`]}`)
	}
	f, path := Format{}, "a/index.json"
	for _, was := range append(documents, "", "[]") {
		for _, is := range append(documents, "", "[]") {
			still := f.Names(path, []byte(is))
			want := slices.DeleteFunc(f.Names(path, []byte(was)), func(n catalog.Naming) bool {
				return slices.ContainsFunc(still, func(s catalog.Naming) bool { return s.Digest == n.Digest })
			})
			if got := f.Lost(path, []byte(was), []byte(is)); !slices.Equal(got, want) {
				t.Errorf("from %s to %s it lost %v, not %v", was, is, got, want)
			}
		}
	}
}

// What is no index.json stays as it is, in all forms.
func TestServedOfNone(t *testing.T) {
	f := Format{}
	for _, text := range []string{"", "[]", "null", `{"schemaVersion":2}`, `{"schemaVersion":1,"manifests":[]}`, "{"} {
		for what, got := range map[string][]byte{"own": f.Own([]byte(text)), "bare": f.Bare([]byte(text)),
			"listed": f.List([]byte(text), []catalog.Naming{{MediaType: "x"}}),
			"held":   f.Hold([]byte(text), []catalog.Naming{{MediaType: "x"}})} {
			if string(got) != text {
				t.Errorf("%s: %s of it is %s", text, what, got)
			}
		}
		if n := f.Names("a/index.json", []byte(text)); n != nil {
			t.Errorf("%s names %v", text, n)
		}
	}
	if f.Serves("a/oci-layout") || f.Serves("a/.umoci-1/index.json") || !f.Serves("a/index.json") {
		t.Error("the documents with two forms are the index.json of layouts")
	}
}

// The forms of any bytes are consistent: an own form stays, and what is added to it
// is all that it does not name itself.
func FuzzServed(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"a","digest":"sha256:` + strings.Repeat("0", 64) +
		`","size":1,"annotations":{"` + heldMark + `":"2030-01-02T03:04:05Z"}},{"annotations":{"` + childMark +
		`":""}}],"b":{"x":[1,2]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		x := Format{}
		own := x.Own(data)
		if again := x.Own(own); string(again) != string(own) {
			t.Fatalf("the own form of %q is %q", own, again)
		}
		all := x.Names("a/index.json", data)
		kind := func(k catalog.NamingKind) []catalog.Naming {
			return slices.DeleteFunc(slices.Clone(all), func(n catalog.Naming) bool { return n.Kind != k })
		}
		served := x.Hold(x.List(data, kind(catalog.NamedListed)), kind(catalog.NamedHeld))
		if again := x.Own(served); string(again) != string(own) {
			t.Fatalf("the own form of %q is %q, not %q", served, again, own)
		}
		if again := x.Hold(served, kind(catalog.NamedHeld)); string(again) != string(served) {
			t.Fatalf("served again it is %q, not %q", again, served)
		}
		for _, n := range all {
			if !slices.ContainsFunc(x.Names("a/index.json", served), func(m catalog.Naming) bool {
				return m.Digest == n.Digest
			}) {
				t.Fatalf("%s is not named by %q", n.Digest, served)
			}
		}
	})
}
