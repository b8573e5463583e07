package mirror

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

	"example.com/publish/stage/catalog"
)

// hub is a server with images of one layer each, in memory.
type hub struct {
	mu    sync.Mutex
	tags  map[string]catalog.Pin // by name
	blobs map[catalog.Digest]string
	pins  int
	looks int // whether a name moved while it was fetched
	// before is called before each content is sent; its error ends the request.
	before func(ctx context.Context, d catalog.Digest) error
	sent   map[catalog.Digest]int
	// lists counts lists of tags; listing is called before each, and its error ends it.
	lists   int
	listing func(catalog.Remote) error
	// missing are wanted platforms that no image has.
	missing []string
}

func newHub() *hub {
	return &hub{tags: map[string]catalog.Pin{}, blobs: map[catalog.Digest]string{}, sent: map[catalog.Digest]int{}}
}

func (h *hub) put(data string) string {
	d := digestOf(data)
	h.blobs[d] = data
	return fmt.Sprintf(`"digest": %q, "size": %d`, d, len(data))
}

// image makes a name stand for an image with a layer, and returns its digest.
func (h *hub) image(name, layer string) catalog.Digest {
	h.mu.Lock()
	defer h.mu.Unlock()
	manifest := fmt.Sprintf(`{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {
		"mediaType": "application/vnd.oci.image.config.v1+json", %s}, "layers": [{
		"mediaType": "application/vnd.oci.image.layer.v1.tar", %s}]}`, h.put(`{"architecture": "amd64", "os": "linux",
		"rootfs": {"type": "layers", "diff_ids": ["`+digestOf(layer).String()+`"]}}`), h.put(layer))
	h.put(manifest)
	h.tags[name] = catalog.Pin{Digest: digestOf(manifest), MediaType: "application/vnd.oci.image.manifest.v1+json",
		Size: int64(len(manifest))}
	return digestOf(manifest)
}

func (h *hub) Parse(text string) (catalog.Remote, error) {
	name, _, ok := strings.Cut(text, ":")
	host, _, _ := strings.Cut(name, "/")
	if !ok {
		return catalog.Remote{}, catalog.Usage("give it a tag", "%s: has no tag", text)
	}
	lower := strings.ToLower
	return catalog.Remote{Text: text, Canonical: lower(text), Name: lower(name), Host: lower(host)}, nil
}

func (h *hub) CheckPlatforms(list []string) error {
	if slices.Contains(list, "") {
		return catalog.Usage("", "is no platform")
	}
	return nil
}

func (h *hub) Pin(_ context.Context, r catalog.Remote) (catalog.Pin, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pins++
	pin, ok := h.tags[r.Canonical]
	if r.Pinned != (catalog.Digest{}) {
		pin, ok = catalog.Pin{Digest: r.Pinned, MediaType: "application/vnd.oci.image.manifest.v1+json",
			Size: int64(len(h.blobs[r.Pinned]))}, h.blobs[r.Pinned] != ""
	}
	if !ok {
		return pin, catalog.Failed(catalog.NotFound, r.Host, "%s: there is no such image", r.Canonical)
	}
	return pin, nil
}

func (h *hub) Fetch(ctx context.Context, req catalog.FetchRequest, to catalog.Store) (*catalog.Fetched, error) {
	r, p := req.Remote, req.Pin
	out := &catalog.Fetched{Contents: map[string]catalog.Digest{}}
	todo := []catalog.Digest{p.Digest}
	for i := 0; i < len(todo); i++ {
		d := todo[i]
		h.mu.Lock()
		data, there := h.blobs[d]
		h.mu.Unlock()
		if !there && !to.Has(d) {
			return nil, catalog.Failed(catalog.NotFound, r.Host, "%s: %s is gone", r.Canonical, d)
		}
		out.Contents["blobs/sha256/"+d.Hex], out.Bytes = d, out.Bytes+int64(len(data))
		if !there {
			todo = append(todo, h.below(d, p, to)...)
			continue
		}
		err := to.Bring(ctx, d, int64(len(data)), func(ctx context.Context, from int64) (io.ReadCloser, int64, error) {
			h.mu.Lock()
			h.sent[d]++
			before := h.before
			h.mu.Unlock()
			if before != nil {
				if err := before(ctx, d); err != nil {
					return nil, 0, err
				}
			}
			return io.NopCloser(strings.NewReader(data[from:])), from, nil
		})
		if err != nil {
			return nil, err
		}
		todo = append(todo, h.below(d, p, to)...)
		if i > 0 {
			continue
		}
		var sum, largest int64
		for _, d := range todo {
			if n := int64(len(h.blobs[d])); !to.Has(d) {
				sum, largest = sum+n, max(largest, n)
			}
		}
		if err := to.Expect(sum, largest); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Pinned == (catalog.Digest{}) {
		if h.looks++; h.tags[r.Canonical].Digest != p.Digest {
			out.Moved = h.tags[r.Canonical].Digest
		}
	}
	_, tag, _ := strings.Cut(r.Canonical, ":")
	out.Missing = h.missing
	out.Documents = map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion": "1.0.0"}`),
		"index.json": fmt.Appendf(nil, `{"schemaVersion": 2, "manifests": [{"mediaType": %q, "digest": %q, "size": %d,
			"annotations": {"org.opencontainers.image.ref.name": %q}}]}`, p.MediaType, p.Digest, p.Size, tag)}
	return out, nil
}

// below are the contents that a manifest in the store lists; none for another content.
func (h *hub) below(d catalog.Digest, p catalog.Pin, to catalog.Store) (list []catalog.Digest) {
	f, err := to.Open(d)
	if d != p.Digest || err != nil {
		return nil
	}
	defer f.Close()
	data, _ := io.ReadAll(f) // of a fake
	for _, hex := range regexp.MustCompile(`"sha256:([0-9a-f]{64})"`).FindAllStringSubmatch(string(data), -1) {
		list = append(list, catalog.Digest{Algorithm: catalog.SHA256, Hex: hex[1]})
	}
	return list
}
