package oci

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"path"
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

var _ catalog.Server = Format{}

// marked reports whether an entry is one that was added for clients.
func (d *descriptor) marked() bool {
	_, child := d.Annotations.get(childMark)
	_, held := d.Annotations.get(heldMark)
	return child || held
}

// served is one of these entries. Its members are in one order.
type served struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

// Serves implements [catalog.Server]: each index.json has two forms.
func (f Format) Serves(p string) bool {
	return path.Base(p) == indexName && f.Class(p) == catalog.Index
}

// Own implements [catalog.Server]: without marked entries, compact, members sorted.
func (f Format) Own(data []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(data))
	if f.WriteOwn(&out, data) != nil {
		return data
	}
	return out.Bytes()
}

// WriteOwn implements [catalog.Server]. It keeps nothing of an entry but where it stands.
func (Format) WriteOwn(w io.Writer, data []byte) error {
	var list []json.RawMessage
	x, err := eachEntry(data, func(e entry, most int) {
		if list == nil {
			list = make([]json.RawMessage, 0, most)
		}
		if !e.marked() {
			list = append(list, e.raw)
		}
	})
	if err != nil {
		_, err = w.Write(data)
		return err
	}
	return x.write(w, list)
}

// Bare implements [catalog.Server]: without any entry.
func (Format) Bare(data []byte) []byte {
	return rewritten(data, func(*index) []entry { return nil })
}

// List implements [catalog.Server]. What is listed stands behind the own entries, by
// digest.
func (Format) List(data []byte, listed []catalog.Naming) []byte {
	return rewritten(data, func(all *index) []entry { return withAdded(all.own(), listed) })
}

// Hold implements [catalog.Server]. What is held stands last, with the latest end at the
// end.
func (Format) Hold(data []byte, held []catalog.Naming) []byte {
	return rewritten(data, func(all *index) []entry {
		stay := slices.DeleteFunc(slices.Clone(all.entries), func(e entry) bool {
			_, held := e.Annotations.get(heldMark)
			return held
		})
		return withAdded(stay, held)
	})
}

// own are the entries that were not added for clients.
func (x *index) own() []entry {
	return slices.DeleteFunc(slices.Clone(x.entries), func(e entry) bool { return e.marked() })
}

// withAdded appends entries for what these do not name.
func withAdded(out []entry, list []catalog.Naming) []entry {
	named := map[string]bool{}
	for i := range out {
		named[out[i].Digest] = true
	}
	for _, n := range inOrder(list) {
		if named[n.Digest.String()] {
			continue
		}
		mark, value := childMark, "true"
		if n.Kind == catalog.NamedHeld {
			mark, value = heldMark, n.Until.UTC().Format(time.RFC3339)
		}
		raw, err := json.Marshal(served{n.MediaType, n.Digest.String(), n.Size, map[string]string{mark: value}})
		if err == nil { // it cannot fail: these are strings and a number
			out = append(out, entry{raw: raw})
		}
	}
	return out
}

// inOrder sorts what is added. Of two ends of one digest only the later one stays.
func inOrder(added []catalog.Naming) []catalog.Naming {
	last := map[catalog.Digest]catalog.Naming{}
	for _, n := range added {
		if was, ok := last[n.Digest]; !ok || n.Kind < was.Kind || n.Kind == was.Kind && n.Until.After(was.Until) {
			last[n.Digest] = n
		}
	}
	out := make([]catalog.Naming, 0, len(last))
	for _, n := range last {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b catalog.Naming) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Until.Compare(b.Until),
			strings.Compare(a.Digest.String(), b.Digest.String()))
	})
	return out
}

// rewritten returns an index.json with other entries, made from all that it has; data
// that is none as it is.
func rewritten(data []byte, entries func(all *index) []entry) []byte {
	x, err := parseEntries(data)
	if err != nil {
		return data
	}
	out, err := x.bytes(entries(x))
	if err != nil {
		return data
	}
	return out
}

// Names implements [catalog.Server].
func (Format) Names(p string, data []byte) []catalog.Naming {
	all, err := parseEntries(data)
	if err != nil {
		return nil
	}
	return all.names(p)
}

// Lost implements [catalog.Server]. It keeps no entry that both documents have: of a large
// repository, two lists of them would need more memory than all the rest.
func (Format) Lost(p string, was, is []byte) []catalog.Naming {
	var still map[catalog.Sum]struct{} // what it names
	others := map[string]bool{}        // likewise, by digests that are no sha256
	if _, err := eachEntry(is, func(e entry, most int) {
		if still == nil {
			still = make(map[catalog.Sum]struct{}, most)
		}
		if _, ok := e.naming(); !ok {
			return
		}
		if sum, short := e.sum(); short {
			still[sum] = struct{}{}
		} else {
			others[e.Digest] = true
		}
	}); err != nil {
		still, others = nil, nil
	}
	left := &index{}
	if _, err := eachEntry(was, func(e entry, _ int) {
		there := others[e.Digest]
		if sum, short := e.sum(); short {
			_, there = still[sum]
		}
		if !there {
			left.entries = append(left.entries, e)
		}
	}); err != nil {
		return nil
	}
	return left.names(p)
}

// sum is the digest, if that is a sha256, in a form that needs little memory.
func (d *descriptor) sum() (catalog.Sum, bool) {
	digits, ok := strings.CutPrefix(d.Digest, catalog.SHA256+":")
	if !ok {
		return catalog.Sum{}, false
	}
	return catalog.ParseSum(digits)
}

// names are what the index.json at a path names, with all its entries.
func (x *index) names(p string) (out []catalog.Naming) {
	seen := map[string]bool{}
	for _, added := range []bool{false, true} {
		for i := range x.entries {
			e := &x.entries[i]
			if e.marked() != added {
				continue
			}
			if n, ok := e.naming(); ok && !seen[e.Digest] {
				seen[e.Digest] = true
				n.Path = blobPath(path.Dir(p), n.Digest)
				out = append(out, n)
			}
		}
	}
	return out
}

// naming is what an entry names, without the path; false for one that is wrong, which names
// nothing.
func (e *entry) naming() (n catalog.Naming, ok bool) {
	digest, code, _ := e.check()
	if code != "" {
		return n, false
	}
	n = catalog.Naming{Digest: digest, MediaType: e.MediaType, Size: *e.Size}
	switch end, held := e.Annotations.get(heldMark); {
	case held:
		until, err := time.Parse(time.RFC3339, end)
		if err != nil { // somebody else wrote it
			return n, false
		}
		n.Kind, n.Until = catalog.NamedHeld, until.UTC()
	case e.marked():
		n.Kind = catalog.NamedListed
	}
	return n, true
}

// Needs implements [catalog.Server]: what an index lists, the config and the layers of a
// manifest, and what it refers to.
func (Format) Needs(src catalog.Source, of catalog.Naming) ([]catalog.Naming, error) {
	index, image := leads(of.MediaType)
	if !index && !image || of.Size > maxManifest {
		return nil, nil
	}
	data, err := blobOf(src, of.Path, of.Digest, maxManifest)
	if data == nil || err != nil {
		return nil, err
	}
	m, code, _ := parseManifest(data, of.MediaType)
	if code != "" {
		return nil, nil
	}
	repository := path.Dir(path.Dir(path.Dir(of.Path)))
	var out []catalog.Naming
	for _, d := range slices.Concat(m.Manifests, m.Layers, one(m.Config), one(m.Subject)) {
		if digest, code, _ := d.check(); code == "" {
			out = append(out, catalog.Naming{Path: blobPath(repository, digest), Digest: digest, MediaType: d.MediaType,
				Size: *d.Size})
		}
	}
	return out, nil
}

func one(d *descriptor) []descriptor {
	if d == nil {
		return nil
	}
	return []descriptor{*d}
}

// children are the manifests that the layout's indexes list, sorted by digest.
func (l *layout) children() []*node {
	var out []*node
	for _, n := range l.nodes {
		if index, manifest := leads(n.mediaType); n.child && !n.absent && (index || manifest) {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b *node) int { return strings.Compare(a.key, b.key) })
	return out
}

// listed is what has to be added to index.json so that each child is named.
func (l *layout) listed() []catalog.Naming {
	if l.index == nil {
		return nil
	}
	named := map[string]bool{}
	for _, e := range l.index.entries {
		named[e.Digest] = true
	}
	var out []catalog.Naming
	for _, n := range l.children() {
		if !named[n.key] {
			out = append(out, catalog.Naming{Path: l.at(n), Digest: n.digest(), MediaType: n.mediaType, Size: n.size,
				Kind: catalog.NamedListed})
		}
	}
	return out
}
