package publish

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/stage/catalog"
)

// naming is listed with an index that clients ask for contents by their digests: a
// catalog.Server. What is added for them are items with a mark.
type naming struct{ listed }

var _ catalog.Server = naming{}

const heldUntil = "held until "

func (naming) Serves(p string) bool { return p == "index.json" }

func (naming) Own(data []byte) []byte {
	return writeItems(data, func(own []listedItem) []listedItem { return own })
}

func (naming) Bare(data []byte) []byte {
	return writeItems(data, func([]listedItem) []listedItem { return []listedItem{} })
}

func (f naming) Lost(p string, was, is []byte) []catalog.Naming {
	still := f.Names(p, is)
	return slices.DeleteFunc(f.Names(p, was), func(n catalog.Naming) bool {
		return slices.ContainsFunc(still, func(s catalog.Naming) bool { return s.Digest == n.Digest })
	})
}

func (naming) Names(_ string, data []byte) (out []catalog.Naming) {
	var items []listedItem
	if json.Unmarshal(data, &items) != nil {
		return nil
	}
	for _, i := range items {
		if i.SHA256 == "" {
			continue
		}
		n := catalog.Naming{Path: i.Path, Digest: catalog.Digest{Algorithm: catalog.SHA256, Hex: i.SHA256},
			MediaType: "a type", Size: i.Size}
		if i.Mark != "" {
			n.Kind = catalog.NamedHeld
			n.Until, _ = time.Parse(heldUntil+time.RFC3339, i.Mark)
		}
		out = append(out, n)
	}
	return out
}

func (naming) WriteOwn(w io.Writer, data []byte) error {
	_, err := w.Write(naming{}.Own(data))
	return err
}

func (naming) List(data []byte, _ []catalog.Naming) []byte { return naming{}.Own(data) }

func (naming) Hold(data []byte, held []catalog.Naming) []byte {
	return writeItems(data, func(items []listedItem) []listedItem {
		slices.SortFunc(held, func(a, b catalog.Naming) int { return byText(a.Digest, b.Digest) })
		for _, n := range held {
			if !slices.ContainsFunc(items, func(i listedItem) bool { return i.SHA256 == n.Digest.Hex }) {
				items = append(items, listedItem{Path: "images/" + n.Digest.Hex[:16] + ".bin", SHA256: n.Digest.Hex,
					Size: n.Size, Mark: n.Until.Format(heldUntil + time.RFC3339)})
			}
		}
		return items
	})
}

func (naming) Needs(catalog.Source, catalog.Naming) ([]catalog.Naming, error) { return nil, nil }

func writeItems(data []byte, change func(own []listedItem) []listedItem) []byte {
	own, err := parseItems(data)
	if err != nil {
		return data
	}
	out, err := json.Marshal(change(own))
	if err != nil {
		return data
	}
	return out
}

// named returns the sums of all contents that production's index names, and of those
// that it only holds.
func (w *world) named() (all, held map[string]bool) {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.production(), "index.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	all, held = map[string]bool{}, map[string]bool{}
	for _, n := range (naming{}).Names("index.json", data) {
		all[n.Digest.Hex] = true
		if n.Kind == catalog.NamedHeld {
			held[n.Digest.Hex] = true
		}
	}
	return all, held
}
