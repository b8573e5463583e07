package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"example.com/publish/stage/durable"
)

// Lines of every kind that earlier versions wrote are encoded again byte for byte,
// and are not taken for lines of a newer version.
func TestOldLines(t *testing.T) {
	data, err := os.ReadFile("testdata/lines")
	if err != nil {
		t.Fatal(err)
	}
	h := Parse(data)
	if len(h.Bad) > 0 || h.Torn || h.Newer > 0 {
		t.Fatalf("%+v", h.Sealed)
	}
	seen := map[Kind]bool{}
	i := 0
	for line := range bytes.Lines(data) {
		e := h.Events[i]
		i++
		seen[e.Kind] = true
		text, err := json.Marshal(e)
		if got := durable.Line(text); err != nil || !bytes.Equal(got, line) {
			t.Errorf("line %d was\n%sand is\n%s%v", i, line, got, err)
		}
		r := e.Record()
		if text, err := json.Marshal(r); err != nil || !bytes.Equal(durable.Line(text), line) {
			t.Errorf("line %d as a record is\n%s%v", i, text, err)
		}
	}
	for _, k := range kinds {
		if !seen[k] {
			t.Errorf("no line is of kind %s", k)
		}
	}
}

// A line of a kind that only a later version knows keeps all its known fields.
func TestLineOfALaterVersion(t *testing.T) {
	const text = `{"time":"2030-01-02T03:04:05Z","kind":"repaint","generation":3,"from":2,"origin":1,"who":"x","message":"m",` +
		`"added":["a/1"],"removed":[],"changed":[],"grace_seconds":7,"health":"","revoked":[{"path":"p","sha256":"","bytes":0,"product":"","version":"","fingerprint":""}]}`
	h := Parse(durable.Line([]byte(text)))
	if h.Newer != 1 || len(h.Events) != 1 {
		t.Fatalf("%+v", h.Sealed)
	}
	e := h.Events[0]
	if got, err := json.Marshal(e); err != nil || string(got) != text {
		t.Errorf("it was\n%s\nand is\n%s\n%v", text, got, err)
	}
	if revoked, _ := e.Revocation(); len(revoked) != 1 || len(e.Names()) != 2 || e.Switch() != nil {
		t.Errorf("%+v", e)
	}
}

// A list of names is read as JSON says, whatever is in it.
func TestTexts(t *testing.T) {
	name := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", ",", `"`, `\`, "a,b", `","`, " ", "a:b/c", "\xff"}))
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(name, 0, 4).Draw(t, "names")
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "raw") { // bytes that a writer leaves as they are
			data = []byte(`["` + strings.Join(want, rapid.SampledFrom([]string{`","`, `", "`}).Draw(t, "between")) + `"]`)
		}
		var plain []string
		var quick struct{ List texts }
		err = json.Unmarshal(data, &plain)
		if err2 := json.Unmarshal([]byte(`{"List":`+string(data)+`}`), &quick); (err == nil) != (err2 == nil) {
			t.Fatalf("%q: %v, want %v", data, err2, err)
		}
		if err == nil && !slices.Equal(plain, quick.List) {
			t.Errorf("%q: %q, want %q", data, quick.List, plain)
		}
	})
}

// The line of a first promote of 10,000 versions.
func BenchmarkEventOf(b *testing.B) {
	var r Record
	r.Kind = KindPromote
	for i := range 10_000 {
		r.Added = append(r.Added, fmt.Sprintf("os%05d:1:default:amd64/2026010100%02d", i, i%60))
	}
	text, err := json.Marshal(r)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, ok := eventOf(text); !ok {
			b.Fatal("is not read")
		}
	}
}
