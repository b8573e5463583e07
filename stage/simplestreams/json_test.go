package simplestreams

import (
	"encoding/json"
	"strings"
	"testing"
)

var someJSON = []string{
	`{}`, `[]`, `"a"`, `0`, `-0`, `17`, `1.5e-3`, `null`, `true`,
	` { "a" : [ 1 , "b" , { } , [ ] , true ] , "c" : false } ` + "\n",
	`"\u00e9\ud83d\ude00\n"`, `"\\\""`, `{"a\\":"\\"}`, "\"\xff\"", "\"\x7f\"", `"12345678\""`, `"0123456789abcdef"`,
	"\"\u00e9\"",
	strings.Repeat("[", maxNesting) + strings.Repeat("]", maxNesting),
}

var noJSON = []string{
	``, ` `, `{`, `}`, `[`, `[}`, `{]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `[1,]`, `[1 2]`, `{"a":1 "b":2}`, `{1:2}`, `01`,
	`-01`, `00`, `-`, `1.`,
	`tru`, `nul`, `{} {}`, `1 1`, `"a`, "\"a\n\"", "\"01234567\x00\"", `{,}`, `[,]`, `,`, `:`, `{"a"::1}`, `nulll`,
	`1a`, `{"a":1]`, `[1}`, `"\x"`, `"\u12"`,
	`"\`, `{"a":"}`, "\x00", "[]\x00", `1"a"`,
	strings.Repeat("[", maxNesting+1) + strings.Repeat("]", maxNesting+1),
}

func TestReader(t *testing.T) {
	for _, doc := range someJSON {
		if !accepts([]byte(doc)) {
			t.Errorf("%.80q: is not accepted", doc)
		}
	}
	for _, doc := range noJSON {
		if accepts([]byte(doc)) {
			t.Errorf("%.80q: is accepted", doc)
		}
	}
}

func accepts(doc []byte) bool {
	r := reader{b: doc}
	r.value()
	return r.ended()
}

// A reader accepts what encoding/json accepts, decodes strings alike, and where
// it only looks for a value's end it finds the same.
func FuzzReader(f *testing.F) {
	for _, doc := range append(someJSON, noJSON...) {
		if len(doc) < maxNesting {
			f.Add([]byte(doc))
		}
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		whole, skimmed := reader{b: doc}, reader{b: doc}
		value := whole.value()
		if whole.ended() != json.Valid(doc) {
			t.Fatalf("%q: accepted %v", doc, whole.ended())
		}
		skim := skimmed.skim() // of anything it comes to an end
		if whole.bad {
			return
		}
		if string(skim) != string(value) {
			t.Errorf("%q: %q, skimmed %q", doc, value, skim)
		}
		var want any
		if json.Unmarshal(value, &want) != nil {
			t.Fatalf("%q: the value %q is no JSON", doc, value)
		}
		if s, ok := want.(string); ok && (text(value) != s || newDecoder(nil, ignore).word(value) != s) {
			t.Errorf("%q: decoded as %q", doc, text(value))
		}
		if o, ok := want.(map[string]any); ok {
			names := map[string]bool{}
			for _, m := range split(value) {
				names[m.name] = true
				if _, there := o[m.name]; !there || !json.Valid(m.raw) {
					t.Errorf("%q: the member %q: %q", doc, m.name, m.raw)
				}
			}
			if len(names) != len(o) || !json.Valid(split(value).join()) {
				t.Errorf("%q: members %v", doc, names)
			}
		}
	})
}
