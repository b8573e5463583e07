package stage

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

func TestPlace(t *testing.T) {
	s := stores(t)["simplestreams"]
	for name, data := range packed(t, read(t, filepath.Join(s.Dir, "streams/v1/index.json"))) {
		if strings.HasSuffix(name, ".gz") {
			put(t, s, "streams/v1/index.json.gz", string(data))
		}
	}
	v, base := promoted(t, s, &Base{})
	src := tree.Contents(base.Source.Root())
	placed, err := Place(t.Context(), s.Format, src, v.Rows, "p/")
	must(t, err)
	if got := placed.Beside; len(got) != 1 || got[0].Key != "index.html" || got[0].Row.Path != "index.html" {
		t.Errorf("beside %+v", got)
	}
	if len(placed.Lost) != 1 || len(placed.Findings) != 1 || placed.Findings[0].Code != "no-place" ||
		placed.Findings[0].Severity != catalog.Warning {
		t.Errorf("%+v %+v", placed.Lost, placed.Findings)
	}
	if n := len(placed.Objects) + len(placed.Beside) + len(placed.Lost) + 1; n != len(v.Rows) || placed.Pointer == nil {
		t.Errorf("%d of %d rows", n, len(v.Rows))
	}

	long := tree.Row{Path: strings.Repeat("x", 1023), SHA256: sum(nil), Role: catalog.Content}
	below := tree.Row{Path: "index.html/x", SHA256: sum(nil), Role: catalog.Content}
	at := slices.IndexFunc(placed.Objects, func(o Object) bool { return o.Data != nil })
	clash := tree.Row{Path: placed.Objects[at].Key, SHA256: sum(nil), Role: catalog.Content}
	rows := append(slices.Clone(v.Rows), long, below, clash)
	tree.SortRows(rows)
	placed, err = Place(t.Context(), s.Format, src, rows, "p/")
	must(t, err)
	var codes []string
	for _, f := range placed.Findings {
		if f.Severity == catalog.Error {
			codes = append(codes, f.Code+" "+f.Path[:min(len(f.Path), 20)])
		}
	}
	want := []string{"path-conflict index.html", "path-conflict " + clash.Path[:20], "key-too-long " + long.Path[:20]}
	if !slices.Equal(codes, want) {
		t.Errorf("%q", codes)
	}
}
