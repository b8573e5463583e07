package simplestreams

import (
	"bytes"
	"slices"
	"strings"
)

// overlay returns the union of the members of two objects, and whether it differs
// from under. If both have a field, the value of over wins, unless it is empty
// (see says). The fields in skip stay as in under.
func overlay(under, over object, known []string, skip ...string) (object, bool) {
	out, changed := slices.Clone(under), false
	for _, m := range over {
		i := out.key(m.name)
		if f := match(known, m.quoted); f >= 0 {
			if slices.Contains(skip, known[f]) {
				continue
			}
			i = out.field(known[f])
		}
		switch {
		case i < 0:
			out, changed = append(out, m), true
		case !says(m.raw) && says(out[i].raw), equal(out[i].raw, m.raw):
		default:
			out[i].raw, changed = m.raw, true
		}
	}
	return out, changed
}

// says reports whether a value is not null, an empty string or an empty object.
func says(raw []byte) bool {
	return string(raw) != "null" && string(raw) != `""` && string(raw) != "{}"
}

// equal reports whether two values are the same JSON.
func equal(a, b []byte) bool {
	return bytes.Equal(a, b) || bytes.Equal(canonical(a), canonical(b))
}

// entry is an item of the united version.
type entry struct {
	item
	obj     object // its members
	changed bool   // obj differs from raw
	theirs  bool   // the version from has it
}

// told is a fingerprint that one of the two versions has for a pair of files.
type told struct{ meta, ftype, root, fingerprint string }

// uniteItems returns the items of a version that has all images of the version
// from, and those images of the version to that from does not replace. target has
// the items of to; changed reports whether the result differs from it. An image is
// replaced by one of the same kind: with the same ftype of root and both for Incus
// or both for LXD; or unified and of the same type.
//
// Items with the same ftype and hash are the same file. They become one item, with
// the key of to; with keepPaths also with the path of to, if that is safe.
//
// Clients make an image of every metadata item and every root for which a combined
// hash is set. So the union may have two metadata items, and a combined hash stays
// only if one of the two versions has it for exactly these two files. Then every
// fingerprint that a client can read is correct.
func uniteItems(target object, from, to *version, keepPaths bool) (items object, changed bool) {
	u := union{from: from, to: to, pairs: map[told]bool{}, kinds: map[[2]string]bool{}, brought: map[string]bool{}}
	u.learn()
	matched := map[*item]bool{}
	for _, m := range target {
		d := to.item(m.name)
		if d == nil {
			continue
		}
		e := entry{item: *d, obj: split(d.raw)}
		s := from.like(d, matched)
		switch {
		case s != nil:
			matched[s] = true
			e.take(s, keepPaths)
			u.yield(&e, s)
		case u.replaces(d):
			u.changed = true
			continue
		case isMeta(d.ftype):
			u.yield(&e, &item{})
		}
		u.entries = append(u.entries, e)
	}
	for i := range from.items {
		s := &from.items[i]
		if matched[s] {
			continue
		}
		u.changed = true
		u.entries = append(u.entries, entry{item: *s, obj: split(s.raw), theirs: true})
		u.entries[len(u.entries)-1].key = u.free(s)
	}
	u.verify()
	return u.join()
}

// union is the state of one call of uniteItems.
type union struct {
	from, to *version
	pairs    map[told]bool      // the fingerprints of both versions
	kinds    map[[2]string]bool // ftypes of metadata and root of the images of from
	brought  map[string]bool    // kinds of the roots and unified items of from
	entries  []entry
	changed  bool
}

func (u *union) learn() {
	for _, v := range []*version{u.from, u.to} {
		for _, c := range v.candidates() {
			if c.root == nil {
				continue
			}
			u.pairs[told{c.meta.identity(), c.root.ftype, c.root.identity(), c.fingerprint}] = true
			if v == u.from {
				u.kinds[[2]string{c.meta.ftype, c.root.ftype}] = true
			}
		}
	}
	for i := range u.from.items {
		if it := &u.from.items[i]; isRoot(it.ftype) || isUnified(it.ftype) {
			u.brought[it.kind()] = true
		}
	}
}

// replaces reports whether from replaces an item of to.
func (u *union) replaces(d *item) bool {
	base, delta := strings.CutSuffix(d.ftype, ".vcdiff")
	switch {
	case u.brought[d.kind()]:
		return true
	case delta && u.brought[base]: // a delta is useless without the root that it leads to
		return !slices.ContainsFunc(u.to.items, func(root item) bool {
			return root.ftype == base && u.from.like(&root, nil) != nil
		})
	case isMeta(d.ftype):
		return false
	}
	s := u.from.item(d.key)
	return s != nil && s.kind() == d.kind()
}

// kind returns the ftype of an item, for unified items together with the type of
// the image.
func (m *item) kind() string {
	if isUnified(m.ftype) {
		return m.ftype + " " + m.imageType()
	}
	return m.ftype
}

// yield removes from a metadata item of to the combined hashes of images that
// from replaces. It keeps those that own has, which is the item of from for the
// same file.
func (u *union) yield(e *entry, own *item) {
	for _, ftype := range []string{rootSquashfs, rootTarXz, rootDiskKVM, rootDisk1, rootUEFI1} {
		if _, field := own.with(&item{ftype: ftype}); field >= 0 || !u.kinds[[2]string{e.ftype, ftype}] {
			continue
		}
		for _, f := range fieldsFor(ftype) {
			e.clear(f)
		}
	}
}

// free returns a key for an item of from that no other entry has: its own key, or
// else one with the first digits of its hash.
func (u *union) free(s *item) string {
	taken := func(key string) bool {
		return slices.ContainsFunc(u.entries[:len(u.entries)-1], func(e entry) bool { return e.key == key })
	}
	key := s.key
	if taken(key) && len(s.sha256) >= 12 {
		key = s.key + "-" + s.sha256[:12]
	}
	for taken(key) {
		key += "-"
	}
	return key
}

// verify clears every combined hash that is wrong for the two files that a client
// would now combine, because neither version had it for them. It also drops
// metadata items of to that have no image left.
func (u *union) verify() {
	had := map[string]bool{}
	for _, c := range u.to.candidates() {
		had[c.meta.key] = true
	}
	kept := make([]entry, 0, len(u.entries))
	for i := range u.entries {
		e := &u.entries[i]
		if isMeta(e.ftype) {
			u.check(e)
			if !e.theirs && had[e.key] && !u.serves(e) {
				u.changed = true
				continue
			}
		}
		kept = append(kept, *e)
	}
	u.entries = kept
}

// serves reports whether a metadata item has a fingerprint with any root.
func (u *union) serves(meta *entry) bool {
	return slices.ContainsFunc(u.entries, func(root entry) bool {
		_, field := meta.with(&root.item)
		return field >= 0
	})
}

func (u *union) check(meta *entry) {
	for i := range u.entries {
		root := &u.entries[i].item
		if !isRoot(root.ftype) {
			continue
		}
		for {
			fingerprint, field := meta.with(root)
			if field < 0 || u.pairs[told{meta.identity(), root.ftype, root.identity(), fingerprint}] {
				break
			}
			meta.clear(field)
		}
	}
}

func (u *union) join() (object, bool) {
	var items object
	for i := range u.entries {
		e := &u.entries[i]
		raw := e.raw
		if e.changed {
			raw, u.changed = e.obj.join(), true
		}
		items = items.insert(e.key, raw)
	}
	return items, u.changed
}

// take overlays an item of to with the item of from for the same file.
func (e *entry) take(s *item, keepPath bool) {
	var skip []string
	if e.file != "" && keepPath {
		skip = []string{"path"}
	}
	e.theirs = true
	path := e.path
	if len(skip) == 0 {
		path = s.path
	}
	e.obj, e.changed = overlay(e.obj, split(s.raw), itemFields, skip...)
	combined := e.combined
	for i, value := range s.combined {
		if value != "" {
			combined[i] = value
		}
	}
	e.combined, e.path, e.size = combined, path, s.size
	if s.combined[3] != "" && s.combined[4] == "" && e.combined[4] != "" && e.combined[4] != s.combined[3] {
		e.clear(4) // combined_sha256 of a root.tar.xz that was replaced
	}
	if s.combined[4] != "" && s.combined[3] == "" && e.combined[3] != "" && e.combined[3] != s.combined[4] {
		e.clear(3) // clients would prefer the old combined_rootxz_sha256
	}
}

// clear removes a combined hash.
func (e *entry) clear(field int) {
	if e.combined[field] == "" {
		return
	}
	e.combined[field] = ""
	e.obj = e.obj.remove(combinedFields[field])
	e.changed = true
}

// item returns the item with this key; nil for none.
func (v *version) item(key string) *item {
	for i := range v.items {
		if v.items[i].key == key {
			return &v.items[i]
		}
	}
	return nil
}

// like returns the first item that is the same file as d and is not in used; nil
// for none.
func (v *version) like(d *item, used map[*item]bool) *item {
	for i := range v.items {
		if s := &v.items[i]; s.same(d) && !used[s] {
			return s
		}
	}
	return nil
}
