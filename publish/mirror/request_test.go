package mirror

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRequest(t *testing.T) {
	many := func(n int) string { return "references: [" + strings.Repeat("a, ", n) + "]" }
	for text, want := range map[string]string{
		"reference: alpine": "",
		`{"references": ["a", "b"], "platforms": ["linux/amd64"], "requester": "bob", "note": "for CI", "versions": 2,
			"filters": ["arch=amd64"]}`: "",
		"reference: a\nreferences: [b]":   "",
		many(100):                         "",
		many(101):                         "asks for 101 images; 100 are allowed",
		"":                                "is empty",
		"# nothing":                       "is empty",
		"a":                               "line 1: does not hold keys and values",
		"[a]":                             "line 1: does not hold keys and values",
		"note: x":                         "asks for nothing: it has neither reference nor references",
		"reference: a\nrefrence: b":       `line 2: unknown key "refrence"`,
		"reference: [a]":                  "line 1: a list, where text is expected",
		"reference: a\n---\nreference: b": "line 3: a second document begins; one is enough",
		"reference: !!binary YQ==":        "line 1: !!binary: a tag has no meaning here; leave it out",
		"reference: &a x\nnote: *a":       "line 1: a reference (& or *) has no meaning here; write the value",
		"reference: \"a\\x1b[2J\"":        `has a control character in "a?[2J"`,
		"reference: a\nversions: -1":      "versions: -1 is negative",
		"reference: a\npriority: 9":       `line 2: unknown key "priority"`,
		"a: " + strings.Repeat("[", 200):  "line 1: did not find expected node content",
		"a: " + strings.Repeat("[", 50) + strings.Repeat("]", 50): "line 1: is nested too deep",
	} {
		a, err := parseRequest([]byte(text))
		got := ""
		if err != nil {
			got = err.Error()
		} else if len(a.References) == 0 {
			t.Errorf("%.40q asks for nothing", text)
		}
		if got != want && !strings.HasPrefix(text, "a: "+strings.Repeat("[", 200)) {
			t.Errorf("%.40q: %q, not %q", text, got, want)
		}
	}
	a, err := parseRequest([]byte("reference: a\nreferences: [b]"))
	must(t, err)
	if diff := cmp.Diff([]string{"a", "b"}, a.References); diff != "" {
		t.Error(diff)
	}
}

// Whatever a stranger writes is read within bounds, or refused with one short line.
func FuzzRequest(f *testing.F) {
	f.Add("reference: alpine\nplatforms: [linux/amd64]\nrequester: bob\nnote: \"a\\u009b\"\n")
	f.Add(`{"references": ["a", "b@sha256:x"], "versions": 3, "filters": ["a=b"]}`)
	f.Add("a: &a [x, x]\nb: [*a, *a]\nreferences: *a")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > MaxRequest {
			return
		}
		a, err := parseRequest([]byte(text))
		if err != nil {
			if s := err.Error(); s == "" || len(s) > maxText+64 || strings.ContainsAny(s, "\n\x1b\u009b") {
				t.Errorf("the error is %q", s)
			}
			return
		}
		if n := len(a.References); n == 0 || n > maxReferences {
			t.Errorf("%d references", n)
		}
		// The answer fits, whatever it says.
		answer := Answer{Request: "name", Requester: a.Requester, Note: a.Note, References: []Answered{}}
		for _, r := range a.References {
			answer.References = append(answer.References, Answered{Reference: r, Canonical: r, State: Denied, Reason: r})
		}
		answer.sum()
		data, err := answer.encode()
		if err != nil || len(data) > maxAnswer || !json.Valid(data) {
			t.Errorf("%d bytes, %v", len(data), err)
		}
	})
}

func TestAnswerSum(t *testing.T) {
	for _, c := range []struct {
		states string
		want   State
		reason bool
	}{
		{"waiting", Waiting, false}, {"staged", Staged, false}, {"denied", Denied, false},
		{"denied denied", Denied, true}, {"denied pending", Pending, true}, {"running staged", Pending, false},
		{"staged published", Staged, false}, {"published published", Published, false}, {"published failed", Failed, true},
		{"staged denied", Failed, true}, {"cancelled published", Failed, true},
	} {
		a := Answer{}
		for i, s := range strings.Fields(c.states) {
			a.References = append(a.References, Answered{ID: fmt.Sprint(i), State: State(s)})
		}
		a.sum()
		if a.State != c.want || (a.Reason != "") != c.reason || (a.ID != "") != (len(a.References) == 1) {
			t.Errorf("%s: %s %q %q", c.states, a.State, a.Reason, a.ID)
		}
	}
}
