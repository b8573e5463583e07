package simplestreams

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// Place implements [catalog.Placer]. Clients read the index first, and all else by paths
// that the index names, relative to the tree (see the package client of Incus and
// sstream-mirror). So each catalog lies beside the index, under a name with the hash of
// its bytes, and the index has that name. What the index has otherwise stays. What a tree
// carries it does not name.
//
// It returns a *[DocumentError] for an index that clients cannot read.
func (Format) Place(ctx context.Context, src catalog.Source, _ func(string) bool) (*catalog.Placement, error) {
	doc, err := open(src, IndexPath)
	if err != nil {
		return nil, err
	}
	faults := findings{doc: IndexPath}
	d := newDecoder(doc, faults.error)
	streams := d.index()
	if err := faults.fault(d, doc); err != nil {
		return nil, err
	}
	out := &catalog.Placement{}
	top := split(doc)
	for _, m := range top {
		if strings.EqualFold(m.name, "publish") {
			out.Findings = append(out.Findings, catalog.Finding{Severity: catalog.Error, Code: "reserved-member",
				Path: IndexPath, Message: "has a member " + show(m.name) + ", which an object store needs for itself"})
		}
	}
	entries := split(top.get("index"))
	keys := map[string]string{} // of catalogs, by their paths
	for _, s := range streams {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name, fault := s.document()
		if fault != nil {
			continue // there is a finding, and clients do not read it
		}
		key, ok := keys[name]
		if !ok {
			data, err := open(src, name)
			if catalog.Missing(err) {
				continue // likewise, unless nobody needs it
			}
			if err != nil {
				return nil, err
			}
			key = placed(name, data)
			keys[name] = key
			out.Objects = append(out.Objects, catalog.PlacedObject{Path: name, Key: key, Type: catalog.MediaType(key),
				Data: data})
		}
		if i := entries.key(s.key); i >= 0 {
			entries[i].raw = split(entries[i].raw).set("path", quote(key)).join()
		}
	}
	slices.SortFunc(out.Objects, func(a, b catalog.PlacedObject) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Path, b.Path))
	})
	// Two catalogs with the same bytes and the same name are one object.
	out.Objects = slices.CompactFunc(out.Objects, func(a, b catalog.PlacedObject) bool { return a.Key == b.Key })
	if top.field("index") >= 0 {
		top = top.set("index", entries.join())
	}
	out.Pointer = top.join()
	return out, nil
}

// Layout implements [catalog.Placer].
func (Format) Layout() string { return "" }

// PointerPath implements [catalog.Placer].
func (Format) PointerPath() string { return IndexPath }

// ContentKeys implements [catalog.Placer]: content lies at its path.
func (Format) ContentKeys(p string) []string { return []string{p} }

// placed is the key of a catalog with these bytes.
func placed(name string, data []byte) string {
	sum := sha256.Sum256(data)
	return Format{}.DocumentKey(name, hex.EncodeToString(sum[:]))
}

// DocumentKey implements [catalog.Placer].
func (Format) DocumentKey(name, sha256 string) string {
	if name == IndexPath {
		return ""
	}
	stem := strings.TrimSuffix(path.Base(name), ".json")
	if i := strings.LastIndexByte(stem, '-'); i > 0 && isSHA256(stem[i+1:]) {
		stem = stem[:i] // it comes from such a store
	}
	if len(stem) > 100 || strings.ContainsFunc(stem, odd) {
		stem = "catalog"
	}
	return path.Join(path.Dir(IndexPath), stem+"-"+sha256+".json")
}

func isSHA256(s string) bool {
	return catalog.Digest{Algorithm: catalog.SHA256, Hex: s}.Check() == nil
}

// odd reports whether a character of a name may need quoting in some URL or store.
func odd(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
}
