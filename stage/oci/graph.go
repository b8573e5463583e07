package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"example.com/publish/stage/catalog"
)

// node is a blob that something in a repository leads to.
type node struct {
	key       string // the digest as text
	path      string // see at
	size      int64  // as the first descriptor says
	mediaType string
	children  []*node // what it lists: manifests, its config, its layers
	subject   string  // a digest; "" for none
	child     bool    // an index lists it
	config    bool    // a manifest has it as its config
	absent    bool    // it may be missing: it is not there, and no item
	partial   bool    // it is an index, and not all that it lists is here
	read      bool
	asked     bool  // it is among what is read ahead
	item      bool  // the catalog has it as an item
	named     bool  // it has a tag, or is listed already
	mark      int32 // of the last walk that met it
}

// digest is the digest of its bytes.
func (n *node) digest() catalog.Digest {
	algorithm, digits, _ := strings.Cut(n.key, ":") // it has been checked
	return catalog.Digest{Algorithm: algorithm, Hex: digits}
}

// graph is all that an index.json leads to.
type graph struct {
	ctx        context.Context
	src        catalog.Source
	repository string
	nodes      map[string]*node // by digest
	note       func(severity catalog.Severity, code, path, format string, args ...any)
	marks      int32
	todo       []*node // memory for each
	fresh      []node  // memory for nodes: there are very many, and all stay
	reading
	ahead map[want]*manifest // what was read ahead: see readAhead
	left  platforms          // an entry says that no others were picked; nil: it does not say so
}

// reading says how a graph is read.
type reading struct {
	picked platforms // of what comes: the others stay where they are; nil: all come
	sparse bool      // any index may list what is not here
	wide   bool      // the source may be asked for content by several goroutines at once
	// recorded are the platforms that were picked before, by the digest of the entry, where
	// the entry does not say so under its new name.
	recorded map[string]platforms
}

// at is the path of a node's blob.
func (g *graph) at(n *node) string {
	if n.path == "" {
		n.path = blobPath(g.repository, n.digest())
	}
	return n.path
}

// node returns what a descriptor leads to, which stands in the file at from; nil,
// with a finding, if that cannot be told.
func (g *graph) node(from string, d *descriptor) *node {
	_, code, fact := d.check()
	if code != "" {
		g.note(catalog.Error, code, from, "%s", fact)
		return nil
	}
	n := g.nodes[d.Digest]
	if n == nil {
		n = g.make()
		n.key, n.size, n.mediaType = d.Digest, *d.Size, commonType(d.MediaType)
		g.nodes[d.Digest] = n
	}
	if n.size != *d.Size {
		g.note(catalog.Error, "bad-descriptor", from, "says that %s has %d bytes, and another descriptor says %d",
			d.Digest, *d.Size, n.size)
	}
	return n
}

// make returns a new node.
func (g *graph) make() *node {
	const some = 256
	if len(g.fresh) == 0 {
		g.fresh = make([]node, some)
	}
	n := &g.fresh[0]
	g.fresh = g.fresh[1:]
	return n
}

// apart reports whether tools write to a blob in place: see catalog.Item.Apart.
func (n *node) apart() bool {
	index, manifest := leads(n.mediaType)
	return index || manifest || n.config
}

// expand reads a manifest or an index, and all that it leads to. An error is one
// that keeps the tree from being read at all: what is wrong with it is a finding.
func (g *graph) expand(n *node, depth int) error {
	index, manifest := leads(n.mediaType)
	if n.read || !index && !manifest {
		return nil
	}
	n.read = true
	path := g.at(n)
	switch {
	case depth > maxDepth:
		g.note(catalog.Error, "too-deep", path, "is more than %d levels below index.json", maxDepth)
		return nil
	case n.size > maxManifest:
		g.note(catalog.Error, "too-large", path, "has %d bytes; a manifest may have %d", n.size, maxManifest)
		return nil
	}
	m, code, fact, err := g.manifest(n)
	switch {
	case err != nil:
		return err
	case code != "":
		g.note(catalog.Error, code, path, "%s", fact)
		return nil
	case m == nil:
		return nil
	}
	if m.Odd != "" {
		g.note(catalog.Warning, "schema", path, "%s", m.Odd)
	}
	if m.Uneven != "" {
		g.note(catalog.Warning, "schema", path, "%s", m.Uneven)
	}
	if m.Subject != nil {
		if _, code, fact := m.Subject.check(); code != "" {
			g.note(catalog.Error, code, path, "%s", fact)
		} else {
			n.subject = m.Subject.Digest
		}
	}
	n.children = make([]*node, 0, len(m.Manifests)+len(m.Layers)+1)
	picked := g.picked.of(m.Manifests)
	for i := range m.Manifests {
		if err := g.below(n, path, &m.Manifests[i], depth, picked[i]); err != nil {
			return err
		}
	}
	if m.Config != nil {
		if c := g.node(path, m.Config); c != nil {
			if m.OddConfig != "" && !c.config {
				g.note(catalog.Warning, "schema", g.at(c), "%s", m.OddConfig)
			}
			c.config = true
			n.children = append(n.children, c)
		}
	}
	for i := range m.Layers {
		if err := g.layer(n, path, &m.Layers[i]); err != nil {
			return err
		}
	}
	return nil
}

// manifest returns the manifest of a node; nil if it cannot be used, with the code and fact of a
// finding unless whoever compares items with files finds that out again.
func (g *graph) manifest(n *node) (m *manifest, code, fact string, err error) {
	if m := g.ahead[want{n.key, n.mediaType}]; m != nil {
		return m, "", "", nil
	}
	return g.load(n.digest(), n.mediaType, maxManifest)
}

// load is manifest for what was not read ahead. It changes nothing of the graph.
func (g *graph) load(d catalog.Digest, mediaType string, limit int64) (m *manifest, code, fact string, err error) {
	if m := g.known(d, mediaType); m != nil {
		return m, "", "", nil
	}
	data, err := g.blobAt(blobPath(g.repository, d), d, limit)
	if data == nil || err != nil {
		return nil, "", "", err
	}
	if m, code, fact = parseManifest(data, mediaType); code != "" {
		return nil, code, fact, nil
	}
	checked, err := g.checkConfig(m)
	if err != nil {
		return nil, "", "", err
	}
	if checked {
		g.learn(d, mediaType, m)
	}
	return m, "", "", nil
}

// below adds what an index lists.
func (g *graph) below(n *node, path string, d *descriptor, depth int, picked bool) error {
	c := g.node(path, d)
	if c == nil {
		return nil
	}
	c.child = true
	there, err := false, error(nil)
	if picked {
		if there, err = g.there(c); err != nil {
			return err
		}
	}
	if !there {
		c.absent, n.partial = true, true
		severity := catalog.Error
		if g.sparse || g.left != nil && (d.Platform == nil || !g.left.has(*d.Platform)) {
			severity = catalog.Warning
		}
		if picked {
			g.note(severity, "partial-index", path, "lists %s, which is not here: clients of that platform fail",
				d.Digest)
		}
		return nil
	}
	if index, manifest := leads(c.mediaType); !index && !manifest {
		g.note(catalog.Warning, "unknown-media-type", g.at(c), "is %s, which clients pass over", catalog.Show(c.mediaType))
	}
	n.children = append(n.children, c)
	return g.expand(c, depth+1)
}

// layer adds a layer. One that is to be fetched from elsewhere may be missing.
func (g *graph) layer(n *node, path string, d *descriptor) error {
	c := g.node(path, d)
	if c == nil {
		return nil
	}
	if len(d.URLs) > 0 {
		there, err := g.there(c)
		if err != nil {
			return err
		}
		if !there {
			c.absent = true
			g.note(catalog.Warning, "external-layer", path, "has the layer %s, which clients fetch from elsewhere",
				d.Digest)
			return nil
		}
	}
	n.children = append(n.children, c)
	return nil
}

// blob returns the bytes of a node; none where they are missing or are others,
// which is found out again by who compares items with files.
func (g *graph) blob(n *node, limit int64) ([]byte, error) {
	return g.blobAt(g.at(n), n.digest(), limit)
}

func (g *graph) blobAt(path string, want catalog.Digest, limit int64) ([]byte, error) {
	if err := g.ctx.Err(); err != nil {
		return nil, err
	}
	return blobOf(g.src, path, want, limit)
}

func blobOf(src catalog.Source, path string, want catalog.Digest, limit int64) ([]byte, error) {
	data, err := src.Blob(path, want, limit)
	bad := new(catalog.DocumentError)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, catalog.ErrDigest) || errors.As(err, &bad) {
		return nil, nil
	}
	return data, err
}

// there reports whether a node's blob is in the tree, whatever its bytes.
func (g *graph) there(n *node) (bool, error) {
	_, err := g.src.Blob(g.at(n), n.digest(), 0)
	bad := new(catalog.DocumentError)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, catalog.ErrDigest), errors.As(err, &bad):
		return true, nil
	}
	return true, err
}

// each calls f once for every node that roots lead to, themselves included.
func (g *graph) each(f func(*node), roots ...*node) {
	g.marks++
	mark := g.marks
	todo := append(g.todo[:0], roots...)
	g.todo = nil // f may call each
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if n.mark == mark {
			continue
		}
		n.mark = mark
		f(n)
		todo = append(todo, n.children...)
	}
	g.todo = todo
}

// subjectOf is the digest that a referrer refers to: its subject, or what the tag
// of older clients says; "" for what is no referrer.
func subjectOf(tag string, n *node) string {
	if m := fallbackTag.FindStringSubmatch(tag); m != nil {
		return fmt.Sprintf("%s:%s", m[1], m[2])
	}
	return n.subject
}
