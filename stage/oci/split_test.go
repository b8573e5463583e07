package oci

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// elements returns those of an array; ok is false for another value.
func elements(valid []byte) (out []json.RawMessage, ok bool) {
	ok = eachElement(valid, func(value []byte) bool {
		out = append(out, value)
		return true
	})
	return out, ok
}

// What is found in any valid text is what encoding/json finds.
func FuzzSplit(f *testing.F) {
	for _, text := range []string{`{}`, `[]`, ` { "a" : 1 , "b":[1, {"c":"]}"}] ,"\u0061": "\\\"" } `,
		`[1,-2.5e3 ,null,"x",[[]]]`,
		`"x"`, `1`, `{"manifests":[{"a":{"b":[]}},{"c":1}],"é":"\u00e9"}`, "\t[ ]\r\n", `{"a":true}`, `[{}]`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) {
			if usual(data) {
				t.Errorf("%q: is not valid", data)
			}
			return
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, data); err != nil {
			t.Fatal(err)
		}
		if got := appendCompact(nil, data); !bytes.Equal(got, compact.Bytes()) {
			t.Errorf("compact: %q, want %q", got, compact.Bytes())
		}
		same := func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }
		var object map[string]json.RawMessage
		if err := json.Unmarshal(data, &object); err != nil {
			object = nil
		}
		if got := members(data); len(object) <= maxMembers &&
			((got == nil) != (object == nil) || !maps.EqualFunc(got, object, same)) {
			t.Errorf("members: %q, want %q", got, object)
		}
		var array []json.RawMessage
		if err := json.Unmarshal(data, &array); err != nil {
			array = nil
		}
		if got, ok := elements(data); ok != (array != nil) || !slices.EqualFunc(got, array, same) {
			t.Errorf("elements: %q, want %q", got, array)
		}
	})
}

// What is usual is valid; what is valid need not be usual.
func TestUsual(t *testing.T) {
	for _, text := range []string{`{}`, ` [ ] `, `{"a":{"b":[{},[],[{"c":"d"}]],"e":0}, "f" : [10,true,false,null]}`,
		`0`, `"x"`} {
		if !usual([]byte(text)) {
			t.Errorf("%s is not usual", text)
		}
	}
	for _, text := range []string{``, ` `, `{`, `}`, `[`, `]`, `{]`, `[}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `[1,]`,
		`[,1]`, `[1 2]`, `01`, `1a`, `tru`, `truex`, `nul`, `"a`, `{"a":1}}`, `[1]]`, `{} {}`, `{"a" 1}`, `{1:2}`, `[1`,
		`{"a":1`, `{"a":[1}`, `[{"a":1]`,
		"\"\x01\"", `-`, `"\u00"`, strings.Repeat("[", 100)} {
		if json.Valid([]byte(text)) || usual([]byte(text)) {
			t.Errorf("%s is usual", text)
		}
	}
	for _, text := range []string{`-1`, `1.5`, `1e3`, `"\n"`, `"é"`, strings.Repeat("[", 65) + strings.Repeat("]", 65)} {
		if !json.Valid([]byte(text)) || usual([]byte(text)) {
			t.Errorf("%s: json.Valid is to decide", text)
		}
	}
}

func BenchmarkParseIndex(b *testing.B) {
	entry := `{"mediaType":"` + ociManifest + `","digest":"sha256:` + strings.Repeat("a", 64) +
		`","size":1234,"annotations":{"` + refName + `":"v1.2.3","io.containerd.image.name":"docker.io/acme/app:v1.2.3"}}`
	data := []byte(`{"schemaVersion":2,"manifests":[` + strings.Repeat(entry+",", 19_999) + entry + `]}`)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := parseIndex(data); err != nil {
			b.Fatal(err)
		}
	}
}

// A descriptor is what encoding/json reads.
func FuzzDescriptor(f *testing.F) {
	for _, text := range []string{
		`{"mediaType":"a","digest":"b","size":1,"annotations":{"a":"b","c":""},"artifactType":"t"}`,
		`{"Size":1,"size":2.0,"urls":["x"],"platform":{"os":"l"}}`, `{"annotations":{},"annotations":{"a":"b"},"x":[]}`,
		`{"annotations":null,"size":null,"digest":null}`, `{"size":-0,"digest":5}`, `null`, `[]`, `{"\u0073ize":1}`,
		`{"annotations":{"a":1}}`, `{"ſize":1}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) {
			return
		}
		var want descriptor
		err := json.Unmarshal(data, &want)
		got, err2 := descriptorOf(data)
		if diff := cmp.Diff(want, got, cmp.Transformer("notes", notes.table)); diff != "" || (err == nil) != (err2 == nil) {
			t.Errorf("%q: %v, %v, %s", data, err, err2, diff)
		}
	})
}
