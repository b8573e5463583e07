package registry

import (
	"context"
	"encoding/json"
	"errors"
	"path"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/remote"
)

// Fetch implements [catalog.Upstream]. What it returns is a layout as a directory, for
// [oci.Format.Gather]: its index.json has the image first, with its tag, and then what refers
// to it or to its parts. A blob that fails in a way that may pass keeps no other from coming.
func (g *Registry) Fetch(ctx context.Context, req catalog.FetchRequest, to catalog.Store) (*catalog.Fetched, error) {
	p := req.Pin
	s, err := g.source(req.Remote)
	if err != nil {
		return nil, err
	}
	wanted, err := parsePlatforms(req.Platforms)
	if err != nil {
		return nil, err
	}
	c := &closure{source: s, to: to, once: g.opt.Blobs, wanted: wanted, come: map[catalog.Digest]content{}}
	root := entry{MediaType: p.MediaType, Digest: p.Digest.String(), Size: p.Size}
	x, err := c.check(root.MediaType, root.Digest, root.Size, manifests)
	if err != nil {
		return nil, err
	}
	if !isDocument(x.mediaType) {
		return nil, s.failed(catalog.WrongType, "%s is no image", catalog.Show(x.mediaType))
	}
	if _, err := c.add(x); err != nil {
		return nil, err
	}
	all, err := c.walk(ctx, []node{{content: x}})
	if err != nil {
		return nil, err
	}
	out := &catalog.Fetched{}
	if out.Missing, err = c.lacks(ctx); err != nil {
		return nil, err
	}
	entries, err := c.refer(ctx, all)
	if err != nil {
		return nil, err
	}
	if err := c.rest(ctx); err != nil {
		return nil, err
	}
	if s.tag != "" {
		root.Annotations = map[string]string{v1.AnnotationRefName: s.tag}
	}
	out.Documents, err = documents(append([]entry{root}, entries...))
	out.Contents = make(map[string]catalog.Digest, len(c.order))
	for _, x := range c.order {
		out.Contents[path.Join(v1.ImageBlobsDir, x.digest.Algorithm, x.digest.Hex)] = x.digest
	}
	out.Bytes, out.Moved = c.bytes, s.moved(ctx, p.Digest)
	return out, errors.Join(err, ctx.Err())
}

// rest brings what is not there yet.
func (c *closure) rest(ctx context.Context) error {
	var todo []content
	sum, largest := int64(0), int64(0)
	for _, x := range c.order {
		if !c.to.Has(x.digest) {
			todo, sum, largest = append(todo, x), sum+x.size, max(largest, x.size)
		}
	}
	if err := c.to.Expect(sum, largest); err != nil {
		return err
	}
	return remote.BringAll(ctx, c.once, todo, func(ctx context.Context, x content) error {
		return c.stored(ctx, x, c.to.Bring(ctx, x.digest, x.size, c.get(x)))
	})
}

// stored is the error of a store.
func (c *closure) stored(ctx context.Context, x content, err error) error {
	return remote.Stored(ctx, err, c.remote.Host, c.remote.Name, x.digest)
}

// entry is a descriptor in an index.json, or in a list of referrers: of that, annotations are
// not taken over, for they could name the image.
type entry struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// documents are those of a layout with some entries.
func documents(entries []entry) (map[string][]byte, error) {
	index, err := json.Marshal(struct {
		SchemaVersion int     `json:"schemaVersion"`
		MediaType     string  `json:"mediaType"`
		Manifests     []entry `json:"manifests"`
	}{2, ociIndex, entries})
	if err != nil {
		return nil, err
	}
	layout, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	return map[string][]byte{v1.ImageIndexFile: index, v1.ImageLayoutFile: layout}, err
}
