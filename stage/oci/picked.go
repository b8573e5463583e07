package oci

// unpicked is an entry without its record of the platforms that were picked, if all that
// it leads to is in a tree now: others came before.
func (l *layout) unpicked(tree *graph, e entry) (entry, error) {
	if _, picked := e.Annotations.get(platformsNote); !picked || l.nodes[e.Digest] == nil {
		return e, nil
	}
	whole, err := l.completes(tree, l.nodes[e.Digest], 0)
	if err != nil || !whole {
		return e, err
	}
	return e.annotated(func(notes map[string]string) { delete(notes, platformsNote) })
}

// completes reports whether all that an index lists comes, or is in the tree already.
func (l *layout) completes(tree *graph, n *node, depth int) (bool, error) {
	if index, _ := leads(n.mediaType); !index {
		return true, nil
	}
	from := l.graph
	if l.nodes[n.key] == nil {
		from = tree
	}
	data, err := from.blob(n, maxManifest)
	if data == nil || err != nil || depth > maxDepth {
		return false, err
	}
	m, code, _ := parseManifest(data, n.mediaType)
	if code != "" {
		return false, nil
	}
	for i := range m.Manifests {
		d := &m.Manifests[i]
		c := l.nodes[d.Digest]
		if c == nil {
			if _, code, _ := d.check(); code != "" {
				return false, nil
			}
			c = &node{key: d.Digest, mediaType: d.MediaType, size: *d.Size}
			if there, err := tree.there(c); err != nil || !there {
				return false, err
			}
		}
		if whole, err := l.completes(tree, c, depth+1); err != nil || !whole {
			return false, err
		}
	}
	return true, nil
}
