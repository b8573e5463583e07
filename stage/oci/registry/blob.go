package registry

import (
	"context"
	"io"
	"net/http"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/remote"
)

// content is something that comes, by its descriptor.
type content struct {
	digest    catalog.Digest
	size      int64
	mediaType string
	kinds     []string // where the registry has it: the first that does not say 404
}

// get is how a [catalog.Store] gets a content. What the server sends past the size is not
// read. An answer with other bytes than those that were asked for is not used: it is asked
// for again, whole.
func (s *source) get(c content) func(ctx context.Context, from int64) (io.ReadCloser, int64, error) {
	return func(ctx context.Context, from int64) (io.ReadCloser, int64, error) {
		if from < 0 || from >= c.size || c.kinds[0] == manifests {
			from = 0
		}
		for try := 1; ; try++ {
			resp, err := s.open(ctx, c, from)
			if err != nil {
				return nil, 0, err
			}
			first, fact := remote.Placed(resp, from, c.size)
			if fact == "" {
				return remote.Bounded(resp.Body, c.size-first), first, nil
			}
			_ = resp.Body.Close()
			if from == 0 && try >= tries {
				return nil, 0, s.failed(catalog.WrongDigest, "%s: %s", c.digest, fact)
			}
			from = 0
		}
	}
}

// open asks for a content.
func (s *source) open(ctx context.Context, c content, from int64) (resp *http.Response, err error) {
	q := question{ref: c.digest.String(), header: http.Header{"Accept": {"*/*"}}, good: []int{http.StatusOK}}
	if from > 0 {
		remote.AskFrom(q.header, from)
		q.good = append(q.good, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
	}
	for _, q.kind = range c.kinds {
		if q.kind == manifests {
			q.header.Set("Accept", accepted)
		}
		if resp, err = s.ask(ctx, q); !missing(err) {
			break
		}
	}
	return resp, err
}
