package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// JSON on a terminal cannot control it, nor turn text around, and means what it did.
func TestJSONIsHarmless(t *testing.T) {
	for _, name := range []string{"plain", "<ä> 日本 \U0001f600", "a\u009b31mb", "\x7f", "\u0080\u009f\u00a0",
		"\u202a\u202e\u2066\u2069\u200f\u061c", "\x1b[31m\u2028", "bad \xff\xc2"} {
		var out, plain bytes.Buffer
		must(t, writeJSON(&out, map[string]string{name: name}))
		enc := json.NewEncoder(&plain)
		enc.SetEscapeHTML(false)
		must(t, enc.Encode(map[string]string{name: name}))
		var got, want map[string]string
		must(t, json.Unmarshal(out.Bytes(), &got))
		must(t, json.Unmarshal(plain.Bytes(), &want))
		for k, v := range want {
			if len(got) != 1 || got[k] != v {
				t.Errorf("%q: %q, want %q", name, got, want)
			}
		}
		line := strings.TrimSuffix(out.String(), "\n")
		if strings.ContainsAny(line, "\u009b\x7f\u0080\u009f\u202a\u202e\u2066\u2069\u200f\u061c\x1b\n") {
			t.Errorf("%q: %q", name, line)
		}
		if name == "<ä> 日本 \U0001f600" && out.String() != plain.String() {
			t.Errorf("%s, want %s", line, plain.String())
		}
	}
}
