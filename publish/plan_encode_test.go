package publish

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"example.com/publish/retention"
)

// A plan that is written in parts is what encoding/json writes.
func TestPlanIsWrittenInParts(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	min := Count(1)
	full := &Plan{PlanHash: "<h>", Repository: "r&d", Time: at, Generation: 7, StagingTreeID: "é\u2028",
		Rules: []RetentionRule{{Match: "a", MinVersions: &min}, {Match: "b"}},
		Tags:  []TagRule{{Repository: "**", Tag: "<a>", Protect: []string{}}}, InUse: []InventoryRead{{File: "f"}},
		Keep:    []retention.Decision{{Product: "p", Version: "1", Reasons: []string{"<x>", "y"}}, {Product: "q"}},
		Remove:  []retention.Decision{},
		Orphans: []Orphan{{Path: "a/b", Bytes: 1, Since: at}}, BytesNow: 1, BytesAfterGrace: 2}
	for name, p := range map[string]*Plan{"full": full, "zero": {}, "empty": {Keep: []retention.Decision{},
		Tags: []TagRule{}, Orphans: []Orphan{}}} {
		var got, want bytes.Buffer
		if err := p.encode(&got, planForm{escape: true}); err != nil {
			t.Fatal(err)
		}
		if text, err := json.Marshal(p); err != nil || got.String() != string(text) {
			t.Errorf("%s: %s, want %s, %v", name, &got, text, err)
		}
		got.Reset()
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := p.encode(&got, planForm{indent: " "}); err != nil || enc.Encode(p) != nil ||
			got.String()+"\n" != want.String() {
			t.Errorf("%s: %s, want %s, %v", name, &got, &want, err)
		}
	}
	if (&Plan{Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}).hash() != "" {
		t.Error("a time that JSON does not have has a hash")
	}
}
