package oci

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
)

// fill sets every field below v to a value of its own, so that a field which facts do
// not have is found.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, n)
			fill(value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(strings.Repeat("x", *n%70) + string(rune('a'+*n%26)))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) << 20)
	default:
		panic(v.Kind())
	}
}

// A fact has all that a manifest has, whatever fields come.
func TestFacts(t *testing.T) {
	full := &manifest{}
	n := 0
	fill(reflect.ValueOf(full).Elem(), &n)
	size := int64(-1)
	digest := "sha256:" + strings.Repeat("0f", 32)
	for name, m := range map[string]*manifest{
		"full":  full,
		"empty": {},
		"index": {MediaType: ociIndex, Manifests: []descriptor{{MediaType: ociManifest, Digest: digest}}},
		"odd": {Config: &descriptor{MediaType: "x/y", Digest: "SHA256:0", Size: &size}, Layers: []descriptor{},
			Subject: &descriptor{Platform: &platform{}}},
	} {
		for _, mediaType := range []string{ociManifest, "application/x-unknown", ""} {
			fact := writeFact(m, mediaType)
			got, kind, err := readFact(fact)
			if err != nil || kind != mediaType {
				t.Fatalf("%s: %s, %v", name, kind, err)
			}
			if diff := cmp.Diff(m, got, cmp.AllowUnexported(manifest{}, descriptor{})); diff != "" {
				t.Errorf("%s:\n%s", name, diff)
			}
			for i := range fact { // no part of one is a fact
				if _, _, err := readFact(fact[:i]); err == nil {
					t.Fatalf("%s: %d of %d bytes are a fact", name, i, len(fact))
				}
			}
			if _, _, err := readFact(append(slices.Clone(fact), 0)); err == nil {
				t.Errorf("%s: a fact with more behind it", name)
			}
		}
	}
}

func FuzzReadFact(f *testing.F) {
	size := int64(5)
	f.Add(writeFact(&manifest{Config: &descriptor{MediaType: ociManifest, Size: &size,
		Annotations: notes{{"a", "b"}}, URLs: []string{"u"}}}, ociManifest))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, kind, err := readFact(data)
		if err != nil {
			return
		}
		again, kind2, err := readFact(writeFact(m, kind))
		if err != nil || kind != kind2 || !cmp.Equal(m, again, cmp.AllowUnexported(manifest{}, descriptor{})) {
			t.Errorf("%v, %v", again, err)
		}
	})
}

// remembering is a source that counts what is read.
type remembering struct {
	catalog.Source
	mu    sync.Mutex
	facts map[catalog.Digest][]byte
	reads int
}

func (r *remembering) Recall(d catalog.Digest) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fact, ok := r.facts[d]
	return fact, ok
}

func (r *remembering) Remember(d catalog.Digest, fact []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts[d] = bytes.Clone(fact)
}

func (r *remembering) Blob(p string, d catalog.Digest, limit int64) ([]byte, error) {
	if limit > 0 {
		r.mu.Lock()
		r.reads++
		r.mu.Unlock()
	}
	return r.Source.Blob(p, d, limit)
}

// What is remembered is not read again, and says the same. A fact that is none, or of
// another media type, is not believed.
func TestRemembered(t *testing.T) {
	f := newFixture()
	amd := f.image(repo, "amd")
	config := f.blob(repo, ociConfig, `{"os":"linux","architecture":"amd64"`+oneLayer)
	untyped := f.json(repo, ociManifest, d{"schemaVersion": 2, "config": config, "layers": []d{config}})
	f.layout(repo, f.list(repo, amd, f.image(repo, "arm")).tag("v1"), f.image(repo, "s", "subject", amd),
		untyped.tag("v2"))
	src := &remembering{Source: f.source(), facts: map[catalog.Digest][]byte{}}
	read := func() *catalog.Catalog {
		src.reads = 0
		cat, err := Format{}.Read(t.Context(), src)
		if err != nil {
			t.Fatal(err)
		}
		return cat
	}
	first := read()
	if src.reads != 9 || len(src.facts) != 5 {
		t.Fatalf("%d reads, %d facts", src.reads, len(src.facts))
	}
	if diff := cmp.Diff(first, read()); diff != "" || src.reads != 0 {
		t.Errorf("%d reads\n%s", src.reads, diff)
	}
	for d := range src.facts {
		src.facts[d] = []byte("odd")
	}
	if diff := cmp.Diff(first, read()); diff != "" || src.reads != 9 {
		t.Errorf("%d reads\n%s", src.reads, diff)
	}
	// Docker's type, where the manifest does not say that it is Docker's.
	f.layout(repo, untyped.with("mediaType", dockerManifest).tag("v2"))
	if cat := read(); len(cat.Findings) != 1 || cat.Findings[0].Code != "schema" {
		t.Errorf("%+v", cat.Findings)
	}
	// What has warnings has them again.
	f.layout(repo, f.image(repo, "x", "annotations", nil, "config", f.blob(repo, ociConfig, "{}")).tag("v3"))
	for _, reads := range []int{2, 0} {
		cat := read()
		if len(cat.Findings) != 2 || cat.Findings[0].Severity != catalog.Warning || src.reads != reads {
			t.Errorf("%d reads, %+v", src.reads, cat.Findings)
		}
	}
	// A config that is not there has not been checked.
	late := d{"mediaType": ociConfig, "digest": "sha256:" + strings.Repeat("ab", 32), "size": 2}
	f.layout(repo, f.image(repo, "y", "config", late).tag("v4"))
	read()
	if read(); src.reads != 2 {
		t.Errorf("%d reads of a manifest whose config is missing", src.reads)
	}
}
