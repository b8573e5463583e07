package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/remote"
	"example.com/publish/stage/simplestreams"
)

// Pin implements [catalog.Upstream], for all that a name stands for.
func (u *Upstream) Pin(ctx context.Context, r catalog.Remote) (catalog.Pin, error) {
	c, err := u.copying(catalog.FetchRequest{Remote: r}, nil)
	if err != nil {
		return catalog.Pin{}, err
	}
	sel, err := c.selected(ctx)
	if err != nil {
		return catalog.Pin{}, err
	}
	return catalog.Pin{Digest: catalog.SelectionDigest(sel.Versions), Size: bytesOf(sel.Files)}, nil
}

func bytesOf(files []catalog.Item) (sum int64) {
	for _, f := range files {
		sum += f.Size
	}
	return sum
}

// Fetch implements [catalog.Upstream]. It selects anew: the pin does not matter. If a file
// is missing everywhere, it selects once more, for the server may have dropped the version.
// What it returns is a tree.
func (u *Upstream) Fetch(ctx context.Context, req catalog.FetchRequest, to catalog.Store) (*catalog.Fetched, error) {
	c, err := u.copying(req, to)
	if err != nil {
		return nil, err
	}
	out, err := c.once(ctx)
	if c.chose && remote.Is(err, catalog.NotFound) {
		out, err = c.once(ctx)
	}
	return out, err
}

// copying is one call of Fetch.
type copying struct {
	*server
	named
	req     catalog.FetchRequest
	to      catalog.Store
	filters []filter
	limits  Limits
	files   int  // at once
	chose   bool // something was selected
}

func (u *Upstream) copying(req catalog.FetchRequest, to catalog.Store) (*copying, error) {
	n, err := parse(req.Remote.Canonical)
	if err != nil {
		return nil, err
	}
	if err := u.CheckPlatforms(req.Platforms); err != nil {
		return nil, err
	}
	filters, err := parseFilters(req.Filters)
	if err != nil {
		return nil, err
	}
	v, err := u.server(n.url)
	if err != nil {
		return nil, err
	}
	return &copying{server: v, named: n, req: req, to: to, filters: filters, limits: u.opt.Limits, files: u.opt.Files}, nil
}

// wrong makes a failure of what was asked for as a whole.
func (c *copying) wrong(f catalog.Failure, format string, args ...any) *catalog.RemoteError {
	return catalog.Failed(f, c.Host, "%s: "+format, append([]any{catalog.Show(c.Canonical)}, args...)...)
}

// selected reads the index and the catalogs, and selects.
func (c *copying) selected(ctx context.Context) (*simplestreams.Selection, error) {
	src := &source{server: c.server, ctx: ctx}
	denied := map[string]string{} // why, by product; "" for one that may come
	want := simplestreams.Want{Newest: c.req.Versions, Signed: c.signed != nil, Version: c.takes,
		Product: func(name string) bool {
			if !matches(c.product, name) {
				return false
			}
			why, known := denied[name]
			if !known && c.req.Allow != nil {
				why = c.req.Allow(prefix(c.base) + name)
			}
			denied[name] = why
			return why == ""
		}}
	if len(c.filters) > 0 {
		want.Item = func(field func(string) string) bool {
			return !slices.ContainsFunc(c.filters, func(f filter) bool { return !f.takes(field) })
		}
	}
	sel, err := simplestreams.Select(ctx, src, want)
	if err != nil {
		return nil, src.catalogued(err)
	}
	left := 0
	for name, why := range denied {
		if why == "" {
			left++
			continue
		}
		sel.LeftOut = append(sel.LeftOut, name+": may not come: "+why)
	}
	slices.Sort(sel.LeftOut)
	switch {
	case len(sel.Versions) > 0:
		return sel, nil
	case len(denied) > 0 && left == 0:
		return nil, &catalog.DeniedError{Why: sel.LeftOut[0]}
	}
	out := c.wrong(catalog.NotFound, "the server has no such version")
	if len(denied) == 0 {
		out = c.wrong(catalog.NotFound, "the server has no such product")
		out.Hint = c.offers(sel.Offered)
	} else if len(c.filters) > 0 {
		out = c.wrong(catalog.NotFound, "the server has no version of it that passes the filters")
	}
	return nil, out
}

// offers names some products of the server, first those that have the beginning of what was
// asked for.
func (c *copying) offers(all []string) string {
	if len(all) == 0 {
		return "its index lists no product of a stream of images"
	}
	begin, _, _ := strings.Cut(c.product, ":")
	begin = strings.ToLower(strings.TrimRight(begin, "*?"))
	like := slices.DeleteFunc(slices.Clone(all), func(p string) bool {
		return begin == "" || !strings.Contains(strings.ToLower(p), begin)
	})
	if len(like) == 0 {
		like = all
	}
	const some, longest = 5, 100
	text := "it has "
	for i, p := range like[:min(len(like), some)] {
		if i > 0 {
			text += ", "
		}
		text += catalog.Show(p[:min(len(p), longest)])
	}
	if len(like) > some {
		text += " and others"
	}
	return text
}

// once selects, and brings the files.
func (c *copying) once(ctx context.Context) (*catalog.Fetched, error) {
	sel, err := c.selected(ctx)
	if err != nil {
		return nil, err
	}
	out := &catalog.Fetched{Tree: true, Documents: sel.Documents, Contents: map[string]catalog.Digest{},
		Versions: sel.Versions, LeftOut: sel.LeftOut, Bytes: bytesOf(sel.Files)}
	if err := c.limited(sel.Files); err != nil {
		return nil, err
	}
	for _, v := range sel.Versions {
		if c.req.Check == nil {
			break
		}
		if err := c.req.Check(v); err != nil {
			return nil, err
		}
	}
	if c.req.Chosen != nil {
		if err := c.req.Chosen(sel.Versions); err != nil {
			return nil, err
		}
	}
	c.chose = true
	var todo []file
	var sum, largest int64
	seen := map[catalog.Digest]bool{}
	for _, f := range sel.Files {
		d := catalog.Digest{Algorithm: catalog.SHA256, Hex: f.SHA256}
		out.Contents[f.Path] = d
		if !seen[d] && !c.to.Has(d) {
			todo, sum, largest = append(todo, file{d, f.Size, f.Path}), sum+f.Size, max(largest, f.Size)
		}
		seen[d] = true
	}
	if err := c.to.Expect(sum, largest); err != nil {
		return nil, err
	}
	if err := remote.BringAll(ctx, c.files, todo, c.bring); err != nil {
		return nil, err
	}
	return out, ctx.Err()
}

// limited refuses a selection that is too large.
func (c *copying) limited(files []catalog.Item) error {
	sum := int64(0)
	for _, f := range files {
		if sum += f.Size; f.Size > c.limits.Bytes || sum > c.limits.Bytes {
			out := c.wrong(catalog.OverLimit, "what was selected has more than %d bytes", c.limits.Bytes)
			out.Hint = "limits.image in the configuration is the limit; --versions and --filter select less"
			return out
		}
	}
	if len(files) > c.limits.Files {
		out := c.wrong(catalog.OverLimit, "what was selected has %d files, more than %d", len(files), c.limits.Files)
		out.Hint = "limits.blobs in the configuration is the limit; --versions and --filter select less"
		return out
	}
	return nil
}

// file is a content that comes.
type file struct {
	digest catalog.Digest
	size   int64
	path   string
}

func (c *copying) bring(ctx context.Context, f file) error {
	err := c.to.Bring(ctx, f.digest, f.size, c.get(f))
	return remote.Stored(ctx, err, c.Host, c.base.String()+"/"+f.path, f.digest)
}

// get is how a [catalog.Store] gets a file: first from the place that had the last file.
// When it is asked again, what that place sent was cut, or wrong, so the next one is first.
// An answer with other bytes than those that were asked for is not used.
func (c *copying) get(f file) func(ctx context.Context, from int64) (io.ReadCloser, int64, error) {
	first := int(c.at.Load()) // of this file: others change at meanwhile
	return func(ctx context.Context, from int64) (io.ReadCloser, int64, error) {
		if from < 0 || from >= f.size {
			from = 0
		}
		var soon, last error // of a place that may have it later
		n := len(c.places)
		for i := range n {
			at := (first + i) % n
			body, begins, err := c.part(ctx, f, at, from)
			if err == nil {
				c.at.Store(int32(at))
				first = at + 1
				return body, begins, nil
			}
			if ctx.Err() != nil || !errors.As(err, new(*catalog.RemoteError)) {
				return nil, 0, err
			}
			if last == nil || at == n-1 {
				last = err
			}
			if !remote.Is(err, catalog.NotFound) && (soon == nil || at == n-1) {
				soon = err
			}
		}
		if soon != nil {
			return nil, 0, soon
		}
		return nil, 0, last
	}
}

// part asks one place for the bytes of a file from an offset on.
func (c *copying) part(ctx context.Context, f file, at int, from int64) (io.ReadCloser, int64, error) {
	for try := 1; ; try++ {
		header := http.Header{"Accept": {"*/*"}}
		remote.AskFrom(header, from)
		resp, err := c.ask(ctx, below(c.places[at], f.path), header)
		if err != nil {
			return nil, 0, err
		}
		first, fact := remote.Placed(resp, from, f.size)
		if fact == "" {
			return remote.Bounded(resp.Body, f.size-first), first, nil
		}
		_ = resp.Body.Close()
		if from == 0 && try >= tries {
			return nil, 0, catalog.Failed(catalog.WrongDigest, c.places[at].Host, "%s/%s: %s", c.places[at].String(),
				f.path, fact)
		}
		from = 0
	}
}
