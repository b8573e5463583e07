package simplestreams

import (
	"encoding/json"
	"testing"
)

func TestPlainJSON(t *testing.T) {
	for _, doc := range []string{
		`{}`, `[]`, `"a"`, `0`, `17`, `null`, ` { "a" : [ 1 , "b" , { } , [ ] , true ] , "c" : false } ` + "\n",
	} {
		if !plainJSON([]byte(doc)) {
			t.Errorf("%q: is not taken", doc)
		}
	}
	for _, doc := range []string{
		``, ` `, `{`, `}`, `[`, `[}`, `{]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `[1,]`, `[1 2]`, `{"a":1 "b":2}`, `{1:2}`, `01`, `00`, `-`, `1.`, `tru`, `nul`,
		`{} {}`, `1 1`, `"a`, "\"a\n\"", `{,}`, `[,]`, `,`, `:`, `{"a"::1}`, `nulll`, `1a`, "\"\x7f", `{"a":1]`, `[1}`,
	} {
		if valid([]byte(doc)) != json.Valid([]byte(doc)) || plainJSON([]byte(doc)) {
			t.Errorf("%q: is taken", doc)
		}
	}
}

// Whatever plainJSON takes is JSON.
func FuzzPlainJSON(f *testing.F) {
	for _, doc := range []string{`{"a":[1,"b",{},[],true],"c":null}`, `[[[[]]]]`, `{"a":{"b":{"c":0}}}`, ` "x" `, `[1,]`, `{"a":01}`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if plainJSON(doc) && !json.Valid(doc) {
			t.Errorf("%q is not JSON", doc)
		}
	})
}
