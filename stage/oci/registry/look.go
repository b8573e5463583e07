package registry

import (
	"context"
	"net/http"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/remote"
)

var _ catalog.Looker = (*Registry)(nil)

// Look implements [catalog.Looker]: by HEAD, which some registries do not count. Where HEAD
// fails, or its header is missing or names another digest, GET decides.
func (g *Registry) Look(ctx context.Context, r catalog.Remote, was catalog.Digest) (catalog.Digest, error) {
	r.Pinned = catalog.Digest{}
	s, err := g.source(r)
	if err != nil {
		return catalog.Digest{}, err
	}
	if s.tag == "" {
		return was, nil
	}
	resp, err := s.ask(ctx, question{method: http.MethodHead, kind: manifests, ref: s.tag,
		header: http.Header{"Accept": {accepted}}})
	if err == nil {
		_ = resp.Body.Close()
		if resp.Header.Get("Docker-Content-Digest") == was.String() {
			return was, nil
		}
	}
	if remote.Is(err, catalog.RateLimit) {
		return catalog.Digest{}, err // it must not be asked again
	}
	a, err := s.resolve(ctx, s.tag, catalog.Digest{})
	if err != nil {
		return catalog.Digest{}, err
	}
	if digestOf(was.Algorithm, a.data) == was {
		return was, nil
	}
	if _, err := s.read(a.data, a.mediaType, false); err != nil {
		return catalog.Digest{}, err
	}
	return a.digest, nil
}
