package simplestreams

import (
	"context"

	"example.com/publish/stage/catalog"
)

// Clearsign implements [catalog.Signer]. sstream-query and sstream-mirror with a keyring read
// index.sjson, and by the paths in it only clearsigned catalogs.
//
// It returns a *[DocumentError] for an index that clients cannot read.
func (f Format) Clearsign(ctx context.Context, src catalog.Source,
	sign func(document string, text []byte) (catalog.Document, error)) ([]catalog.Document, error) {
	doc, err := open(src, IndexPath)
	if catalog.Missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	faults := findings{doc: IndexPath}
	d := newDecoder(doc, faults.error)
	streams := d.index()
	if err := faults.fault(d, doc); err != nil {
		return nil, err
	}
	var out []catalog.Document
	top := split(doc)
	entries := split(top.get("index"))
	at := map[string]string{} // where the copies of catalogs lie
	for _, s := range streams {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name, fault := s.document()
		if fault != nil || name == IndexPath || f.Clearsigned(name) == "" {
			continue // there is a finding, or no client looks for a signed copy
		}
		if at[name] == "" {
			data, err := open(src, name)
			if catalog.Missing(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			copied, err := sign(name, data)
			if err != nil {
				return nil, err
			}
			at[name] = copied.Path
			out = append(out, copied)
		}
		if i := entries.key(s.key); i >= 0 {
			entries[i].raw = split(entries[i].raw).set("path", quote(at[name])).join()
		}
	}
	if top.field("index") >= 0 {
		top = top.set("index", entries.join())
	}
	index, err := sign(IndexPath, top.join())
	return append(out, index), err
}
