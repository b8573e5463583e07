package registry

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lazyregexp"
)

// What a list of tags may be. The largest that are known have some ten thousand tags, and
// pages of a hundred.
const (
	maxTagPages = 2000
	maxTagBytes = 32 << 20 // of all pages
	maxTags     = 200_000
)

// tagForm is what a tag is (distribution-spec, "Pulling manifests").
var tagForm = lazyregexp.New(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

var _ catalog.TagLister = (*Registry)(nil)

// Tags implements [catalog.TagLister]. It follows the pages as the registry cuts them, and
// asks for no size of them: some refuse one that they find too large.
func (g *Registry) Tags(ctx context.Context, r catalog.Remote) (out []string, err error) {
	s, err := g.source(r)
	if err != nil {
		return nil, err
	}
	q := question{kind: "tags", ref: "list", header: http.Header{"Accept": {"application/json"}}}
	left := int64(maxTagBytes)
	seen, asked := map[string]bool{}, map[string]bool{"": true}
	for range maxTagPages {
		list, n, next, err := s.tagPage(ctx, q, left)
		if err != nil {
			return nil, err
		}
		left -= n
		for _, tag := range list {
			if !seen[tag] && tagForm.MatchString(tag) {
				seen[tag] = true
				out = append(out, tag)
			}
		}
		switch {
		case len(out) > maxTags:
			return nil, s.failed(catalog.OverLimit, "has more than %d tags", maxTags)
		case next == "":
			return out, nil
		}
		u, err := url.Parse(next) // it names a host: only what stands behind the ? is believed
		if err != nil || u.RawQuery == "" || asked[u.RawQuery] {
			return nil, s.failed(catalog.WrongType, "the list of tags has no next page")
		}
		q.query, asked[u.RawQuery] = u.RawQuery, true
	}
	return nil, s.failed(catalog.OverLimit, "the list of tags has more than %d pages", maxTagPages)
}

// tagPage gets a page of at most so many bytes. A login page, or what a proxy says, may come
// once.
func (s *source) tagPage(ctx context.Context, q question, most int64) (tags []string, n int64, next string, err error) {
	for try := 1; ; try++ {
		resp, err := s.ask(ctx, q)
		if err != nil {
			return nil, 0, "", err
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
		_ = resp.Body.Close()
		if err != nil {
			return nil, 0, "", err
		}
		if int64(len(data)) > most {
			return nil, 0, "", s.failed(catalog.OverLimit, "the list of tags has more than %d bytes", maxTagBytes)
		}
		var page map[string]json.RawMessage
		if json.Unmarshal(data, &page) == nil && page["tags"] != nil && json.Unmarshal(page["tags"], &tags) == nil {
			return tags, int64(len(data)), nextPage(resp.Header), nil // some say null for none
		}
		if try == tries {
			return nil, 0, "", s.failed(catalog.WrongType, "the list of tags is no such list, but %s",
				catalog.Show(http.DetectContentType(data)))
		}
	}
}

// Tagged implements [catalog.TagLister].
func (g *Registry) Tagged(r catalog.Remote, tag string) (catalog.Remote, error) {
	n, err := parse(r.Name + ":" + tag)
	if err == nil && (n.Name != r.Name || n.tag != tag) {
		err = catalog.Usage("", "%s: is no tag", shown(tag))
	}
	n.Text = n.Canonical
	return n.Remote, err
}
