package tombstone

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Shared is a file of a revoked image that stays, because an image that is not
// revoked names it also.
type Shared struct {
	Path    string `json:"path"`
	SHA256  string `json:"sha256"`
	Product string `json:"product"` // of the image that keeps it
	Version string `json:"version"`
	Ref     string `json:"ref,omitempty"` // what people write; "" for product/version
}

// Called is what people write for the image that keeps it.
func (s Shared) Called() string { return cmp.Or(s.Ref, s.Product+"/"+s.Version) }

// Holder is a tree that may have the content to revoke: production, staging or a kept
// generation.
type Holder struct {
	Name    string              // for people
	Rows    map[string]tree.Row // its own rows by path, without redacted ones
	Carried map[string]tree.Row // its other files, without redacted ones
	Images  []catalog.Image     // those in its indexes, without revoked ones
	Items   []catalog.Item      // those in its indexes, without revoked ones
	Format  catalog.Format      // as it is in this tree: see catalog.Within
	// Dead are versions of which an image was already revoked. The rest of such a
	// version does not keep content from being revoked.
	Dead catalog.Names
}

// Production is the Name of the tree that clients read.
const Production = "production"

// NewHolder returns a tree with these rows. cat is what its indexes contain.
func NewHolder(name string, f catalog.Format, cat *catalog.Catalog, rows []tree.Row) Holder {
	h := Holder{Name: name, Rows: make(map[string]tree.Row, len(rows)), Carried: map[string]tree.Row{},
		Images: cat.Images, Items: cat.Items,
		Format: catalog.Within(f, cat.Documents), Dead: catalog.Names{}}
	for _, row := range rows {
		h.Rows[row.Path] = row
	}
	return h
}

// Holder returns the generation of a manifest. cat is what its indexes contain; it
// still names redacted files.
func (g *Graveyard) Holder(name string, f catalog.Format, cat *catalog.Catalog, m *generation.Manifest) Holder {
	h := NewHolder(name, f, cat, slices.DeleteFunc(slices.Clone(m.Own),
		func(row tree.Row) bool { return g.Redacted(m.Generation, row) }))
	for _, c := range m.Carried {
		if !g.Redacted(m.Generation, c.Row) {
			h.Carried[c.Path] = c.Row
		}
	}
	unnamed := g.Unnamed(m.Generation)
	missing := func(p string) bool { _, ok := h.Rows[p]; return !ok }
	h.Images = slices.DeleteFunc(slices.Clone(cat.Images), func(i catalog.Image) bool {
		redacted := slices.ContainsFunc(i.Paths, missing)
		if redacted {
			h.Dead[i.Of()] = true
		}
		if i.Fingerprint == "" { // keep it unless nothing is left: the rest can still be revoked
			return hollow(i, h.Rows) && (redacted || unnamed[i.Of()])
		}
		return redacted
	})
	h.Items = slices.DeleteFunc(slices.Clone(cat.Items), func(i catalog.Item) bool { return missing(i.Path) })
	return h
}

// all returns its rows: own and carried.
func (h *Holder) all() []map[string]tree.Row { return []map[string]tree.Row{h.Rows, h.Carried} }

// matching returns the rows that what names by path or hash, sorted by path. A row has
// its sha256; of what a document names by another hash, the item has that.
func (h *Holder) matching(what catalog.What, rows map[string]tree.Row) (out []tree.Row) {
	other, sha512 := map[string]bool{}, map[string]string{}
	for _, i := range h.Items {
		if i.SHA512 != "" {
			sha512[i.Path] = i.SHA512
			other[i.Path] = what.Hash(i.SHA512)
		}
	}
	for _, i := range h.Images { // a group with the digest of something that its images need
		if digest, ok := what.In(i.Product); ok {
			for _, p := range i.Paths {
				other[p] = other[p] || digest.Hash(rows[p].SHA256) || digest.Hash(sha512[p])
			}
		}
	}
	for p, row := range rows {
		if what.Path(p) || what.Hash(row.SHA256) || other[p] {
			out = append(out, row)
		}
	}
	slices.SortFunc(out, func(a, b tree.Row) int { return cmp.Compare(a.Path, b.Path) })
	return out
}

// Holds reports whether what names an image or a file of the tree.
func (h *Holder) Holds(what catalog.What) bool {
	return slices.ContainsFunc(h.Images, what.Image) ||
		slices.ContainsFunc(h.all(), func(rows map[string]tree.Row) bool { return len(h.matching(what, rows)) > 0 })
}

// Selection is the content that a revoke removes.
//
// A fingerprint, a product or a version selects images, in every tree that has them. A
// path selects the single content that it has, and every image that needs this
// content. Images that clients skip are treated like all others. If items form no
// image, a path selects only its content; the other items leave the indexes with it,
// but keep their content.
//
// The selection is empty if everything was already revoked.
type Selection struct {
	Sums    map[string]bool // the sha256 of the content to revoke
	Revoked []Revoked       // the same content, each once, sorted by path
	Unnamed []Named         // versions to revoke that have no content
	Emptied bool            // whether production names some of Unnamed
	Kept    []Shared        // files of revoked images that stay, sorted by path
}

// Empty reports whether there is nothing to revoke.
func (s *Selection) Empty() bool { return len(s.Revoked)+len(s.Unnamed) == 0 }

// Stone returns a stone for the selection, with who revokes it and why. The caller
// sets Time and Before.
func (s *Selection) Stone(who, why string) Stone {
	return Stone{Who: who, Why: why, Revoked: s.Revoked, Unnamed: s.Unnamed}
}

// Select works out what to revoke from the trees, if what is revoked. Production is
// the first tree. Content stays if an image outside the selection needs it, in any
// tree. It is an error of kind NotFound if no tree has something that what names,
// unless graves show that it was already revoked.
func Select(holders []Holder, graves *Graveyard, what ...catalog.What) (*Selection, error) {
	c := choice{contents: map[string]bool{}, goes: map[string]Revoked{}, stays: map[string]catalog.Name{}}
	for _, h := range holders {
		c.ref = func(n catalog.Name) string { return catalog.OwnRef(h.Format, n) } // the same in all
		c.blank = func(sha256 string) bool { return catalog.Blank(h.Format, sha256) }
		c.trees = append(c.trees, &choosing{Holder: h, drop: map[int]bool{}, loses: map[int]bool{}})
	}
	for _, w := range what {
		found, err := c.mark(w)
		if err != nil {
			return nil, err
		}
		if !found && !graves.Has(w) {
			return nil, &fault.Error{Kind: fault.NotFound,
				Fact: fmt.Sprintf("%s: is neither in production, nor in staging, nor in a kept generation, nor in trash", w),
				Hint: "publish list, publish list N and publish stage list show what there is; what stage remove took away " +
					"is named by its path or sha256; nothing was revoked"}
		}
	}
	for _, t := range c.trees {
		c.spread(t)
	}
	for _, t := range c.trees {
		c.settle(t)
	}
	return c.selection()
}

// choice is a selection while it is made.
type choice struct {
	trees    []*choosing
	contents map[string]bool         // sha256 of content that was named by path or by its own sha256
	goes     map[string]Revoked      // content to revoke, by sha256
	stays    map[string]catalog.Name // content that a version needs which stays, by sha256
	unnamed  []Named
	emptied  bool
	ref      func(catalog.Name) string // for records: see catalog.OwnRef
	blank    func(sha256 string) bool  // see catalog.Blanker
}

// choosing is a tree, with the images that are to be revoked.
type choosing struct {
	Holder
	drop  map[int]bool // indexes in Images: those to revoke
	loses map[int]bool // indexes in Images: those without a fingerprint that lose some of their items
}

func refuse(hint, format string, args ...any) error {
	return &fault.Error{Kind: fault.Refused, Fact: fmt.Sprintf(format, args...), Hint: hint}
}

// mark selects what one word names, and reports whether any tree has it.
func (c *choice) mark(what catalog.What) (bool, error) {
	found := false
	for _, t := range c.trees {
		for n, i := range t.Images {
			if what.Image(i) {
				t.drop[n], found = true, true
			}
		}
	}
	if found {
		return true, nil
	}
	where := map[string][]string{} // trees, by content
	for _, t := range c.trees {
		for _, rows := range t.all() {
			for _, row := range t.matching(what, rows) {
				switch {
				case t.Format.Class(row.Path) == catalog.Index:
					return false, refuse("name the images that it lists", "%s: is an index, not content", row.Path)
				case row.Role == catalog.Link:
					return false, refuse("revoke the file that it leads to", "%s: is a link", row.Path)
				case row.Size == 0:
					return false, refuse("take it out of staging, and promote",
						"%s: is empty: there is nothing in it to revoke", row.Path)
				}
				where[row.SHA256] = append(where[row.SHA256], t.Name)
			}
		}
	}
	if len(where) > 1 {
		var list []string
		for _, sum := range slices.Sorted(maps.Keys(where)) {
			list = append(list, fmt.Sprintf("%s (%s)", sum[:16], strings.Join(slices.Compact(where[sum]), ", ")))
		}
		return false, refuse("give a sha256 instead of the path", "%s: has more than one content: %s", what,
			strings.Join(list, "; "))
	}
	for sum := range where {
		c.contents[sum] = true
	}
	return len(where) > 0, nil
}

// spread selects the images of a tree that need content which was named by path or
// sha256.
func (c *choice) spread(t *choosing) {
	for n, i := range t.Images {
		switch {
		case !slices.ContainsFunc(i.Paths, func(p string) bool { return c.contents[t.Rows[p].SHA256] }):
		case i.Fingerprint != "":
			t.drop[n] = true
		case !t.drop[n]:
			t.loses[n] = true
		}
	}
}

// settle decides for one tree what is revoked, and what has to stay.
func (c *choice) settle(t *choosing) {
	type named struct {
		catalog.Name
		path string
	}
	touched, keeps, needed := catalog.Names{}, catalog.Names{}, map[named]bool{}
	for n, i := range t.Images {
		if of := i.Of(); t.drop[n] {
			touched[of] = true
		} else {
			keeps[of] = true
		}
		for _, p := range i.Paths {
			needed[named{i.Of(), p}] = true
			switch row := t.Rows[p]; {
			case t.drop[n], t.loses[n] && c.contents[row.SHA256]:
				c.leaves(row, i.Of(), i.Fingerprint)
			case !t.loses[n] && !(i.Fingerprint == "" && t.Dead[i.Of()]):
				c.stays[row.SHA256] = i.Of()
			}
		}
	}
	for _, i := range t.Items {
		of, row := i.Of(), t.Rows[i.Path]
		switch {
		case touched[of] && !keeps[of]: // the whole version is revoked
			c.leaves(row, of, "")
		case needed[named{of, i.Path}]: // decided above
		case c.contents[row.SHA256]: // an item that no image needs
			c.leaves(row, of, "")
		case !touched[of] && !(t.Dead[of] && !keeps[of]):
			c.stays[row.SHA256] = of
		}
	}
	for n, i := range t.Images {
		v := Named{Product: i.Product, Version: i.Version, Ref: c.ref(i.Of())}
		if t.drop[n] && !keeps[i.Of()] && hollow(i, t.Rows) {
			c.emptied = c.emptied || t.Name == Production
			if !slices.Contains(c.unnamed, v) {
				c.unnamed = append(c.unnamed, v)
			}
		}
	}
	for _, rows := range t.all() {
		for _, p := range slices.Sorted(maps.Keys(rows)) {
			if c.contents[rows[p].SHA256] {
				c.leaves(rows[p], catalog.Name{}, "")
			}
		}
	}
}

// leaves notes that a content is revoked. It records the first path at which the
// content was found, but prefers a path of an image. Content that says nothing stays, unless
// it was named itself: else no image that has it could be staged any more.
func (c *choice) leaves(row tree.Row, of catalog.Name, fingerprint string) {
	if c.blank(row.SHA256) && !c.contents[row.SHA256] {
		return
	}
	if was, ok := c.goes[row.SHA256]; row.Size > 0 && (!ok || was.Product == "" && of.Group != "") {
		c.goes[row.SHA256] = Revoked{Path: row.Path, SHA256: row.SHA256, Bytes: row.Size, Product: of.Group,
			Version: of.Version, Ref: c.ref(of), Fingerprint: fingerprint}
	}
}

// selection returns the content that is revoked and does not have to stay.
func (c *choice) selection() (*Selection, error) {
	s := &Selection{Sums: map[string]bool{}, Unnamed: c.unnamed, Emptied: c.emptied}
	delete(c.stays, "") // the empty hash is that of missing files
	for sum, r := range c.goes {
		if of, ok := c.stays[sum]; ok {
			s.Kept = append(s.Kept, Shared{r.Path, sum, of.Group, of.Version, c.ref(of)})
			continue
		}
		s.Sums[sum] = true
		s.Revoked = append(s.Revoked, r)
	}
	slices.SortFunc(s.Unnamed, func(a, b Named) int {
		return cmp.Or(cmp.Compare(a.Product, b.Product), cmp.Compare(a.Version, b.Version))
	})
	slices.SortFunc(s.Kept, func(a, b Shared) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(s.Revoked, func(a, b Revoked) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.SHA256, b.SHA256))
	})
	return s, c.whole(s)
}

// whole refuses a selection with an image that shares all its files with other images,
// because nothing of it would be revoked.
func (c *choice) whole(s *Selection) error {
	for _, t := range c.trees {
		for n, i := range t.Images {
			if !t.drop[n] || slices.ContainsFunc(i.Paths, func(p string) bool { return s.Sums[t.Rows[p].SHA256] }) {
				continue
			}
			for _, p := range i.Paths {
				if of, ok := c.stays[t.Rows[p].SHA256]; ok {
					hint := "revoke that image as well, or name the file by its path: that revokes every image " +
						"that needs it"
					if c.twice(i) {
						hint = "name the digest, " + i.Fingerprint + ": that revokes every image that has it"
					}
					return refuse(hint,
						"%s: has no file of its own; %s also belongs to %s", i.Called(), path.Base(p), t.Format.Ref(of))
				}
			}
		}
	}
	return nil
}

// twice reports whether an image that stays has the same fingerprint.
func (c *choice) twice(i catalog.Image) bool {
	return i.Fingerprint != "" && slices.ContainsFunc(c.trees, func(t *choosing) bool {
		for n, other := range t.Images {
			if other.Fingerprint == i.Fingerprint && !t.drop[n] {
				return true
			}
		}
		return false
	})
}
