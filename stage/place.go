package stage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Placed is how a whole tree lies in an object store that clients read directly.
type Placed struct {
	// Pointer is the document that clients read first, as it stands there; nil if no one
	// names all others.
	Pointer []byte
	// Objects are created once and never overwritten: content, and what the format lists.
	// Sorted by Key.
	Objects []Object
	// Beside are rewritten under their keys: no reader needs them to agree with each other.
	// They are written in this order.
	Beside []Object
	// Lost are the companions of documents, such as compressed copies and signatures.
	// They are about bytes that do not lie in the store, so they do not either. There is
	// a warning for each.
	Lost     []tree.Row
	Findings []catalog.Finding
}

// Object is an object that clients read.
type Object struct {
	Key    string
	Type   string   // its media type
	Row    tree.Row // of the file whose bytes it has, or from which they are made
	Size   int64    // bytes
	SHA256 string
	Data   []byte // nil: the bytes of the file at Row.Path
}

// Place says how a tree with these rows lies in an object store, below a prefix that is
// "" or ends in a slash. src reads the documents, as clients are served them. A format that
// is no [catalog.Placer] has all its files at their paths. The findings of the result are
// sorted.
func Place(ctx context.Context, f catalog.Format, src catalog.Source, rows []tree.Row, prefix string) (*Placed, error) {
	out := &Placed{}
	placer, _ := catalog.As[catalog.Placer](f)
	var names []string // of documents that do not lie at their paths
	var keys []string
	if placer != nil {
		all := tree.NewRows(rows)
		placement, err := placer.Place(ctx, src, func(path string) bool { _, ok := all.Get(path); return ok })
		if err != nil {
			return nil, err
		}
		if names, err = f.Documents(src); err != nil {
			return nil, err
		}
		slices.Sort(names)
		out.Pointer, out.Findings = placement.Pointer, placement.Findings
		if out.Pointer != nil {
			keys = append(keys, placer.PointerPath())
		}
		out.Objects = out.objects(placement.Objects, all)
		out.Beside = out.objects(placement.Beside, all)
	}
	of := documents(f, names, nil)
	var beside []Object
	for _, row := range rows {
		at := Object{Key: row.Path, Type: catalog.MediaType(row.Path), Row: row, Size: row.Size, SHA256: row.SHA256}
		if _, is := slices.BinarySearch(names, row.Path); is {
			continue
		}
		if row.Role == catalog.Signature {
			if strings.Contains(path.Base(row.Path), row.SHA256) { // no other bytes come there
				out.Objects = append(out.Objects, at)
			} else {
				beside = append(beside, at)
			}
			continue
		}
		if row.Role == catalog.Content {
			if placer != nil {
				at.Key = placer.ContentKeys(row.Path)[0]
			}
			out.Objects = append(out.Objects, at)
			continue
		}
		if document := of.Of(row.Path); document != "" {
			out.Lost = append(out.Lost, row)
			out.Findings = append(out.Findings, catalog.Finding{Severity: catalog.Warning, Code: "no-place",
				Path: row.Path, Message: "is left out of the object store: it is about " + document +
					", which has other bytes or another name there"})
			continue
		}
		beside = append(beside, at)
	}
	out.Beside = append(beside, out.Beside...)
	slices.SortFunc(out.Objects, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
	for _, list := range [][]Object{out.Objects, out.Beside} {
		for _, o := range list {
			keys = append(keys, o.Key)
		}
	}
	slices.Sort(keys)
	for i := 1; i < len(keys); i++ {
		if keys[i] == keys[i-1] {
			out.Findings = append(out.Findings, catalog.Finding{Severity: catalog.Error, Code: "path-conflict", Path: keys[i],
				Message: "is the name of two objects"})
		}
	}
	out.Findings = append(out.Findings, catalog.KeyFindings(prefix, slices.Values(slices.Compact(keys)))...)
	catalog.Sort(out.Findings)
	return out, nil
}

// PlaceContent is Place for a tree of which the store has only the content, at its paths.
func PlaceContent(rows []tree.Row, prefix string) *Placed {
	out := &Placed{}
	var keys []string
	for _, row := range rows {
		out.Objects = append(out.Objects, Object{Key: row.Path, Type: catalog.MediaType(row.Path), Row: row,
			Size: row.Size, SHA256: row.SHA256})
		keys = append(keys, row.Path)
	}
	slices.Sort(keys)
	out.Findings = catalog.KeyFindings(prefix, slices.Values(keys))
	return out
}

// objects are those that a format lists, with their bytes' size and digest.
func (p *Placed) objects(list []catalog.PlacedObject, rows tree.Rows) []Object {
	out := make([]Object, 0, len(list))
	for _, o := range list {
		row, ok := rows.Get(o.Path)
		if !ok && o.Data == nil {
			p.Findings = append(p.Findings, catalog.Finding{Severity: catalog.Error, Code: "missing", Path: o.Path,
				Message: fmt.Sprintf("is not in the tree, and %s has to be its bytes in the object store", o.Key)})
			continue
		}
		at := Object{Key: o.Key, Type: o.Type, Row: row, Size: row.Size, SHA256: row.SHA256, Data: o.Data}
		if o.Data != nil {
			sum := sha256.Sum256(o.Data)
			at.Size, at.SHA256 = int64(len(o.Data)), hex.EncodeToString(sum[:])
		}
		out = append(out, at)
	}
	return out
}
