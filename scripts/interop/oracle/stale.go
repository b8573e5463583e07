package oracle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"sort"
	"strings"
)

// Item is a file that an index named.
type Item struct {
	Path   string
	Size   int64
	SHA256 string
}

// Snapshot is what a server's documents named at one moment: what a client may
// ask for until its window ends. It uses none of the code under test and none
// of Incus's.
type Snapshot struct {
	Server string
	Items  []Item // by path
}

// Take reads the index and the catalogs that it names.
func Take(ctx context.Context, client *http.Client, server string) (*Snapshot, error) {
	var index struct {
		Index map[string]struct{ Path string }
	}
	if err := getJSON(ctx, client, server+"/streams/v1/index.json", &index); err != nil {
		return nil, err
	}
	if len(index.Index) == 0 {
		return nil, errors.New("the index names no stream")
	}
	s := &Snapshot{Server: server}
	for _, stream := range index.Index {
		var catalog struct {
			Products map[string]struct {
				Versions map[string]struct {
					Items map[string]struct {
						Path   string
						Size   int64
						SHA256 string
					}
				}
			}
		}
		if err := getJSON(ctx, client, server+"/"+stream.Path, &catalog); err != nil {
			return nil, err
		}
		for _, product := range catalog.Products {
			for _, version := range product.Versions {
				for _, item := range version.Items {
					s.Items = append(s.Items, Item{path.Clean(item.Path), item.Size, item.SHA256})
				}
			}
		}
	}
	sort.Slice(s.Items, func(i, j int) bool { return s.Items[i].Path < s.Items[j].Path })
	return s, nil
}

// Fetch gets every item and checks its bytes; the error tells of all that
// fail.
func (s *Snapshot) Fetch(ctx context.Context, client *http.Client) error {
	var errs []error
	for _, item := range s.Items {
		if err := item.Fetch(ctx, client, s.Server); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Fetch gets one item and checks its bytes.
func (item Item) Fetch(ctx context.Context, client *http.Client, server string) error {
	body, err := get(ctx, client, server+"/"+item.Path)
	if err != nil {
		return err
	}
	defer body.Close()
	h := sha256.New()
	n, err := io.Copy(h, body)
	switch sum := hex.EncodeToString(h.Sum(nil)); {
	case err != nil:
		return fmt.Errorf("%s: %w", item.Path, err)
	case n != item.Size:
		return fmt.Errorf("%s: %d bytes, not %d", item.Path, n, item.Size)
	case sum != item.SHA256:
		return fmt.Errorf("%s: sha256 %s, not %s", item.Path, sum, item.SHA256)
	}
	return nil
}

// Lost reports whether err is only that a server no longer has files.
func Lost(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if !Lost(e) {
				return false
			}
		}
		return true
	}
	var status StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}

// StatusError is an answer other than 200.
type StatusError struct {
	URL  string
	Code int
}

func (e StatusError) Error() string { return fmt.Sprintf("%s: status %d", e.URL, e.Code) }

func get(ctx context.Context, client *http.Client, address string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = discard(resp.Body)
		return nil, StatusError{address, resp.StatusCode}
	}
	return resp.Body, nil
}

func getJSON(ctx context.Context, client *http.Client, address string, into any) error {
	body, err := get(ctx, client, address)
	if err != nil {
		return err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w: %s", address, err, strings.TrimSpace(string(data[:min(len(data), 200)])))
	}
	return nil
}

// Cached is a client that keeps one document and asks again only whether it
// has changed, by the validators that the server gave it: as a proxy does.
type Cached struct {
	URL  string
	Body []byte

	etag, modified string
}

// Refresh asks. Whatever the answer, Body is what the client now believes.
func (c *Cached) Refresh(ctx context.Context, client *http.Client) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return 0, err
	}
	// Either validator alone, as clients differ: the date is the coarser one.
	if c.modified != "" {
		req.Header.Set("If-Modified-Since", c.modified)
	} else if c.etag != "" {
		req.Header.Set("If-None-Match", c.etag)
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
