package oci

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
)

// usual writes a repository without what only some tools write.
func (f *fixture) usual(repository string, entries ...d) {
	if entries == nil {
		entries = []d{}
	}
	f.listing(repository, d{"schemaVersion": 2, "manifests": entries})
}

func (f *fixture) listing(repository string, index d) {
	data, err := json.Marshal(index)
	if err != nil {
		panic(err)
	}
	f.write(path.Join(repository, indexName), string(data))
	f.write(path.Join(repository, layoutName), `{"imageLayoutVersion":"1.0.0"}`)
}

func (f *fixture) outline(t *testing.T) *catalog.Outline {
	t.Helper()
	o, err := Format{}.Outline(t.Context(), f.source())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// shapes are trees in the usual form.
func shapes() map[string]*fixture {
	out := map[string]*fixture{}
	add := func(name string, fill func(f *fixture)) {
		out[name] = newFixture()
		fill(out[name])
	}
	add("nothing", func(f *fixture) {})
	add("empty", func(f *fixture) { f.usual("acme/app") })
	add("tags", func(f *fixture) {
		one := f.image("acme/app", "one")
		f.usual("acme/app", f.image("acme/app", "two").tag("v2"), one.tag("v1"), one.tag("docker.io/acme/app:also"),
			f.image("acme/app", "none"), one.tag("v1"))
	})
	add("repositories", func(f *fixture) {
		for _, r := range []string{"a", "a/x", "a-b", "a.b", "b"} {
			f.usual(r, f.image(r, "one").tag("v1"), f.image(r, r).tag("v2"))
		}
	})
	add("indexes", func(f *fixture) {
		x, y := f.image("acme/app", "x"), f.image("acme/app", "y")
		list := f.list("acme/app", x, y)
		f.usual("acme/app", f.list("acme/app", list, y).tag("deep"), list.tag("list"), x.tag("x"), y)
	})
	add("referrers", func(f *fixture) {
		one := f.image("acme/app", "one")
		signed := f.image("acme/app", "signature", "subject", one)
		again := f.image("acme/app", "of the signature", "subject", signed)
		digits := strings.TrimPrefix(one.digest(), "sha256:")
		f.usual("acme/app", again, signed, one.tag("v1"), one.tag("v2"),
			f.image("acme/app", "old").tag("sha256-"+digits+".sig"),
			f.image("acme/app", "lost", "subject", d{"mediaType": ociManifest, "size": 3,
				"digest": "sha256:" + strings.Repeat("0", 64)}),
			f.image("acme/app", "lost too").tag("sha256-"+strings.Repeat("1", 64)))
	})
	add("annotations", func(f *fixture) {
		one := f.image("acme/app", "one")
		f.listing("acme/app", d{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []d{
			one.with("annotations", d{refName: "v1", pinnedNote: one.digest(), "a": ""}),
			one.with("annotations", d{"org.example.x": "y"})}})
	})
	add("spaces", func(f *fixture) {
		f.usual("acme/app", f.image("acme/app", "one").tag("v1"), f.image("acme/app", "two").tag("v2"))
		index := f.files["acme/app/index.json"]
		index.Data = []byte(strings.ReplaceAll(string(index.Data), `,"`, ",\n\t\"") + "\n")
	})
	add("another order", func(f *fixture) {
		f.usual("acme/app", f.image("acme/app", "one").tag("v1"), f.image("acme/app", "two").tag("v2"))
		index := f.files["acme/app/index.json"]
		list := strings.TrimSuffix(strings.TrimPrefix(string(index.Data), "{"), `,"schemaVersion":2}`)
		index.Data = []byte(`{"schemaVersion":2,` + list + "}")
	})
	return out
}

// An outline tells what Read tells.
func TestOutline(t *testing.T) {
	for name, f := range shapes() {
		t.Run(name, func(t *testing.T) {
			o := f.outline(t)
			cat, _ := f.read(t)
			if o == nil {
				t.Fatal("is not in the usual form")
			}
			var got, want []string
			drops := []func(catalog.Name) bool{func(n catalog.Name) bool { return n.Version != "" }}
			for i := range o.Images {
				x := &o.Images[i]
				var paths []string
				o.Each(i, func(blob int) {
					b := o.Blobs.At(blob)
					paths = append(paths, fmt.Sprintf("%s/%x", o.Blobs.Dirs[b.Dir], b.Sum))
				})
				slices.Sort(paths)
				digests := o.Digests(i)
				slices.Sort(digests)
				got = append(got, fmt.Sprint(x.Of(), x.Digest, x.Exempt, x.Rank, paths, digests))
				drops = append(drops, func(n catalog.Name) bool { return n == x.Of() })
			}
			for i, x := range cat.Images {
				v := cat.Versions[i]
				slices.Sort(x.Digests)
				want = append(want, fmt.Sprint(x.Of(), x.Fingerprint, v.Exempt, v.Rank, x.Paths, x.Digests))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(cat.Documents, o.Documents); diff != "" {
				t.Error(diff)
			}
			for _, form := range o.Forms() {
				data := f.files[form.Path].Data
				if path.Base(form.Path) == indexName {
					data = Format{}.Own(data)
				}
				own := catalog.Digest{Algorithm: catalog.SHA256, Hex: form.SHA256}
				if !own.Is(data) || form.Size != int64(len(data)) {
					t.Errorf("%s: another form", form.Path)
				}
			}
			for _, drop := range drops {
				want, err := Format{}.WithoutVersions(t.Context(), f.source(), drop)
				if err != nil {
					t.Fatal(err)
				}
				got := o.Without(func(i int) bool { return drop(o.Images[i].Of()) })
				for _, docs := range [][]catalog.Document{want, got} { // repositories are in another order
					slices.SortFunc(docs, func(a, b catalog.Document) int { return strings.Compare(a.Path, b.Path) })
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// What may be wrong is left to Read, which tells.
func TestOutlineUnusual(t *testing.T) {
	one := func(f *fixture) d { return f.image("acme/app", "one").tag("v1") }
	for name, fill := range map[string]func(f *fixture){
		"unknown member":  func(f *fixture) { f.layout("acme/app", one(f)) },
		"no layout":       func(f *fixture) { f.usual("acme/app", one(f)); delete(f.files, "acme/app/oci-layout") },
		"no index":        func(f *fixture) { f.usual("acme/app", one(f)); delete(f.files, "acme/app/index.json") },
		"another version": func(f *fixture) { f.usual("acme/app", one(f)); f.write("acme/app/oci-layout", `{}`) },
		"half": func(f *fixture) {
			f.usual("acme/app", one(f))
			x := f.files["acme/app/index.json"]
			x.Data = x.Data[:len(x.Data)-1]
		},
		"more": func(f *fixture) {
			f.usual("acme/app", one(f))
			f.files["acme/app/index.json"].Data[0] = '['
		},
		"bad tag":       func(f *fixture) { f.usual("acme/app", f.image("acme/app", "one").tag("-v1")) },
		"one tag twice": func(f *fixture) { f.usual("acme/app", one(f), f.image("acme/app", "two").tag("v1")) },
		"two sizes":     func(f *fixture) { f.usual("acme/app", one(f), one(f).with("size", 3)) },
		"no size": func(f *fixture) {
			x := one(f)
			delete(x, "size")
			f.usual("acme/app", x)
		},
		"another type": func(f *fixture) { f.usual("acme/app", f.blob("acme/app", "text/plain", "x").tag("v1")) },
		"pinned to another": func(f *fixture) {
			f.usual("acme/app", one(f).with("annotations", d{refName: "v1", pinnedNote: "sha256:0"}))
		},
		"held": func(f *fixture) {
			f.usual("acme/app", one(f).with("annotations", d{heldMark: "2030-01-01T00:00:00Z"}))
		},
		"platform": func(f *fixture) { f.usual("acme/app", one(f).with("platform", d{"os": "linux"})) },
		"overlap": func(f *fixture) {
			f.usual("acme/app", one(f))
			f.write("acme/app/blobs/x/index.json", "{}")
		},
		"bad name":   func(f *fixture) { f.usual("Acme", f.image("Acme", "one").tag("v1")) },
		"annotation": func(f *fixture) { f.usual("acme/app", one(f).with("annotations", d{"x": 1})) },
		"a sha512": func(f *fixture) {
			f.usual("acme/app", one(f).with("digest", "sha512:"+strings.Repeat("0", 128)))
		},
		"capitals": func(f *fixture) { f.usual("acme/app", one(f).with("Digest", "x")) },
		"bad manifest": func(f *fixture) {
			f.usual("acme/app", f.image("acme/app", "x", "layers", []d{{"size": 1}}).tag("v1"))
		},
	} {
		f := newFixture()
		fill(f)
		if f.outline(t) != nil {
			t.Errorf("%s: has an outline", name)
		}
	}
	// What an index lists may be missing: that is for Read, too.
	f := newFixture()
	f.usual("acme/app", f.list("acme/app", f.image("acme/app", "x")).tag("list"), one(f))
	if o := f.outline(t); len(o.Vital) != 1 {
		t.Errorf("%v", o.Vital)
	}
}

// Content that is there, and of which the bytes are others, is as if it was not.
func TestOutlineLost(t *testing.T) {
	f := newFixture()
	one, two := f.image("acme/app", "one"), f.image("acme/app", "two")
	f.usual("acme/app", one.tag("v1"), two.tag("v2"), f.blob("acme/app", ociManifest, "no JSON").tag("v3"))
	delete(f.files, "acme/app/blobs/sha256/"+one.digest()[7:])
	f.write("acme/app/blobs/sha256/"+two.digest()[7:], "another")
	o := f.outline(t)
	for i := range o.Images {
		n, lost := 0, 0
		o.Each(i, func(blob int) {
			if n++; o.Lost(blob) {
				lost++
			}
		})
		if n != 1 || lost != 1 {
			t.Errorf("%s: %d blobs, %d lost", o.Images[i].Version, n, lost)
		}
	}
}

// A memory that knows less than Read needs does not keep that from reading.
func TestOutlineRemembers(t *testing.T) {
	f := newFixture()
	f.usual("acme/app", f.list("acme/app", f.image("acme/app", "x")).tag("list"), f.image("acme/app", "one").tag("v1"))
	memory := &summing{&remembering{Source: f.source(), facts: map[catalog.Digest][]byte{}}}
	for i, reads := range []int{3, 0} {
		memory.reads = 0
		if o, err := (Format{}).Outline(t.Context(), memory); o == nil || err != nil || memory.reads != reads {
			t.Errorf("%d: %d reads, %v", i, memory.reads, err)
		}
	}
	want, _ := f.read(t)
	got, err := Format{}.Read(t.Context(), memory)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	memory.reads = 0
	if o, err := (Format{}).Outline(t.Context(), memory); o == nil || err != nil || memory.reads != 0 {
		t.Errorf("%d reads after Read, %v", memory.reads, err)
	}
	for digest, fact := range memory.facts { // facts that lie
		memory.facts[digest] = fact[:len(fact)-1]
	}
	if o, err := (Format{}).Outline(t.Context(), memory); o != nil || err != nil {
		t.Errorf("a fact that is cut off is believed: %v", err)
	}
}

type summing struct{ *remembering }

func (s *summing) RecallSum(sum *catalog.Sum) ([]byte, bool) {
	return s.Recall(catalog.Digest{Algorithm: catalog.SHA256, Hex: fmt.Sprintf("%x", *sum)})
}

// What is scanned is what is parsed.
func FuzzScan(f *testing.F) {
	for _, x := range shapes() {
		for p, file := range x.files {
			if path.Base(p) == indexName {
				f.Add(file.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		got, ok := scan(data)
		if !ok {
			return
		}
		want, err := parseIndex(data)
		if err != nil || indexRule.misfit(data).grave() {
			t.Fatalf("%q: %v", data, err)
		}
		if len(want.entries) != len(got.entries) {
			t.Fatalf("%q: %d entries", data, len(got.entries))
		}
		for i := range want.entries {
			x, y := &want.entries[i], &got.entries[i]
			_, code, _ := x.check()
			tag, good := x.tag()
			if code != "" || !good || tag != y.tag || x.Digest != y.digest || *x.Size != y.size ||
				x.MediaType != y.kind.mediaType() || string(x.raw) != string(data[y.from:y.to]) ||
				x.Digest != fmt.Sprintf("sha256:%x", y.sum) {
				t.Fatalf("%q: %+v", data, y)
			}
		}
		own := ""
		for _, part := range got.own() {
			own += string(part)
		}
		if all := (Format{}).Own(data); own != string(all) {
			t.Fatalf("%q: %q", own, all)
		}
	})
}
