package oracle

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
)

// Cached is a client that keeps one document and asks again only whether it
// has changed, by the validators that the server gave it: as a proxy does.
type Cached struct {
	URL   string
	Body  []byte
	ByTag bool // ask by the entity tag, not by the date

	etag, modified string
}

// Refresh asks. Whatever the answer, Body is what the client now believes.
func (c *Cached) Refresh(ctx context.Context, client *http.Client) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return 0, err
	}
	// Either validator alone, as clients differ: the date is the coarser one.
	if c.ByTag && c.etag != "" {
		req.Header.Set("If-None-Match", c.etag)
	} else if !c.ByTag && c.modified != "" {
		req.Header.Set("If-Modified-Since", c.modified)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified:
	case http.StatusOK:
		if c.Body, err = io.ReadAll(resp.Body); err != nil {
			return 0, err
		}
		c.etag, c.modified = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	default:
		return resp.StatusCode, StatusError{c.URL, resp.StatusCode}
	}
	return resp.StatusCode, nil
}

// Proxy is a transport that keeps the documents, all below streams/, and each
// time they are asked for, asks whether they have changed. It is for one user
// at a time.
type Proxy struct {
	To        http.RoundTripper
	ByTag     bool
	Unchanged int // answers 304 so far

	kept map[string]*Cached
}

func (p *Proxy) RoundTrip(req *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(req.URL.Path, "/streams/") {
		return p.To.RoundTrip(req)
	}
	if p.kept == nil {
		p.kept = map[string]*Cached{}
	}
	address := req.URL.String()
	c := p.kept[address]
	if c == nil {
		c = &Cached{URL: address, ByTag: p.ByTag}
		p.kept[address] = c
	}
	status, err := c.Refresh(req.Context(), &http.Client{Transport: p.To})
	switch status {
	case http.StatusNotModified:
		p.Unchanged++
	case http.StatusOK:
	case 0:
		return nil, err
	default:
		return &http.Response{StatusCode: status, Body: http.NoBody, Request: req}, nil
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(c.Body)), Request: req}, nil
}
