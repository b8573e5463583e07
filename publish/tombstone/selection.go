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
}

// Holder is a tree that may have what is to be revoked: production, staging or
// a kept generation.
type Holder struct {
	Name    string              // for people
	Rows    map[string]tree.Row // its own, by path, without what is redacted
	Carried map[string]tree.Row // other files of it, likewise
	Images  []catalog.Image     // that its indexes name, without those that were revoked
	Items   []catalog.Item      // likewise
	Format  catalog.Format      // as it is in this tree: see catalog.Within
	// Dead are versions of which an image was revoked before: what is left of
	// them keeps nothing for others.
	Dead catalog.Names
}

// Production is the Name of the tree that clients read.
const Production = "production"

// NewHolder is a tree with these rows, whose indexes say cat.
func NewHolder(name string, f catalog.Format, cat *catalog.Catalog, rows []tree.Row) Holder {
	h := Holder{Name: name, Rows: make(map[string]tree.Row, len(rows)), Carried: map[string]tree.Row{},
		Images: cat.Images, Items: cat.Items,
		Format: catalog.Within(f, cat.Documents), Dead: catalog.Names{}}
	for _, row := range rows {
		h.Rows[row.Path] = row
	}
	return h
}

// Holder is the generation of a manifest, whose indexes say cat. The indexes of a
// redacted tree still name what it had.
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
		if i.Fingerprint == "" { // the rest of it can still be revoked
			return hollow(i, h.Rows) && (redacted || unnamed[i.Of()])
		}
		return redacted
	})
	h.Items = slices.DeleteFunc(slices.Clone(cat.Items), func(i catalog.Item) bool { return missing(i.Path) })
	return h
}

// all are its rows, own ones first.
func (h *Holder) all() []map[string]tree.Row { return []map[string]tree.Row{h.Rows, h.Carried} }

// matching are the rows that what names, sorted by path.
func matching(what catalog.What, rows map[string]tree.Row) (out []tree.Row) {
	for p, row := range rows {
		if what.Path(p) || what.Hash(row.SHA256) {
			out = append(out, row)
		}
	}
	slices.SortFunc(out, func(a, b tree.Row) int { return cmp.Compare(a.Path, b.Path) })
	return out
}

// Holds reports whether what names an image or a file of the tree.
func (h *Holder) Holds(what catalog.What) bool {
	return slices.ContainsFunc(h.Images, what.Image) ||
		slices.ContainsFunc(h.all(), func(rows map[string]tree.Row) bool { return len(matching(what, rows)) > 0 })
}

// Selection is what a revoke is about. A fingerprint, a product and a version
// mean images, in any tree that has them; a path means the one content that
// it has, and with it every image that needs that content. What clients skip
// counts as everything else; but where items make no image, a path means its
// content alone, and the others go from the indexes with it.
//
// It is empty when all of it was revoked before.
type Selection struct {
	Sums    map[string]bool // of what goes
	Revoked []Revoked       // the same, each once, by path
	Unnamed []Named         // versions that go, and of which nothing is there
	Emptied bool            // production names some of those
	Kept    []Shared        // what stays though a revoked image names it, by path
}

// Empty reports whether nothing goes.
func (s *Selection) Empty() bool { return len(s.Revoked)+len(s.Unnamed) == 0 }

// Stone returns the selection as a line that says who revokes it and why. The
// caller sets the time and Before.
func (s *Selection) Stone(who, why string) Stone {
	return Stone{Who: who, Why: why, Revoked: s.Revoked, Unnamed: s.Unnamed}
}

// Select works out what goes from the trees, production first, when all of what
// is revoked, and what has to stay: content that an image outside the selection
// needs is kept for it, wherever that image is. What was revoked before is in
// graves, and no reason to refuse.
func Select(holders []Holder, graves *Graveyard, what ...catalog.What) (*Selection, error) {
	c := choice{contents: map[string]bool{}, goes: map[string]Revoked{}, stays: map[string]catalog.Name{}}
	for _, h := range holders {
		c.trees = append(c.trees, &choosing{Holder: h, drop: map[int]bool{}, loses: map[int]bool{}})
	}
	for _, w := range what {
		found, err := c.mark(w)
		if err != nil {
			return nil, err
		}
		if !found && !graves.Has(w) {
			return nil, &fault.Error{Kind: fault.NotFound,
				Fact: fmt.Sprintf("%s: is neither in production, nor in staging, nor in a kept generation", w),
				Hint: "publish stage list, publish diff N production, and the paths that production serves show what " +
					"there is; nothing was revoked"}
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

// choice is a selection in the making.
type choice struct {
	trees    []*choosing
	contents map[string]bool // named by path or by their own sha256
	goes     map[string]Revoked
	stays    map[string]catalog.Name // what an image or an item that stays needs, with its name
	unnamed  []Named
	emptied  bool
}

// choosing is a tree with what goes of its images.
type choosing struct {
	Holder
	drop  map[int]bool // of Images
	loses map[int]bool // of Images: those that make no image, and lose some of their items
}

func refuse(hint, format string, args ...any) error {
	return &fault.Error{Kind: fault.Refused, Fact: fmt.Sprintf(format, args...), Hint: hint}
}

// mark notes what one word means, and reports whether there is any.
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
			for _, row := range matching(what, rows) {
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
		return false, refuse("give the digits instead of the path", "%s: has more than one content: %s", what,
			strings.Join(list, "; "))
	}
	for sum := range where {
		c.contents[sum] = true
	}
	return len(where) > 0, nil
}

// spread notes the images that need content which was named by itself.
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

// settle notes what goes from one tree, and what has to stay.
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
		case touched[of] && !keeps[of]: // the version goes whole
			c.leaves(row, of, "")
		case needed[named{of, i.Path}]: // noted above
		case c.contents[row.SHA256]: // an item that no image needs
			c.leaves(row, of, "")
		case !touched[of] && !(t.Dead[of] && !keeps[of]):
			c.stays[row.SHA256] = of
		}
	}
	for n, i := range t.Images {
		if v := (Named{Product: i.Product, Version: i.Version}); t.drop[n] && !keeps[i.Of()] && hollow(i, t.Rows) {
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

// leaves notes that a content goes, with the first path at which it was found, if
// an image has that path.
func (c *choice) leaves(row tree.Row, of catalog.Name, fingerprint string) {
	if was, ok := c.goes[row.SHA256]; row.Size > 0 && (!ok || was.Product == "" && of.Group != "") {
		c.goes[row.SHA256] = Revoked{Path: row.Path, SHA256: row.SHA256, Bytes: row.Size, Product: of.Group,
			Version: of.Version, Fingerprint: fingerprint}
	}
}

// selection is what goes and does not have to stay.
func (c *choice) selection() (*Selection, error) {
	s := &Selection{Sums: map[string]bool{}, Unnamed: c.unnamed, Emptied: c.emptied}
	delete(c.stays, "") // of files that are missing
	for sum, r := range c.goes {
		if of, ok := c.stays[sum]; ok {
			s.Kept = append(s.Kept, Shared{r.Path, sum, of.Group, of.Version})
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

// whole refuses a selection with an image that would stay whole, because every
// file of it also belongs to another image.
func (c *choice) whole(s *Selection) error {
	for _, t := range c.trees {
		for n, i := range t.Images {
			if !t.drop[n] || slices.ContainsFunc(i.Paths, func(p string) bool { return s.Sums[t.Rows[p].SHA256] }) {
				continue
			}
			for _, p := range i.Paths {
				if of, ok := c.stays[t.Rows[p].SHA256]; ok {
					return refuse("also revoke that, or name the file: its path stands for every image that needs it",
						"%s/%s: has no file of its own; %s belongs to %s/%s as well", i.Product, i.Version,
						path.Base(p), of.Group, of.Version)
				}
			}
		}
	}
	return nil
}
