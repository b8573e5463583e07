package serve

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"slices"
	"strings"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
)

// maxShelf is how many images the pages know, of one view. The twin has all.
const maxShelf = 20_000

// shelf has the images of a view, as pages show them. It is computed once for each view,
// when somebody asks.
type shelf struct {
	products         []product // by name
	images, versions int       // all of them
	more             bool      // than are in products
	twin             body
}

// product is a product with its versions, the newest first.
type product struct {
	name     string
	versions []version
	latest   int // of the versions: the one that clients choose; -1: they skip all
}

// version is a version with its images.
type version struct {
	name   string
	rank   int
	images []catalog.Image
}

// listed reports whether clients list an image of it.
func (v version) listed() bool {
	return slices.ContainsFunc(v.images, func(i catalog.Image) bool { return i.Skipped == "" })
}

// shelf returns the images of the view of a page.
func (s *Server) shelf(a *asked) (*shelf, error) {
	n := a.view.Generation
	return s.shelves.get(a, n, func(ctx context.Context) (*shelf, error) {
		if !a.view.acquire() { // the request may end before this
			return nil, errMoved
		}
		defer a.view.release()
		v := a.view.View
		images, versions, err := s.repo.ImagesIn(ctx, v)
		if err != nil {
			return nil, err
		}
		var buf bytes.Buffer
		z := gzip.NewWriter(&buf)
		l := lines{w: z}
		err = s.repo.EachListedIn(ctx, v, images, func(i publish.Listed) error { return l.add(i) })
		if err != nil {
			return nil, err
		}
		l.end()
		if err := z.Close(); err != nil {
			return nil, err
		}
		out := shelve(images, versions)
		out.twin = body{data: bytes.Clone(buf.Bytes()), zipped: true}
		return out, v.Proved()
	})
}

// shelve sorts images, which are sorted by product and version, into products.
func shelve(images []catalog.Image, versions []catalog.Version) *shelf {
	ranks := make(map[catalog.Name]int, len(versions))
	for _, v := range versions {
		ranks[v.Of()] = v.Rank
	}
	out := &shelf{}
	var last catalog.Name
	for n, i := range images {
		if i.Skipped == "" {
			out.images++
		}
		if of := i.Of(); n == 0 || of != last {
			last = of
			out.versions++
		}
		if n >= maxShelf {
			out.more = true
			continue
		}
		out.put(i, ranks[i.Of()])
	}
	for n := range out.products {
		p := &out.products[n]
		slices.SortStableFunc(p.versions, newer)
		p.latest = slices.IndexFunc(p.versions, version.listed)
	}
	return out
}

func (s *shelf) put(i catalog.Image, rank int) {
	if n := len(s.products); n == 0 || s.products[n-1].name != i.Product {
		s.products = append(s.products, product{name: i.Product})
	}
	p := &s.products[len(s.products)-1]
	if n := len(p.versions); n == 0 || p.versions[n-1].name != i.Version {
		p.versions = append(p.versions, version{name: i.Version, rank: rank})
	}
	v := &p.versions[len(p.versions)-1]
	v.images = append(v.images, i)
}

// newer compares versions, the newest first. Of names with a time in them clients take the
// greatest, as text; the others are in the order of the format.
func newer(a, b version) int {
	dated := func(v version) int {
		if v.images[0].Created.IsZero() {
			return 0
		}
		return 1
	}
	if d := dated(b) - dated(a); d != 0 || dated(a) == 1 {
		return cmp.Or(d, strings.Compare(b.name, a.name))
	}
	return cmp.Or(cmp.Compare(b.rank, a.rank), strings.Compare(b.name, a.name))
}

// newest are the products with the newest images, those first.
func (s *shelf) newest() []product {
	var out []product
	for _, p := range s.products {
		if p.latest >= 0 {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b product) int {
		return b.versions[b.latest].images[0].Created.Compare(a.versions[a.latest].images[0].Created)
	})
	return out[:min(newest, len(out))]
}

// imageRow is a version of a product on a page.
type imageRow struct {
	Product string
	Aliases []string
	Version string
	Skipped string // why clients skip it
	Kinds   []kindRow
	Main    []catalog.Command // the usual one
	Others  []catalog.Command
	Link    string // to all versions; "" if there is no other
	Count   int    // versions
}

// kindRow is one image of a version.
type kindRow struct {
	Type        string
	Bytes       int64
	Fingerprint string
}

// imageRow describes version n of a product. all says whether to link to the others.
func (s *Server) imageRow(a *asked, p product, n int, all bool) imageRow {
	if all {
		n = max(p.latest, 0)
	}
	v := p.versions[n]
	row := imageRow{Product: p.name, Version: v.name, Count: len(p.versions)}
	if all && len(p.versions) > 1 {
		row.Link = href(a.root, "-/images") + "?" + encodeProduct(p.name)
	}
	images := slices.SortedStableFunc(slices.Values(v.images),
		func(a, b catalog.Image) int { return cmp.Compare(a.Type, b.Type) }) // containers first
	for _, i := range images {
		if row.Aliases == nil {
			row.Aliases = i.Aliases
		}
		row.Skipped = cmp.Or(row.Skipped, i.Skipped)
		row.Kinds = append(row.Kinds, kindRow{i.Type, i.Bytes, i.Fingerprint})
		for k, c := range s.repo.Format().Commands(a.at, i, n == p.latest) {
			switch {
			case k == 0 && row.Main == nil:
				row.Main = []catalog.Command{c}
			case len(v.images) > 1:
				c.Label = strings.TrimSuffix(i.Type+", "+c.Label, ", ")
				fallthrough
			default:
				row.Others = append(row.Others, c)
			}
		}
	}
	return row
}

// imagesView is the page of images.
type imagesView struct {
	part
	Product          string // of which all versions are listed; "" for the newest of each
	Images, Versions int
	Products         int
	More             bool // see shelf
	Setup            []catalog.Command
	Rows             []imageRow
}

func (s *Server) imagesPage(a *asked) (*made, error) {
	shelf, err := s.shelf(a)
	if err != nil {
		return nil, err
	}
	p := imagesView{Product: a.query.Get("product"), Images: shelf.images, Versions: shelf.versions,
		Products: len(shelf.products), More: shelf.more, Setup: s.repo.Format().Setup(a.at)}
	title := "Images"
	if p.Product == "" {
		filter := lower(a.filter())
		found := slices.DeleteFunc(slices.Clone(shelf.products), func(p product) bool { return !p.matches(filter) })
		from, to, part := a.cut(len(found))
		p.part = part
		for _, product := range found[from:to] {
			p.Rows = append(p.Rows, s.imageRow(a, product, 0, true))
		}
	} else {
		at, ok := slices.BinarySearchFunc(shelf.products, p.Product,
			func(q product, name string) int { return strings.Compare(q.name, name) })
		if !ok {
			return nil, &publish.Error{Kind: publish.NotFound, Fact: "there is no such product"}
		}
		product := shelf.products[at]
		from, to, part := a.cut(len(product.versions))
		p.part, title = part, "Versions of "+named(p.Product)
		for n := from; n < to; n++ {
			p.Rows = append(p.Rows, s.imageRow(a, product, n, false))
		}
	}
	return &made{title, p, func() (body, error) { return shelf.twin, nil }}, nil
}

// matches reports whether a filter, in lower case, finds a product: by its name, or in its
// versions.
func (p product) matches(filter string) bool {
	if matching(filter, p.name) {
		return true
	}
	for _, v := range p.versions {
		if matching(filter, v.name) {
			return true
		}
		for _, i := range v.images {
			if matching(filter, i.Type, i.Fingerprint) || matching(filter, i.Aliases...) {
				return true
			}
		}
	}
	return false
}
