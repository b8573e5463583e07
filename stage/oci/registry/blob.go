package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"example.com/publish/stage/catalog"
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
			first, fact := placed(resp, from, c.size)
			if fact == "" {
				return bounded{io.LimitReader(resp.Body, c.size-first), resp.Body}, first, nil
			}
			_ = resp.Body.Close()
			if from == 0 && try >= tries {
				return nil, 0, s.failed(catalog.WrongDigest, "%s: %s", c.digest, fact)
			}
			from = 0
		}
	}
}

type bounded struct {
	io.Reader
	io.Closer
}

// open asks for a content.
func (s *source) open(ctx context.Context, c content, from int64) (resp *http.Response, err error) {
	q := question{ref: c.digest.String(), header: http.Header{"Accept": {"*/*"}}, good: []int{http.StatusOK}}
	if from > 0 {
		q.header.Set("Range", fmt.Sprintf("bytes=%d-", from))
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

// placed says which byte an answer begins with, or in fact what is wrong with it.
func placed(resp *http.Response, from, size int64) (first int64, fact string) {
	switch resp.StatusCode {
	case http.StatusOK:
		if n := resp.ContentLength; n >= 0 && n != size {
			return 0, fmt.Sprintf("the server has %d bytes, and the descriptor says %d", n, size)
		}
		return 0, ""
	case http.StatusPartialContent:
		first, last, total, ok := contentRange(resp.Header.Get("Content-Range"))
		n := resp.ContentLength
		switch {
		case !ok, first != from, last >= size, total >= 0 && total != size, n >= 0 && n != last-first+1:
			return 0, "the server sends another part than the one that was asked for"
		}
		return first, ""
	}
	return 0, "the server says " + resp.Status
}
