package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/publish/generation"
)

const sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func sample() *Pointer {
	p := &Pointer{Version: 1, Repository: "r1", Generation: 3, Seq: 5, Nonce: "nonce0005", Settled: true,
		Event: events + "000005-nonce0005", History: []byte(`{"a":[1]}`),
		Manifest: &Ref{Generation: 3, Key: generations + "000003-nonce0005", SHA256: sum, Seal: sum, Depth: 1,
			Base: generations + "000001-nonce0001"},
		Kept:      []Ref{{Generation: 2, Key: generations + "000002-nonce0004", SHA256: sum, Seal: sum}},
		Bases:     []Ref{{Generation: 1, Key: generations + "000001-nonce0001", SHA256: sum, Seal: sum}},
		Pending:   &Pending{Who: "<w>", Until: time.Unix(1e9, 5).UTC()},
		Condemned: &Due{Key: lists + "nonce0003", Nonce: "nonce0003", SHA256: sum}}
	for i := range 6 {
		p.Commits = append(p.Commits, Done{i, fmt.Sprintf("nonce%04d", i), min(i, 3)})
	}
	return p
}

// The document for clients comes back byte for byte, whatever it looks like.
func TestPointerRoundTrip(t *testing.T) {
	for _, doc := range []string{`{}`, "{ \n }\n", `{"a":1}`, "{\n  \"a\": {\"publish\": 1},\n  \"b\": [1, 2]\n}\n",
		" \t{\"a\":\"}\"}  ", `{"publisher":"publish"}`, `{"":0}`, `{"Publish":1}`} {
		p := sample()
		p.Document = []byte(doc)
		body, err := p.encode()
		if err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		got, err := decode(body, "r1")
		if err != nil {
			t.Fatalf("%s: %v in %s", doc, err, body)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("%s: %s", doc, diff)
		}
	}
}

func TestPointerRefused(t *testing.T) {
	good, err := sample().encode()
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, by string) string {
		if !strings.Contains(string(good), old) {
			t.Fatalf("%s is not in %s", old, good)
		}
		return strings.Replace(string(good), old, by, 1)
	}
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"nothing":             {"", ErrForeign},
		"no JSON":             {"<html>", ErrForeign},
		"a list":              {"[]", ErrForeign},
		"torn":                {string(good[:len(good)/2]), ErrForeign},
		"no member":           {`{"format":"index:1.0"}`, ErrForeign},
		"another's member":    {`{"publish":{"a":1}}`, ErrForeign},
		"a text as member":    {`{"publish":"yes"}`, ErrForeign},
		"twice":               {string(good[:len(good)-1]) + `,"publish":{}}`, ErrForeign},
		"twice, spelled":      {`{"publ\u0069sh":1,` + string(good[1:]), ErrForeign},
		"more behind":         {string(good) + "{}", ErrForeign},
		"another repository":  {replace(`"repository":"r1"`, `"repository":"r2"`), ErrForeign},
		"newer":               {replace(`"version":1`, `"version":2`), generation.ErrNewer},
		"a field more":        {replace(`"seq":5`, `"seq":5,"more":1`), generation.ErrNewer},
		"spelled otherwise":   {replace(`"seq":5`, `"SEQ":5`), ErrDamaged},
		"a field twice":       {replace(`"seq":5`, `"seq":4,"seq":5`), ErrDamaged},
		"written anew":        {replace(`"seq":5`, `"seq": 5`), ErrDamaged},
		"not the last":        {string(good[:len(good)-1]) + `,"z":1}`, ErrDamaged},
		"another commit":      {replace(`"nonce":"nonce0005"`, `"nonce":"nonce0006"`), ErrDamaged},
		"a key elsewhere":     {replace(generations+"000002-nonce0004", "index.html"), ErrDamaged},
		"a list elsewhere":    {replace(lists+"nonce0003", "images/a"), ErrDamaged},
		"without its base":    {replace(`"base":"`+generations+"000001", `"base":"`+generations+"000009"), ErrDamaged},
		"a digest is no one":  {replace(sum, strings.ToUpper(sum)), ErrDamaged},
		"production is older": {replace(`"generation":3,"seq"`, `"generation":2,"seq"`), ErrDamaged},
	} {
		if _, err := decode([]byte(c.body), "r1"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, doc := range []string{"[]", `{"a":1,"a":2}`, `{"publish":1}`, `{"a":1}x`, `{"a":`} {
		if _, err := (&Pointer{Document: []byte(doc)}).encode(); err == nil {
			t.Errorf("%s is accepted", doc)
		}
	}
	long := &Pointer{Document: []byte(`{"a":"` + strings.Repeat("x", maxPointer) + `"}`)}
	if _, err := long.encode(); err == nil {
		t.Error("a document without end is accepted")
	}
}

// What is read is written back as it was.
func FuzzPointer(f *testing.F) {
	good, err := sample().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"a":1,"publish":{"version":1,"repository":"r1"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decode(body, "")
		if err != nil {
			return
		}
		again, err := p.encode()
		if err != nil || !bytes.Equal(again, body) {
			t.Errorf("%q, %v", again, err)
		}
	})
}

// What a kept manifest differs from stays, and nothing else does.
func TestPointerKeep(t *testing.T) {
	ref := func(n, depth, base int) Ref {
		r := Ref{Generation: n, Key: fmt.Sprintf("%s%06d-nonce000%d", generations, n, n), SHA256: sum, Seal: sum,
			Depth: depth}
		if base > 0 {
			r.Base = fmt.Sprintf("%s%06d-nonce000%d", generations, base, base)
		}
		return r
	}
	live := ref(6, 1, 5)
	p := &Pointer{Version: 1, Generation: 6, Manifest: &live,
		Kept: []Ref{ref(1, 0, 0), ref(2, 1, 1), ref(3, 2, 2), ref(4, 3, 3), ref(5, 0, 0)}}
	gone := p.keep(func(r Ref) bool { return r.Generation == 3 })
	numbers := func(refs []Ref) (n []int) {
		for _, r := range refs {
			n = append(n, r.Generation)
		}
		return n
	}
	got := [][]int{numbers(p.Kept), numbers(p.Bases), numbers(gone)}
	if diff := cmp.Diff([][]int{{3}, {1, 2, 5}, {4}}, got); diff != "" {
		t.Error(diff)
	}
	gone = p.keep(func(Ref) bool { return false })
	got = [][]int{numbers(p.Kept), numbers(p.Bases), numbers(gone)}
	if diff := cmp.Diff([][]int{nil, {5}, {1, 2, 3}}, got); diff != "" {
		t.Error(diff)
	}
}
