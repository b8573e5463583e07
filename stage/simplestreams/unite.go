package simplestreams

import (
	"bytes"
	"slices"
	"strings"
)

// overlay returns over's members on top of under's, and whether that changes
// under. over counts where both have a field, unless it says nothing there;
// what only one of them has stays. skip are fields to leave as under has them.
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

// says reports whether a value is more than null, an empty string or no fields.
func says(raw []byte) bool {
	return string(raw) != "null" && string(raw) != `""` && string(raw) != "{}"
}

// equal reports whether two values are the same JSON.
func equal(a, b []byte) bool {
	return bytes.Equal(a, b) || bytes.Equal(canonical(a), canonical(b))
}

// entry is an item of a version that is being made of two.
type entry struct {
	item
	obj     object // its members
	changed bool   // obj differs from raw
	theirs  bool   // source has it
}

// told is a fingerprint that one of the two versions told for two files.
type told struct{ meta, ftype, root, fingerprint string }

// uniteItems returns the items of a version that has all images of source, and
// those of target that source does not replace; changed is whether that is
// anything but target's own. An image is replaced by one of the same kind: the
// same ftype of root under the same names (Incus's or LXD's), or unified and of
// the same type.
//
// Items that are the same file, by ftype and hash, become one, and keep
// target's key; keepPaths also keeps target's path where it is safe. Two
// metadata files stand side by side under two keys, and a combined hash stays
// only where one of the two versions told it for exactly these two files: so
// whatever a client combines, the fingerprint is right.
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

// union is uniteItems at work.
type union struct {
	from, to *version
	pairs    map[told]bool      // what both versions told
	kinds    map[[2]string]bool // metadata and root ftypes of from's images
	brought  map[string]bool    // kinds of from's roots and unified items
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

// replaces reports whether an item of target gives way to source's.
func (u *union) replaces(d *item) bool {
	base, delta := strings.CutSuffix(d.ftype, ".vcdiff")
	switch {
	case u.brought[d.kind()]:
		return true
	case delta && u.brought[base]: // a delta leads to one root only
		return !slices.ContainsFunc(u.to.items, func(root item) bool {
			return root.ftype == base && u.from.like(&root, nil) != nil
		})
	case isMeta(d.ftype):
		return false
	}
	s := u.from.item(d.key)
	return s != nil && s.kind() == d.kind()
}

// kind is the ftype of an item; of unified ones each type is a kind of its own.
func (m *item) kind() string {
	if isUnified(m.ftype) {
		return m.ftype + " " + m.imageType()
	}
	return m.ftype
}

// yield takes from target's metadata item the combined hashes of the images
// that source replaces, but for those that source's item of the same file has.
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

// free is a key for an item of source that no entry has: its own, or one with
// the start of its hash.
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

// verify clears every combined hash that neither version told for the two
// files that a client would now combine, and drops the metadata items of
// target that have no image left.
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

// take puts what source says of the same file over what target says.
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
		e.clear(3) // clients would read target's combined_rootxz_sha256 before it
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

// item is the item with a key, nil without one.
func (v *version) item(key string) *item {
	for i := range v.items {
		if v.items[i].key == key {
			return &v.items[i]
		}
	}
	return nil
}

// like is the first item that is the same file as d, and is not in used.
func (v *version) like(d *item, used map[*item]bool) *item {
	for i := range v.items {
		if s := &v.items[i]; s.same(d) && !used[s] {
			return s
		}
	}
	return nil
}
