package publish

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"example.com/publish/publish/tombstone"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Shared is a file of a revoked image that stays, because an image that is not
// revoked names it, too.
type Shared struct {
	Path    string `json:"path"`
	SHA256  string `json:"sha256"`
	Product string `json:"product"` // of the image that keeps it
	Version string `json:"version"`
}

// holder is a tree that may have what is to be revoked: production, staging
// or a kept generation.
type holder struct {
	name    string
	rows    map[string]tree.Row // own ones, by path, without what is redacted
	carried map[string]tree.Row
	cat     *catalog.Catalog
	drop    map[int]bool // of cat.Images
	loses   map[int]bool // of cat.Images: those that make no image, and lose some of their items
	// dead are versions of which an image was revoked before: what is left of
	// them keeps nothing for others.
	dead map[owner]bool
}

// hollow reports whether nothing of an image is there.
func (h *holder) hollow(i catalog.Image) bool {
	return !slices.ContainsFunc(i.Paths, func(p string) bool { return h.rows[p].Size > 0 })
}

// selection is what a revoke is about. A fingerprint, a product and a version
// mean images, in whatever tree bears them; a path means the one content that
// it has, and with it every image that needs that content. What clients skip
// counts as everything else; but where items make no image, a path means its
// content alone, and the others go from the indexes with it.
type selection struct {
	r        *Repo
	holders  []*holder
	contents map[string]bool // named by path or by their own sha256
	sums     map[string]bool // what is to go
	revoked  []Revoked
	unnamed  []Named // versions that go, and of which nothing is there
	emptied  bool    // production has some of those
	kept     []Shared
}

// selectContent works out what to revoke. It is empty when all of it was
// revoked before.
func (r *Repo) selectContent(ctx context.Context, s *state, what []string) (*selection, error) {
	sel := &selection{r: r, contents: map[string]bool{}, sums: map[string]bool{}}
	graves, err := r.graveyard()
	if err != nil {
		return nil, err
	}
	if err := sel.look(ctx, s, graves); err != nil {
		return nil, err
	}
	for _, text := range what {
		w := catalog.ParseWhat(text)
		found, err := sel.match(ctx, w)
		if err != nil {
			return nil, err
		}
		if !found && !graves.Has(w) {
			return nil, notFound("publish stage list, publish diff N production, and the paths that production serves tell what there is; nothing was revoked",
				"%s: is neither in production, nor in staging, nor in a kept generation", w)
		}
	}
	for _, h := range sel.holders {
		for n, i := range h.cat.Images {
			if !slices.ContainsFunc(i.Paths, func(p string) bool { return sel.contents[h.rows[p].SHA256] }) {
				continue
			}
			if i.Fingerprint != "" {
				h.drop[n] = true
			} else if !h.drop[n] {
				h.loses[n] = true
			}
		}
	}
	return sel, sel.settle()
}

// look reads the trees: production, staging, and the kept ones, newest first.
func (sel *selection) look(ctx context.Context, s *state, graves *tombstone.Graveyard) error {
	r := sel.r
	generation := func(name string, m *Manifest, dir string) error {
		cat, err := stage.ReadCatalog(ctx, dir, r.format)
		if err != nil {
			return err
		}
		h := &holder{name: name, rows: map[string]tree.Row{}, carried: map[string]tree.Row{}}
		for _, row := range m.Own {
			if !graves.Redacted(m.Generation, row) {
				h.rows[row.Path] = row
			}
		}
		for _, c := range m.Carried {
			if !graves.Redacted(m.Generation, c.Row) {
				h.carried[c.Path] = c.Row
			}
		}
		// Of a redacted tree the indexes still name what it had.
		here, unnamed := *cat, graves.Unnamed(m.Generation)
		h.dead = map[owner]bool{}
		here.Images = slices.DeleteFunc(slices.Clone(cat.Images), func(i catalog.Image) bool {
			missing := slices.ContainsFunc(i.Paths, func(p string) bool { _, ok := h.rows[p]; return !ok })
			if missing {
				h.dead[owner{i.Product, i.Version}] = true
			}
			if i.Fingerprint == "" { // the rest of it can still be revoked
				return h.hollow(i) && (missing || unnamed[i.Of()])
			}
			return missing
		})
		here.Items = slices.DeleteFunc(slices.Clone(cat.Items), func(i catalog.Item) bool { _, ok := h.rows[i.Path]; return !ok })
		h.cat = &here
		sel.holders = append(sel.holders, h)
		return nil
	}
	current := 0
	if s.current != nil {
		current = s.current.Generation
		if err := generation("production", s.current.Manifest, s.current.Dir); err != nil {
			return err
		}
	}
	staged, err := r.Stage.Peek(ctx)
	if err != nil {
		return err
	}
	h := &holder{name: "staging", rows: map[string]tree.Row{}, carried: map[string]tree.Row{}, cat: staged.Catalog}
	for _, row := range staged.Rows {
		h.rows[row.Path] = row
	}
	sel.holders = append(sel.holders, h)
	kept, err := r.kept(current)
	if err != nil {
		return err
	}
	for _, n := range slices.Backward(kept) {
		if n == current {
			continue
		}
		m, err := r.manifest(n)
		if err != nil {
			// No reason to leave production as it is: what goes is looked
			// for there by its bytes.
			r.opt.Warn(fmt.Sprintf("generation %d was not searched for names: %v", n, err))
			continue
		}
		if err := generation(fmt.Sprintf("generation %d", n), m, r.path("generations", number(n))); err != nil {
			return err
		}
	}
	for _, h := range sel.holders {
		h.drop, h.loses = map[int]bool{}, map[int]bool{}
	}
	return nil
}

// match marks what one word means, and reports whether there is any.
func (sel *selection) match(ctx context.Context, what catalog.What) (bool, error) {
	found := false
	for _, h := range sel.holders {
		for n, i := range h.cat.Images {
			if what.Image(i) {
				h.drop[n], found = true, true
			}
		}
	}
	if found {
		return true, nil
	}
	where := map[string][]string{} // trees, by content
	for _, h := range sel.holders {
		format := catalog.Within(sel.r.format, h.cat.Documents)
		for _, rows := range []map[string]tree.Row{h.rows, h.carried} {
			for p, row := range rows {
				if !what.Path(p) && !what.Hash(row.SHA256) {
					continue
				}
				switch {
				case format.Class(p) == catalog.Index:
					return false, refuse("name the images that it lists", "%s: is an index, not content", p)
				case row.Role == catalog.Link:
					return false, refuse("revoke the file that it leads to", "%s: is a link", p)
				case row.Size == 0:
					return false, refuse("take it out of staging, and promote", "%s: is empty: there is nothing in it to revoke", p)
				}
				where[row.SHA256] = append(where[row.SHA256], h.name)
			}
		}
	}
	if len(where) == 0 {
		return sel.orphan(ctx, what.String())
	}
	if len(where) > 1 {
		var list []string
		for _, sum := range slices.Sorted(maps.Keys(where)) {
			list = append(list, fmt.Sprintf("%s (%s)", sum[:16], strings.Join(slices.Compact(where[sum]), ", ")))
		}
		return false, refuse("give the digits instead of the path", "%s: has more than one content: %s", what, strings.Join(list, "; "))
	}
	for sum := range where {
		sel.contents[sum] = true
	}
	return true, nil
}

// orphan finds a file of staging that no promote would publish.
func (sel *selection) orphan(ctx context.Context, what string) (bool, error) {
	p, _, ok := catalog.Clean(what)
	if !ok || p != what {
		return false, nil
	}
	row, ok, err := sel.r.Stage.Row(ctx, p)
	if !ok || err != nil {
		return false, err
	}
	for _, h := range sel.holders {
		if h.name == "staging" {
			h.carried[p] = row
		}
	}
	sel.contents[row.SHA256] = true
	return true, nil
}

// owner is an image's name.
type owner struct{ product, version string }

// settle tells what goes from what has to stay: content that an image outside
// the selection needs is kept for it, wherever that image is.
func (sel *selection) settle() error {
	goes, stays := map[string]Revoked{}, map[string]owner{}
	for _, h := range sel.holders {
		sel.settleImages(h, goes, stays)
		for _, rows := range []map[string]tree.Row{h.rows, h.carried} {
			for _, p := range slices.Sorted(maps.Keys(rows)) {
				if sel.contents[rows[p].SHA256] {
					sel.goes(goes, rows[p], owner{}, "")
				}
			}
		}
	}
	delete(stays, "") // of files that are missing
	for sum, c := range goes {
		if o, ok := stays[sum]; ok {
			sel.kept = append(sel.kept, Shared{c.Path, sum, o.product, o.version})
			continue
		}
		sel.sums[sum] = true
		sel.revoked = append(sel.revoked, c)
	}
	slices.SortFunc(sel.unnamed, func(a, b Named) int {
		return cmp.Or(cmp.Compare(a.Product, b.Product), cmp.Compare(a.Version, b.Version))
	})
	slices.SortFunc(sel.kept, func(a, b Shared) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(sel.revoked, func(a, b Revoked) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.SHA256, b.SHA256)) })
	return sel.complete(stays)
}

// settleImages is settle for the images and items of one tree.
func (sel *selection) settleImages(h *holder, goes map[string]Revoked, stays map[string]owner) {
	type named struct {
		owner
		path string
	}
	touched, keeps, needed := map[owner]bool{}, map[owner]bool{}, map[named]bool{}
	for n, i := range h.cat.Images {
		o := owner{i.Product, i.Version}
		if h.drop[n] {
			touched[o] = true
		} else {
			keeps[o] = true
		}
		for _, p := range i.Paths {
			needed[named{o, p}] = true
			switch row := h.rows[p]; {
			case h.drop[n], h.loses[n] && sel.contents[row.SHA256]:
				sel.goes(goes, row, o, i.Fingerprint)
			case !h.loses[n] && !(i.Fingerprint == "" && h.dead[o]):
				stays[row.SHA256] = o
			}
		}
	}
	for _, i := range h.cat.Items {
		o, row := owner{i.Product, i.Version}, h.rows[i.Path]
		switch {
		case touched[o] && !keeps[o]: // the version goes whole
			sel.goes(goes, row, o, "")
		case needed[named{o, i.Path}]: // told above
		case sel.contents[row.SHA256]: // an item that no image needs
			sel.goes(goes, row, o, "")
		case !touched[o] && !(h.dead[o] && !keeps[o]):
			stays[row.SHA256] = o
		}
	}
	for n, i := range h.cat.Images {
		o := owner{i.Product, i.Version}
		if v := (Named{Product: i.Product, Version: i.Version}); h.drop[n] && !keeps[o] && h.hollow(i) {
			sel.emptied = sel.emptied || h.name == "production"
			if !slices.Contains(sel.unnamed, v) {
				sel.unnamed = append(sel.unnamed, v)
			}
		}
	}
}

func (sel *selection) goes(goes map[string]Revoked, row tree.Row, o owner, fingerprint string) {
	if was, ok := goes[row.SHA256]; row.Size > 0 && (!ok || was.Product == "" && o.product != "") {
		goes[row.SHA256] = Revoked{Path: row.Path, SHA256: row.SHA256, Bytes: row.Size, Product: o.product, Version: o.version, Fingerprint: fingerprint}
	}
}

// complete refuses a selection that would leave an image where it is: one of
// which every file belongs to another image, too.
func (sel *selection) complete(stays map[string]owner) error {
	for _, h := range sel.holders {
		for n, i := range h.cat.Images {
			if !h.drop[n] || slices.ContainsFunc(i.Paths, func(p string) bool { return sel.sums[h.rows[p].SHA256] }) {
				continue
			}
			for _, p := range i.Paths {
				if o, ok := stays[h.rows[p].SHA256]; ok {
					return refuse("revoke that, too, or name the file: its path stands for every image that needs it",
						"%s/%s: has no file of its own; %s belongs to %s/%s as well", i.Product, i.Version, path.Base(p), o.product, o.version)
				}
			}
		}
	}
	return nil
}
