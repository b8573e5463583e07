package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
)

// closure is all that an image leads to, as far as it is wanted.
type closure struct {
	*source
	to      catalog.Store
	once    int // contents that are asked for at once
	wanted  []platform
	come    map[catalog.Digest]content
	order   []content // of come
	bytes   int64
	has     []platform // that indexes and configs name
	unnamed []content  // configs of manifests whose platform no index names
	strays  int        // referrers that were left out
	strayed int64      // bytes of those
}

// batch is how many manifests are in memory at once, for each that is asked for at once: a
// manifest of a stranger may be a thousand times as large as most are.
const batch = 4

// maxStrayed bounds the bytes of referrers that are left out. Others have some thousands.
const maxStrayed = 64 << 20

// node is a manifest or an index that is there.
type node struct {
	content
	*manifest
	named bool // an index says of which platform it is
}

// check reads a descriptor.
func (c *closure) check(mediaType, text string, size int64, kinds ...string) (content, error) {
	digest, err := catalog.ParseDigest(text)
	switch {
	case err != nil:
		return content{}, c.failed(catalog.WrongDigest, "the digest %s %v", shown(text), err)
	case size < 0:
		return content{}, c.failed(catalog.WrongType, "the descriptor of %s has the size %d", digest, size)
	case isDocument(mediaType) && kinds[0] == manifests && size > c.limits.Manifest:
		return content{}, c.failed(catalog.OverLimit, "the manifest %s has %d bytes, and may have %d", digest, size,
			c.limits.Manifest)
	case size > c.limits.Image:
		return content{}, c.failed(catalog.OverLimit, "%s has %d bytes, and an image may have %d", digest, size,
			c.limits.Image)
	}
	return content{digest, size, mediaType, kinds}, nil
}

// add has a content come. fresh is false for one that comes already.
func (c *closure) add(x content) (fresh bool, err error) {
	if was, ok := c.come[x.digest]; ok {
		if was.size != x.size {
			return false, c.failed(catalog.WrongDigest, "one descriptor says that %s has %d bytes, and another one %d",
				x.digest, was.size, x.size)
		}
		return false, nil
	}
	c.come[x.digest] = x
	c.order = append(c.order, x)
	switch c.bytes += x.size; {
	case len(c.order) > c.limits.Blobs:
		return false, c.failed(catalog.OverLimit, "the image has more than %d contents", c.limits.Blobs)
	case c.bytes > c.limits.Image:
		return false, c.failed(catalog.OverLimit, "the image has more than %d bytes", c.limits.Image)
	}
	return true, nil
}

// walk brings the manifests that some lead to, level by level, and has come what they list.
// It returns all of them.
func (c *closure) walk(ctx context.Context, level []node) (all []node, err error) {
	for depth := 1; len(level) > 0; depth++ {
		if depth > c.limits.Depth {
			return nil, c.failed(catalog.OverLimit, "the image has more than %d levels of manifests", c.limits.Depth)
		}
		var next []node
		for some := range slices.Chunk(level, batch*c.once) {
			g, gctx := errgroup.WithContext(ctx)
			g.SetLimit(c.once)
			for i := range some {
				g.Go(func() (err error) {
					some[i].manifest, err = c.load(gctx, some[i].content)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				return nil, err
			}
			for i := range some {
				below, err := c.follow(some[i])
				if err != nil {
					return nil, err
				}
				next, some[i].manifest = append(next, below...), nil
			}
		}
		all, level = append(all, level...), next
	}
	return all, nil
}

// load brings a manifest, and reads it.
func (c *closure) load(ctx context.Context, x content) (*manifest, error) {
	data, err := c.small(ctx, x)
	if err != nil {
		return nil, err
	}
	m, err := c.read(data, x.mediaType, true)
	if err == nil && len(m.Manifests)+len(m.Layers) > c.limits.Blobs {
		err = c.failed(catalog.OverLimit, "the manifest %s lists more than %d contents", x.digest, c.limits.Blobs)
	}
	return m, err
}

// small brings a content that is no larger than a manifest may be, and reads it.
func (c *closure) small(ctx context.Context, x content) ([]byte, error) {
	if err := c.bring(ctx, x); err != nil {
		return nil, err
	}
	f, err := c.to.Open(x.digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, c.limits.Manifest+1))
}

// bring has the store bring a content.
func (c *closure) bring(ctx context.Context, x content) error {
	if c.to.Has(x.digest) {
		return nil
	}
	return c.stored(ctx, x, c.to.Bring(ctx, x.digest, x.size, c.get(x)))
}

// follow has come what a manifest lists, and returns the manifests among it that are new.
func (c *closure) follow(n node) (below []node, err error) {
	for i := range n.Manifests {
		if p := n.Manifests[i].Platform; p != nil && platformOf(p).known() {
			c.has = append(c.has, platformOf(p))
		}
	}
	for _, d := range picked(n.Manifests, c.wanted) {
		if strings.HasPrefix(d.MediaType, schema1) {
			return nil, c.failed(catalog.WrongType, "the index lists %s, a manifest of schema 1", d.Digest)
		}
		kinds := []string{manifests}
		if !isDocument(d.MediaType) {
			kinds = append(kinds, blobs)
		}
		x, err := c.check(d.MediaType, d.Digest.String(), d.Size, kinds...)
		if err != nil {
			return nil, err
		}
		fresh, err := c.add(x)
		if err != nil {
			return nil, err
		}
		if fresh && isDocument(x.mediaType) {
			below = append(below, node{content: x, named: d.Platform != nil})
		}
	}
	if n.Config != nil {
		x, err := c.check(n.Config.MediaType, n.Config.Digest.String(), n.Config.Size, blobs)
		if err != nil {
			return nil, err
		}
		if _, err := c.add(x); err != nil {
			return nil, err
		}
		if !n.named {
			c.unnamed = append(c.unnamed, x)
		}
	}
	for _, d := range n.Layers {
		if foreign(d) {
			continue
		}
		x, err := c.check(d.MediaType, d.Digest.String(), d.Size, blobs)
		if err != nil {
			return nil, err
		}
		if _, err := c.add(x); err != nil {
			return nil, err
		}
	}
	return below, nil
}

// foreign reports whether a layer is to be fetched from elsewhere: registries do not have it.
func foreign(d v1.Descriptor) bool {
	return len(d.URLs) > 0 && (strings.Contains(d.MediaType, ".nondistributable.") ||
		strings.Contains(d.MediaType, ".foreign."))
}

// lacks returns the wanted platforms that the image does not have. An image that names no
// platform at all lacks none. One that has none of those that are wanted is refused.
func (c *closure) lacks(ctx context.Context) (out []string, err error) {
	if len(c.wanted) == 0 {
		return nil, nil
	}
	for _, x := range c.unnamed {
		if x.size > c.limits.Manifest {
			continue
		}
		data, err := c.small(ctx, x)
		if err != nil {
			return nil, err
		}
		var p v1.Platform
		if json.Unmarshal(data, &p) == nil && platformOf(&p).known() {
			c.has = append(c.has, platformOf(&p))
		}
	}
	if len(c.has) == 0 {
		return nil, nil
	}
	for _, w := range c.wanted {
		found := false
		for _, p := range c.has {
			found = found || wants([]platform{w}, p)
		}
		if !found {
			out = append(out, w.String())
		}
	}
	if len(out) < len(c.wanted) {
		return out, nil
	}
	err = c.failed(catalog.NotFound, "has no image for %s", strings.Join(out, ", "))
	err.(*catalog.RemoteError).Hint = "it has " + c.told()
	return nil, err
}

// told lists the platforms of the image.
func (c *closure) told() string {
	const most = 10
	var list []string
	once := map[platform]bool{}
	for _, p := range c.has {
		if !once[p] {
			once[p] = true
			list = append(list, shown(p.String()))
		}
	}
	if len(list) > most {
		list = append(list[:most], fmt.Sprintf("and %d more", len(list)-most))
	}
	return strings.Join(list, ", ")
}

// refer has come what refers to some manifests, and what refers to that. It returns the
// descriptors of what nothing else lists.
func (c *closure) refer(ctx context.Context, to []node) (entries []entry, err error) {
	for len(to) > 0 {
		var next []node
		for some := range slices.Chunk(to, batch*c.once) {
			lists := make([][]entry, len(some))
			g, gctx := errgroup.WithContext(ctx)
			g.SetLimit(c.once)
			for i := range some {
				g.Go(func() (err error) {
					lists[i], err = c.referrersOf(gctx, some[i].digest)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				return nil, err
			}
			for i := range some {
				for _, d := range lists[i] {
					found, err := c.referrer(ctx, some[i].digest, d)
					if err != nil {
						return nil, err
					}
					if len(found) > 0 {
						entries = append(entries, d)
					}
					next = append(next, found...)
				}
			}
		}
		to = next
	}
	return entries, nil
}

// referrer has come one that a list names, and returns its manifests. One that is gone, or
// refers to something else, is left out: such lists are not always kept up to date.
func (c *closure) referrer(ctx context.Context, subject catalog.Digest, d entry) ([]node, error) {
	if !isDocument(d.MediaType) {
		return nil, nil
	}
	x, err := c.check(d.MediaType, d.Digest, d.Size, manifests)
	if err != nil {
		return nil, err
	}
	if _, there := c.come[x.digest]; there {
		return nil, nil
	}
	m, err := c.load(ctx, x)
	if missing(err) || err == nil && (m.Subject == nil || m.Subject.Digest.String() != subject.String()) {
		return nil, c.stray(x, err)
	}
	if err != nil {
		return nil, err
	}
	if _, err := c.add(x); err != nil {
		return nil, err
	}
	unnamed := c.unnamed
	all, err := c.walk(ctx, []node{{content: x, named: true}})
	c.unnamed = unnamed
	return all, err
}

// stray counts a referrer that is left out. missing is the error of one that is gone.
func (c *closure) stray(x content, missing error) error {
	c.strays++
	if missing == nil {
		c.strayed += x.size
	}
	if c.strays > c.limits.Blobs || c.strayed > maxStrayed {
		return c.failed(catalog.OverLimit, "the lists of what refers to it have too many that are gone or refer elsewhere")
	}
	return nil
}
