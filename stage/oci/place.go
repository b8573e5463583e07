package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lazyregexp"
)

var _ catalog.Placer = Format{}

// In an object store a tree lies as the static part of a registry, under the names that
// the distribution specification gives to what clients ask for:
//
//	v2/REPOSITORY/blobs/sha256:<hex>      each blob, manifests among them
//	v2/REPOSITORY/manifests/sha256:<hex>  a manifest that index.json names
//	v2/REPOSITORY/manifests/TAG           the manifest that a tag stands for
//	v2/REPOSITORY/tags/list               the tags
//
// The last two change in place. A front has to answer v2/ itself. A tag for referrers, as
// older clients push it, is a tag like others.
const (
	staticRoot     = "v2"
	staticTagsType = "application/json"
)

// Layout implements [catalog.Placer].
func (Format) Layout() string { return staticRoot }

// PointerPath implements [catalog.Placer]: nothing names all tags.
func (Format) PointerPath() string { return "" }

// ContentKeys implements [catalog.Placer].
func (Format) ContentKeys(p string) []string {
	algorithms, digits := path.Split(p)
	algorithms = path.Clean(algorithms)
	blobs, algorithm := path.Split(algorithms)
	repository := path.Dir(path.Clean(blobs))
	digest := algorithm + ":" + digits
	return []string{path.Join(staticRoot, repository, blobsName, digest), manifestKey(repository, digest)}
}

// DocumentKey implements [catalog.Placer]: clients of a registry read no index.json.
func (Format) DocumentKey(string, string) string { return "" }

// manifestKey is where clients ask for a manifest, by a tag or a digest.
func manifestKey(repository, reference string) string {
	return path.Join(staticRoot, repository, "manifests", reference)
}

// Place implements [catalog.Placer]. What documents hold for clients of earlier trees lies
// there since those were placed.
func (f Format) Place(ctx context.Context, src catalog.Source, own func(string) bool) (*catalog.Placement, error) {
	out := &catalog.Placement{}
	names, err := f.Documents(src)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !f.Serves(name) || !own(name) {
			continue
		}
		data, err := src.Document(name)
		if catalog.Missing(err) {
			continue // there is a finding
		}
		if err != nil {
			return nil, err
		}
		if err := placeRepository(out, name, data); err != nil {
			out.Findings = append(out.Findings, catalog.Finding{Severity: catalog.Error, Code: "schema", Path: name,
				Message: err.Error()})
		}
	}
	byKey := func(a, b catalog.PlacedObject) int { return cmp.Compare(a.Key, b.Key) }
	slices.SortFunc(out.Objects, byKey)
	// A list of tags comes after the tags.
	slices.SortStableFunc(out.Beside, func(a, b catalog.PlacedObject) int {
		if a.Data == nil != (b.Data == nil) {
			return len(a.Data) - len(b.Data)
		}
		return byKey(a, b)
	})
	return out, nil
}

// placeRepository places what an index.json names.
func placeRepository(out *catalog.Placement, document string, data []byte) error {
	r, err := Format{}.Repository(document, data)
	if err != nil {
		return err
	}
	named := make(map[catalog.Digest]*catalog.Naming, len(r.Named))
	for i := range r.Named {
		n := &r.Named[i]
		named[n.Digest] = n
		if n.Kind != catalog.NamedHeld {
			out.Objects = append(out.Objects, catalog.PlacedObject{Key: manifestKey(r.Name, n.Digest.String()),
				Type: contentType(n.MediaType), Path: n.Path})
		}
	}
	list := struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{r.Name, []string{}}
	for _, t := range r.Tags {
		n := named[t.Digest] // it has been named by the same entry
		out.Beside = append(out.Beside, catalog.PlacedObject{Key: manifestKey(r.Name, t.Name),
			Type: contentType(n.MediaType), Path: n.Path})
		list.Tags = append(list.Tags, t.Name)
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	out.Beside = append(out.Beside, catalog.PlacedObject{Key: path.Join(staticRoot, r.Name, "tags", "list"),
		Type: staticTagsType, Path: document, Data: append(text, '\n')})
	return nil
}

// plainType is the grammar of a media type without parameters, by RFC 6838.
var plainType = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$`)

// contentType is the header for what a descriptor calls a media type.
func contentType(t string) string {
	if plainType.MatchString(t) {
		return strings.Clone(t)
	}
	return "application/octet-stream"
}
