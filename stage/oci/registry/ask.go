package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"

	"example.com/publish/stage/catalog"
)

// What a registry has below the name of a repository.
const (
	manifests = "manifests"
	blobs     = "blobs"
	referrers = "referrers"
)

// question is a request to whichever endpoint can answer it.
type question struct {
	method string // "": GET
	kind   string // such as manifests
	ref    string // a digest or a tag
	query  string // of a further page
	header http.Header
	good   []int // the status of an answer; none: 200
}

// ask asks the endpoints in turn, from the one on that answered last. The error is that of
// the last one of all: those before it are copies that may lack something.
func (s *source) ask(ctx context.Context, q question) (*http.Response, error) {
	n := len(s.endpoints)
	errs := make([]error, n)
	first := int(s.at.Load())
	for i := range n {
		at := (first + i) % n
		resp, err := s.askAt(ctx, &s.endpoints[at], q)
		if err == nil {
			s.at.Store(int32(at))
			return resp, nil
		}
		if ctx.Err() != nil || !errors.As(err, new(*catalog.RemoteError)) {
			return nil, err
		}
		errs[at] = err
	}
	return nil, errs[n-1]
}

// fewUses is how often a request is sent anew that gets 401 while others of the same image
// are let in: a token may be good for few uses, and those used it up.
const fewUses = 10

// askAt asks one endpoint.
func (s *source) askAt(ctx context.Context, e *endpoint, q question) (*http.Response, error) {
	u, err := url.Parse(e.base + "/" + s.path + "/" + q.kind + "/" + q.ref)
	if err != nil {
		return nil, err
	}
	u.RawQuery = q.query
	method := q.method
	if method == "" {
		method = http.MethodGet
	}
	ctx = auth.AppendScopesForHost(ctx, e.host, auth.ScopeRepository(path.Join(e.within, s.path), auth.ActionPull))
	for try := 1; ; try++ {
		before := s.let.Load()
		r, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
		if err != nil {
			return nil, err
		}
		r.Header = q.header.Clone()
		if r.Header == nil {
			r.Header = http.Header{}
		}
		resp, err := s.client.Do(r)
		if err != nil {
			return nil, s.fault(ctx, method, u, err)
		}
		if resp.StatusCode == http.StatusOK && len(q.good) == 0 || slices.Contains(q.good, resp.StatusCode) {
			s.let.Add(1)
			return resp, nil
		}
		err = s.answered(e, resp)
		_ = resp.Body.Close()
		others := s.let.Load() > before || try == 1 && before > 0
		if resp.StatusCode != http.StatusUnauthorized || try == fewUses || !others {
			return nil, err
		}
	}
}

// answer is a document as it came.
type answer struct {
	data      []byte
	digest    catalog.Digest
	mediaType string // as the header says; "" for none
}

// accepted are the documents that are asked for.
var accepted = strings.Join([]string{ociIndex, ociManifest, dockerList, dockerManifest, "application/json;q=0.5",
	"*/*;q=0.1"}, ", ")

// document gets a manifest. It reads no more than the limit.
func (s *source) document(ctx context.Context, q question) (data []byte, resp *http.Response, err error) {
	q.header = http.Header{"Accept": {accepted}}
	if resp, err = s.ask(ctx, q); err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.ContentLength <= s.limits.Manifest {
		data, err = io.ReadAll(io.LimitReader(resp.Body, s.limits.Manifest+1))
	}
	if err == nil && max(resp.ContentLength, int64(len(data))) > s.limits.Manifest {
		err = s.failed(catalog.OverLimit, "the manifest %s has more than %d bytes", q.ref, s.limits.Manifest)
	}
	return data, resp, err
}
