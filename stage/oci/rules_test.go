package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/image-spec/schema"
	"github.com/santhosh-tekuri/jsonschema/v5"
)

var (
	testDescriptor = `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":1234,"digest":"sha256:` +
		strings.Repeat("0a", 32) + `","urls":["https://example.com/l"],"data":"e30=","artifactType":"a/b",` +
		`"annotations":{"a":"b"},"platform":{"os":"linux","architecture":"amd64","os.version":"1","os.features":["x"],` +
		`"variant":"v8"},"x":null}`
	testManifest = `{"schemaVersion":2,"mediaType":"` + ociManifest + `","artifactType":"a/b","config":` + testDescriptor +
		`,"layers":[` + smallDescriptor + `],"subject":` + smallDescriptor + `,"annotations":{"a":"b"},"x":[{}]}`
	testIndex = `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[` + testDescriptor +
		`],"subject":` + smallDescriptor + `,"annotations":{"a":"b"}}`
	testConfig = `{"created":"2026-01-02T03:04:05.678Z","author":"a","architecture":"amd64","variant":"v8","os":"linux",` +
		`"os.version":"1","os.features":["x"],"config":{"User":"u","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],` +
		`"Entrypoint":["/e"],"Cmd":["c"],"Volumes":{"/v":{}},"WorkingDir":"/","Labels":{"a":"b"},"StopSignal":"TERM",` +
		`"ArgsEscaped":true,"Healthcheck":{}},"rootfs":{"type":"layers","diff_ids":["sha256:a"]},"history":[{` +
		`"created":"2026-01-02T03:04:05+01:00","author":"a","created_by":"b","comment":"c","empty_layer":false}],"x":[{}]}`
	smallDescriptor = `{"mediaType":"a/b","size":1,"digest":"sha256:` + strings.Repeat("0a", 32) + `"}`
)

// taken reports whether a document is well formed for us, and its descriptors also. odd
// is what is said of it.
func taken(data []byte, mediaType string) (ok bool, odd string) {
	if mediaType == ociConfig {
		odd = oddConfig(data)
		return odd == "" || strings.Contains(odd, "clients take that for nothing"), odd
	}
	m, code, fact := parseManifest(data, mediaType)
	if code != "" {
		return false, fact
	}
	list := append(m.Layers, m.Manifests...)
	for _, d := range []*descriptor{m.Config, m.Subject} {
		if d != nil {
			list = append(list, *d)
		}
	}
	for _, d := range list {
		if _, code, fact := d.check(); code != "" {
			return false, fact
		}
	}
	return true, m.Odd
}

// beyond are the parts of what is said of documents that the schemas allow.
var beyond = []string{"clients read it as", "has two members", "in one", "only 2 is", "64 bits", "says that it is",
	"the digest", "the descriptor of", "more objects", "clients take that for nothing", "os.features[", "data: is a list",
	"is not a time"}

// compare fails if we take what the schema refuses, or refuse what it takes and not
// because of what goes beyond it.
func compare(t *testing.T, data []byte, mediaType string) {
	t.Helper()
	ok, odd := taken(data, mediaType)
	err := schema.Validator(mediaType).Validate(bytes.NewReader(data))
	switch invalid := new(jsonschema.ValidationError); {
	case ok && odd == "" && errors.As(err, &invalid) && onlyLayers(invalid):
	case ok && odd == "" && err != nil:
		t.Errorf("%s is taken: %v", data, err)
	case !ok && err == nil:
		for _, s := range beyond {
			if strings.Contains(odd, s) {
				return
			}
		}
		// An index has no schema for these, and clients read them as they do elsewhere.
		if mediaType != ociIndex || !strings.Contains(odd, "artifactType") {
			t.Errorf("%s is refused: %s", data, odd)
		}
	}
}

// onlyLayers reports whether an empty list of layers is all that is wrong.
func onlyLayers(e *jsonschema.ValidationError) bool {
	if len(e.Causes) == 0 {
		return strings.HasSuffix(e.KeywordLocation, "/layers/minItems")
	}
	for _, c := range e.Causes {
		if !onlyLayers(c) {
			return false
		}
	}
	return true
}

// Each value of a document is replaced by others, or goes.
func TestRules(t *testing.T) {
	for mediaType, text := range map[string]string{ociManifest: testManifest, ociIndex: testIndex, ociConfig: testConfig} {
		t.Run(mediaType, func(t *testing.T) {
			t.Parallel()
			var whole any
			if err := json.Unmarshal([]byte(text), &whole); err != nil {
				t.Fatal(err)
			}
			compare(t, []byte(text), mediaType)
			if ok, odd := taken([]byte(text), mediaType); !ok || odd != "" {
				t.Errorf("%s", odd)
			}
			mutate(whole, func() {
				data, err := json.Marshal(whole)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, data, mediaType)
			})
		})
	}
}

// mutate calls f for each change of a value.
func mutate(v any, f func()) {
	others := []any{nil, "", "x y", 1.5, true, []any{}, map[string]any{"a": 3}}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			was := v[name]
			mutate(was, f)
			for _, v[name] = range others {
				f()
			}
			delete(v, name)
			f()
			v[strings.ToUpper(name)] = was
			f()
			delete(v, strings.ToUpper(name))
			v[name] = was
		}
	case []any:
		for i, was := range v {
			mutate(was, f)
			for _, v[i] = range others {
				f()
			}
			v[i] = was
		}
	}
}

// What is said names the place.
func TestMisfit(t *testing.T) {
	change := func(old, new string) string { return strings.Replace(testManifest, old, new, 1) }
	for _, c := range [][2]string{
		{change(`"layers":[`, `"layers":[{"size":"1"},`), "layers[0].size: is a text; it must be a number"},
		{change(`"size":1234`, `"size":12.5`), "config.size: 12.5 is not a whole number of 64 bits"},
		{change(`"annotations":{"a":"b"}`, `"annotations":{"a.\u0001":5}`),
			`config.annotations["a.\x01"]: is a number; it must be a text`},
		{change(`"schemaVersion":2`, `"schemaVersion":1`), "schemaVersion: 1 is not known: only 2 is"},
		{change(`"schemaVersion":2,`, ``), "has no schemaVersion"},
		{change(`"layers"`, `"Layers"`), "has a member Layers: clients read it as layers"},
		{change(`"x":[{}]`, `"config":{}`), "has two members config"},
		{change(`"https://`, `"//`), "config.urls[0]: //example.com/l is not a URL"},
		{change(`"annotations":{"a":"b"},`, `"annotations":null,`),
			"config.annotations: is null; clients take that for nothing"},
		{`[]`, "is a list; it must be an object"},
		{`{"schemaVersion":2,"annotations":null,"config":1}`, "config: is a number; it must be an object"}, // the graver one
	} {
		if got := fmt.Sprint(manifestRule.misfit([]byte(c[0]))); got != c[1] {
			t.Errorf("%q, want %q", got, c[1])
		}
	}
}

func FuzzRules(f *testing.F) {
	kinds := []string{ociManifest, ociIndex, ociConfig}
	for _, text := range []string{testManifest, testIndex, testConfig, `{"schemaVersion":2,"manifests":[]}`,
		`{"schemaVersion":2,"layers":[],"config":{"digest":"sha512:a","size":1e3,"mediaType":"a/b"},"config":{}}`,
		`{"schemaVersion":2,"manifests":[{"platform":{"os":1}}],"\u006danifests":[]}`, `{"schemaVersion":2.0}`,
		`{"os":"","architecture":"","rootfs":{"type":"layers","diff_ids":[]},"created":"2026-01-01T00:00:00,5Z"}`} {
		for kind := range kinds {
			f.Add([]byte(text), byte(kind))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, kind byte) {
		mediaType := kinds[int(kind)%len(kinds)]
		if !json.Valid(data) {
			return
		}
		compare(t, data, mediaType)
		if _, err := parseEntries(data); err != nil && !indexRule.misfit(data).grave() && !dense(data) {
			t.Errorf("%s: %v, and the rule finds nothing", data, err)
		}
	})
}

func BenchmarkParseManifest(b *testing.B) {
	layer := `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":1234,"digest":"sha256:` +
		strings.Repeat("0a", 32) + `"}`
	data := []byte(`{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":` + layer + `,"layers":[` +
		strings.Repeat(layer+",", 4) + layer + `]}`)
	for b.Loop() {
		if _, code, fact := parseManifest(data, ociManifest); code != "" {
			b.Fatal(fact)
		}
	}
}

func BenchmarkRule(b *testing.B) {
	data := []byte(testManifest)
	for b.Loop() {
		if bad := manifestRule.misfit(data); bad != nil {
			b.Fatal(bad)
		}
	}
}
