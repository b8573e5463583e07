package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"example.com/publish/stage/catalog"
)

// savedName is what docker save calls its list of images.
const savedName = "manifest.json"

// saved is an image in it.
type saved struct {
	Config   string   `json:"Config"`   // a name in the archive
	RepoTags []string `json:"RepoTags"` // references; null for an image without one
	Layers   []string `json:"Layers"`   // names in the archive
}

// docker makes an index of what docker save wrote. Newer engines write one
// themselves, but some of them leave out layers, list none, or get sizes wrong: it
// counts only where it leads to the images that manifest.json lists. Otherwise a
// manifest is made around config and layers, which stay as they are. It is always
// the same bytes, but not those that a registry has.
func (p *parcel) docker(ctx context.Context, c *contents) error {
	var list []saved
	if dense(c.saved) {
		return fmt.Errorf("%s: %s: %w", p.what, savedName, errDense)
	}
	if err := json.Unmarshal(c.saved, &list); err != nil {
		return fmt.Errorf("%s: %s: %w", p.what, savedName, err)
	}
	if len(list) == 0 && p.index != nil {
		return nil
	}
	if len(list) == 0 {
		return catalog.WrongInput("save the image again, by its name", "%s: %s lists no image", p.what, savedName)
	}
	if p.index != nil || c.odd != nil {
		ok, err := p.agrees(ctx, c, list)
		if ok || err != nil {
			return err
		}
		p.findings = append(p.findings, catalog.Finding{Severity: catalog.Warning, Code: "archive-index-ignored",
			Path: p.what, Message: "has an index.json that does not lead to the images that manifest.json lists: " +
				"those count"})
	}
	x := &index{members: map[string]json.RawMessage{"schemaVersion": json.RawMessage("2")}}
	for i, s := range list {
		d, size, err := p.manifestOf(ctx, c, s, i)
		if err != nil {
			return fmt.Errorf("%s: %w", p.what, err)
		}
		p.made[d.String()] = true
		names := s.RepoTags
		if len(names) == 0 {
			names = []string{""}
		}
		for _, name := range names {
			e, err := newEntry(d, size, name)
			if err != nil {
				return err
			}
			x.entries = append(x.entries, e)
		}
	}
	p.index = x
	return nil
}

// newEntry is an entry for a manifest with a name, "" for none.
func newEntry(d catalog.Digest, size int64, name string) (entry, error) {
	s := served{MediaType: ociManifest, Digest: d.String(), Size: size, Annotations: map[string]string{}}
	if name != "" {
		s.Annotations[imageName] = name
	}
	raw, err := json.Marshal(s)
	e := entry{raw: raw}
	if err == nil {
		err = json.Unmarshal(raw, &e.descriptor)
	}
	return e, err
}

// find follows a name in the archive to a file.
func (c *contents) find(name string) (file, bool) {
	name, _ = inLayout(name)
	for range maxDepth {
		if f, ok := c.files[name]; ok {
			return f, true
		}
		if d, ok := digestAt(name); ok && c.blobs[d].at != "" {
			return c.blobs[d], true
		}
		to, ok := c.links[name]
		if !ok {
			return file{}, false
		}
		name = to
	}
	return file{}, false
}

// manifestOf makes the manifest of the image at a place of the list, and puts it
// into the sink. The config says which bytes the layers are to have: an engine that loads
// the archive refuses others, and so does this.
func (p *parcel) manifestOf(ctx context.Context, c *contents, s saved, place int) (catalog.Digest, int64, error) {
	type layer struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int64  `json:"size"`
	}
	fail := func(err error) (catalog.Digest, int64, error) { return catalog.Digest{}, 0, err }
	use := func(name string) (file, error) {
		f, ok := c.find(name)
		if !ok {
			return f, fmt.Errorf("%s: does not exist, and %s names it", catalog.Show(name), savedName)
		}
		c.blobs[f.digest] = f
		return f, nil
	}
	config, err := use(s.Config)
	if err != nil {
		return fail(err)
	}
	diffs, err := p.diffsOf(config, s)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", catalog.Show(s.Config), err))
	}
	m := struct {
		SchemaVersion int     `json:"schemaVersion"`
		MediaType     string  `json:"mediaType"`
		Config        layer   `json:"config"`
		Layers        []layer `json:"layers"`
	}{2, ociManifest, layer{ociConfig, config.digest.String(), config.size}, []layer{}}
	for i, name := range s.Layers {
		f, err := use(name)
		if err != nil {
			return fail(err)
		}
		kind, err := p.packing(f)
		if err == nil {
			err = p.checkLayer(ctx, c, f, kind, diffs[i])
		}
		if err != nil {
			return fail(fmt.Errorf("%s: %w", catalog.Show(name), err))
		}
		mediaType := "application/vnd.oci.image.layer.v1.tar"
		if kind != "" {
			mediaType += "+" + kind
		}
		m.Layers = append(m.Layers, layer{mediaType, f.digest.String(), f.size})
	}
	data, err := json.Marshal(m)
	if err != nil {
		return fail(err)
	}
	at := fmt.Sprintf("manifests/%d/%d", p.number, place)
	d, size, err := p.to.Put(ctx, at, bytes.NewReader(data))
	c.blobs[d] = file{d, size, at}
	return d, size, err
}

// agrees reports whether index.json leads to each image that manifest.json lists,
// with all its layers.
func (p *parcel) agrees(ctx context.Context, c *contents, list []saved) (bool, error) {
	if p.index == nil {
		return false, nil
	}
	broken := false
	l, err := readLayout(ctx, p, ".", func(s catalog.Severity, code, _, _ string, _ ...any) {
		broken = broken || s == catalog.Error && code != "bad-repository" && code != "partial-index"
	}, reading{})
	if err != nil || broken {
		return false, err
	}
	layers := map[catalog.Digest]int{} // by config: of the image with the most
	for _, n := range l.nodes {
		if _, manifest := leads(n.mediaType); !manifest || len(n.children) == 0 {
			continue
		}
		whole := true
		for _, child := range n.children {
			f, ok := c.blobs[child.digest()]
			whole = whole && ok && f.size == child.size
		}
		if whole {
			config := n.children[0].digest()
			layers[config] = max(layers[config], len(n.children)-1)
		}
	}
	for _, s := range list {
		f, ok := c.find(s.Config)
		if n, there := layers[f.digest]; !ok || !there || n != len(s.Layers) {
			return false, nil
		}
	}
	return true, nil
}
