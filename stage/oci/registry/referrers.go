package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/remote"
)

// missing reports whether a registry said that it does not have something.
func missing(err error) bool { return remote.Is(err, catalog.NotFound) }

// What a list of referrers may be.
const (
	maxPages     = 100
	maxReferrers = 16 << 20 // bytes of all pages
)

// referrersOf lists what refers to a manifest: by the API, else by the tag ALGORITHM-HEX that
// clients write where there is no API (distribution-spec, "Unavailable Referrers API"). Only
// a registry that has neither has none: each other failure is one that may pass.
func (s *source) referrersOf(ctx context.Context, d catalog.Digest) ([]entry, error) {
	if !s.noAPI.Load() {
		list, ok, err := s.referrersByAPI(ctx, d)
		if ok || err != nil {
			return list, again(err)
		}
		s.noAPI.Store(true)
	}
	data, _, err := s.document(ctx, question{kind: manifests, ref: d.Algorithm + "-" + d.Hex})
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, again(err)
	}
	if digestOf(d.Algorithm, data) == d { // some registries resolve such a tag to the image itself
		return nil, nil
	}
	list, ok := listed(data)
	if !ok {
		return nil, again(s.failed(catalog.WrongType, "the list of what refers to %s is no index", d))
	}
	return list, nil
}

// again marks a failure as one that may pass.
func again(err error) error {
	remote := new(catalog.RemoteError)
	if !errors.As(err, &remote) || remote.Class == catalog.OverLimit {
		return err
	}
	out := *remote
	out.Again = true
	return &out
}

// referrersByAPI asks the API of referrers. ok is false if the registry does not have it.
func (s *source) referrersByAPI(ctx context.Context, d catalog.Digest) (out []entry, ok bool, err error) {
	q := question{kind: referrers, ref: d.String(),
		good: []int{http.StatusOK, http.StatusMethodNotAllowed, http.StatusNotImplemented}}
	left := maxReferrers
	for page := range maxPages {
		data, resp, err := s.document(ctx, q)
		if missing(err) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		list, fine := listed(data)
		switch fine = fine && resp.StatusCode == http.StatusOK; {
		case !fine && page == 0: // some registries answer with a page for people
			return nil, false, nil
		case !fine:
			return nil, false, s.failed(catalog.WrongType, "the list of what refers to %s is no index", d)
		}
		left -= len(data)
		if out = append(out, list...); len(out) > s.limits.Blobs || left < 0 {
			return nil, false, s.failed(catalog.OverLimit, "more than %d manifests refer to %s, or their list has more than "+
				"%d bytes", s.limits.Blobs, d, maxReferrers)
		}
		next := nextPage(resp.Header)
		if next == "" {
			return out, true, nil
		}
		u, err := url.Parse(next) // it names a host: only what stands behind the ? is believed
		if err != nil || u.RawQuery == "" || u.RawQuery == q.query {
			return nil, false, s.failed(catalog.WrongType, "the list of what refers to %s has no next page", d)
		}
		q.query = u.RawQuery
	}
	return nil, false, s.failed(catalog.OverLimit, "the list of what refers to %s has more than %d pages", d, maxPages)
}

// listed are the manifests of an index of referrers, without annotations.
func listed(data []byte) ([]entry, bool) {
	var list struct {
		SchemaVersion int     `json:"schemaVersion"`
		MediaType     string  `json:"mediaType"`
		Manifests     []entry `json:"manifests"`
	}
	if json.Unmarshal(data, &list) != nil || list.SchemaVersion != 2 ||
		list.MediaType != "" && list.MediaType != ociIndex {
		return nil, false
	}
	for i := range list.Manifests {
		list.Manifests[i].Annotations = nil
	}
	return list.Manifests, true
}
