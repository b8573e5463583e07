package oci

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/unpack"
)

// What docker save writes has no digests of its files. The config of an image has those
// of its layers, unpacked (rootfs.diff_ids in the image specification), and the name of
// the config has that of the config.

var (
	errNotNamed = fmt.Errorf("%w: its name says another one", catalog.ErrDigest)
	errNoConfig = errors.New("is no JSON object: the config of an image is one")
)

// diffsOf returns the digests of an image's unpacked layers, one for each layer.
func (p *parcel) diffsOf(config file, s saved) ([]catalog.Digest, error) {
	if named, ok := digestInName(s.Config); ok && named.Algorithm == config.digest.Algorithm && named != config.digest {
		return nil, errNotNamed
	}
	if config.size > maxManifest {
		return nil, fmt.Errorf("has %d bytes; a config may have %d", config.size, maxManifest)
	}
	r, err := p.to.Open(config.at)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxManifest))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	var c struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	switch data = bytes.TrimSpace(data); {
	case dense(data):
		return nil, errDense
	case kindOf(data) != anObject:
		return nil, errNoConfig
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	if list := c.RootFS.DiffIDs; len(list) != len(s.Layers) {
		return nil, fmt.Errorf("has the digests of %d layers (rootfs.diff_ids), and %s lists %d", len(list), savedName,
			len(s.Layers))
	}
	out := make([]catalog.Digest, len(s.Layers))
	for i, text := range c.RootFS.DiffIDs {
		if out[i], err = catalog.ParseDigest(text); err != nil {
			return nil, fmt.Errorf("rootfs.diff_ids: %s %w", shorten(text), err)
		}
	}
	return out, nil
}

// digestInName is the digest that the name of a config has: <hex>.json in older archives,
// sha256:<hex> in those of some builders, blobs/sha256/<hex> in newer ones.
func digestInName(name string) (catalog.Digest, bool) {
	if clean, ok := inLayout(name); ok {
		if d, ok := digestAt(clean); ok {
			return d, true
		}
	}
	digits := strings.TrimPrefix(strings.TrimSuffix(path.Base(name), ".json"), catalog.SHA256+":")
	d := catalog.Digest{Algorithm: catalog.SHA256, Hex: digits}
	return d, d.Check() == nil
}

// packing is how a layer is packed, by its first bytes: gzip, zstd, "" for neither.
func (p *parcel) packing(f file) (string, error) {
	r, err := p.to.Open(f.at)
	if err != nil {
		return "", err
	}
	head := make([]byte, 4)
	_, err = io.ReadFull(r, head)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return unpack.Kind(head), errors.Join(err, r.Close())
}

// plainOf is a file of an archive, and the algorithm of a hash of what it unpacks to.
type plainOf struct{ at, algorithm string }

// checkLayer refuses a layer that does not unpack to the digest of it in the config.
func (p *parcel) checkLayer(ctx context.Context, c *contents, f file, kind string, want catalog.Digest) error {
	got, key := f.digest, plainOf{f.at, want.Algorithm}
	if known, ok := c.plain[key]; ok {
		got = known
	} else if kind != "" || got.Algorithm != want.Algorithm {
		var err error
		if got, err = p.unpacked(ctx, f, want); err != nil {
			return err
		}
		c.plain[key] = got
	}
	if got != want {
		return fmt.Errorf("%w: the config says %s (rootfs.diff_ids)", catalog.ErrDigest, want)
	}
	return nil
}

// unpacked returns the digest of what a file unpacks to, with the algorithm of another.
func (p *parcel) unpacked(ctx context.Context, f file, like catalog.Digest) (catalog.Digest, error) {
	return p.sum(ctx, f, like, true)
}

// hash returns the digest of a file as it stands, likewise.
func (p *parcel) hash(ctx context.Context, f file, like catalog.Digest) (catalog.Digest, error) {
	return p.sum(ctx, f, like, false)
}

func (p *parcel) sum(ctx context.Context, f file, like catalog.Digest, packed bool) (d catalog.Digest, err error) {
	sum, err := like.New()
	if err != nil {
		return d, err
	}
	r, err := p.to.Open(f.at)
	if err != nil {
		return d, err
	}
	defer r.Close()
	in := catalog.Interruptible(ctx, r)
	if packed {
		plain, done, err := unpack.Stream(in, window)
		if err != nil {
			return d, err
		}
		defer done()
		in = measured{plain, &bomb{packed: f.size}}
	}
	_, err = io.Copy(sum, in)
	return catalog.Digest{Algorithm: like.Algorithm, Hex: hex.EncodeToString(sum.Sum(nil))}, err
}
