package oci

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// A registry resolves a digest only if index.json names it: the digest of a
// platform, which clients ask for after that of an index, and the digest that a tag
// stood for until a moment ago. So what clients are served names more than the tree
// does: at the end of the list stand the children of its indexes, and then what is
// held, that is what a former generation named and clients may still ask for. Both
// have no tag, and are marked. So the bytes alone tell which entries are the
// tree's own: all readers here pass the others over.
const (
	childMark = "com.example.publish.child"      // "true"
	heldMark  = "com.example.publish.held-until" // a time: RFC 3339, UTC, seconds
)

// Held is a manifest that stays named, though no entry of the tree leads to it.
type Held struct {
	Digest    catalog.Digest
	MediaType string
	Size      int64     // bytes
	Until     time.Time // when nobody asks for it any more
}

// marked reports whether an entry is one that was added for clients.
func (d *descriptor) marked() bool {
	_, child := d.Annotations[childMark]
	_, held := d.Annotations[heldMark]
	return child || held
}

// served is one of these entries. Its members are in one order.
type served struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

// served returns index.json as clients are served it, with what is held. An own
// entry, or a child, is not held as well.
func (l *layout) served(held []Held) ([]byte, error) {
	list := slices.Clone(l.index.entries)
	named := map[string]bool{}
	for _, e := range list {
		named[e.Digest] = true
	}
	add := func(d catalog.Digest, mediaType string, size int64, mark, value string) error {
		if named[d.String()] {
			return nil
		}
		named[d.String()] = true
		raw, err := json.Marshal(served{mediaType, d.String(), size, map[string]string{mark: value}})
		list = append(list, entry{raw: raw})
		return err
	}
	for _, n := range l.children() {
		if err := add(n.digest, n.mediaType, n.size, childMark, "true"); err != nil {
			return nil, err
		}
	}
	held = slices.Clone(held)
	slices.SortFunc(held, func(a, b Held) int {
		return cmp.Or(a.Until.Compare(b.Until), strings.Compare(a.Digest.String(), b.Digest.String()))
	})
	for _, h := range slices.Backward(held) { // of two ends the later one counts
		if err := add(h.Digest, h.MediaType, h.Size, heldMark, h.Until.UTC().Format(time.RFC3339)); err != nil {
			return nil, err
		}
	}
	return l.index.bytes(list)
}

// children are the manifests that the layout's indexes list, sorted by digest.
func (l *layout) children() []*node {
	var out []*node
	for _, n := range l.nodes {
		if index, manifest := leads(n.mediaType); n.child && !n.absent && (index || manifest) {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b *node) int { return strings.Compare(a.digest.String(), b.digest.String()) })
	return out
}

// manifests are all that a registry can be asked for by digest: the entries of the
// layout, and the children of its indexes.
func (l *layout) manifests() map[catalog.Digest]*node {
	out := map[catalog.Digest]*node{}
	for _, n := range l.entries {
		if n != nil {
			out[n.digest] = n
		}
	}
	for _, n := range l.children() {
		out[n.digest] = n
	}
	return out
}

// lost returns what a layout names and the one after it, nil for none, does not:
// what has to be held.
func (l *layout) lost(next *layout, until time.Time) []Held {
	stay := map[catalog.Digest]*node{}
	if next != nil {
		stay = next.manifests()
	}
	var out []Held
	for d, n := range l.manifests() {
		if stay[d] == nil {
			out = append(out, Held{Digest: d, MediaType: n.mediaType, Size: n.size, Until: until})
		}
	}
	slices.SortFunc(out, func(a, b Held) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	return out
}
