package oci

import (
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
)

// To read manifests takes most of the time for a repository of many tags: so that is done
// on all processors, for some entries at a time, while the graph is made of those before.
// What is not read ahead, for any reason, is read when it is its turn, and what is wrong
// with it is found then.
const (
	aheadNodes = 512      // entries
	aheadBytes = 16 << 20 // of manifests, as their descriptors say: all are in memory at once
)

// want is a manifest, and the media type under which it is read.
type want struct{ digest, mediaType string }

// expandAll expands nodes in their order.
func (g *graph) expandAll(nodes []*node, left func(i int) platforms) error {
	next := g.readAhead(nodes)
	for at := 0; at < len(nodes); {
		some := nodes[at:min(at+aheadNodes, len(nodes))]
		g.ahead = next()
		next = g.readAhead(nodes[at+len(some):])
		for i, n := range some {
			g.left = left(at + i)
			if err := g.expand(n, 1); err != nil {
				_ = next()
				return err
			}
		}
		at += len(some)
	}
	g.ahead = nil
	return nil
}

// readAhead begins to read what the first nodes lead to. The returned function waits for
// it.
func (g *graph) readAhead(nodes []*node) (wait func() map[want]*manifest) {
	nodes = nodes[:min(aheadNodes, len(nodes))]
	if !g.wide || len(nodes) < 2 {
		return func() map[want]*manifest { return nil }
	}
	r := &readingAhead{graph: g, got: make(map[want]*manifest, len(nodes)), wants: make([]want, 0, len(nodes))}
	r.left.Store(aheadBytes)
	var sizes []int64
	for _, n := range nodes {
		if !n.asked && !n.read {
			n.asked = true
			r.wants, sizes = append(r.wants, want{n.key, n.mediaType}), append(sizes, n.size)
		}
	}
	var workers errgroup.Group
	for range min(runtime.GOMAXPROCS(0), len(r.wants)) {
		workers.Go(func() error {
			for {
				i := int(r.next.Add(1)) - 1
				if i >= len(r.wants) {
					return nil
				}
				r.read(r.wants[i], sizes[i], 1)
			}
		})
	}
	return func() map[want]*manifest { _ = workers.Wait(); return r.got }
}

// readingAhead are manifests that are read on several processors.
type readingAhead struct {
	*graph // only what does not change
	wants  []want
	next   atomic.Int64 // of wants
	left   atomic.Int64 // bytes

	mu  sync.Mutex
	got map[want]*manifest
}

// read reads a manifest of so many bytes, and what that lists.
func (r *readingAhead) read(w want, size int64, depth int) {
	index, manifest := leads(w.mediaType)
	d, err := catalog.ParseDigest(w.digest)
	if !index && !manifest || err != nil || depth > maxDepth || size < 0 || r.left.Add(-size) < 0 {
		return
	}
	r.mu.Lock()
	_, met := r.got[w]
	r.got[w] = nil
	r.mu.Unlock()
	if met {
		return
	}
	m, _, _, err := r.load(d, w.mediaType, size)
	if m == nil || err != nil {
		return
	}
	r.mu.Lock()
	r.got[w] = m
	r.mu.Unlock()
	for i := range m.Manifests {
		if c := &m.Manifests[i]; c.Size != nil {
			r.read(want{c.Digest, c.MediaType}, *c.Size, depth+1)
		}
	}
}
