package oracle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"sort"
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
	Server    string
	Items     []Item            // by path
	Documents map[string][]byte // by path
	Torn      string            // what index and catalogs disagree about: so they are of two generations
}

// Take reads the index and the catalogs that it names.
func Take(ctx context.Context, client *http.Client, server string) (*Snapshot, error) {
	var index struct {
		Index map[string]struct {
			Path     string
			Products []string
		}
	}
	s := &Snapshot{Server: server, Documents: map[string][]byte{}}
	if err := s.read(ctx, client, "streams/v1/index.json", &index); err != nil {
		return nil, err
	}
	if len(index.Index) == 0 {
		return nil, BytesError{"streams/v1/index.json", "it names no stream"}
	}
	for name, stream := range index.Index {
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
		if err := s.read(ctx, client, stream.Path, &catalog); err != nil {
			return nil, err
		}
		has := slices.Sorted(maps.Keys(catalog.Products))
		if !slices.Equal(slices.Sorted(slices.Values(stream.Products)), has) {
			s.Torn = fmt.Sprintf("%s: the index says %v, the catalog has %v", name, stream.Products, has)
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

// read gets a document and keeps it.
func (s *Snapshot) read(ctx context.Context, client *http.Client, name string, into any) error {
	body, err := get(ctx, client, s.Server+"/"+name, "")
	if err != nil {
		return err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return BytesError{name, fmt.Sprintf("%v: %s", err, data[:min(len(data), 200)])}
	}
	s.Documents[name] = data
	return nil
}

// Fetch gets every item and checks its bytes; the error names all that
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
	var data bytes.Buffer
	if err := item.part(ctx, client, server, "", &data); err != nil {
		return err
	}
	return item.check(data.Bytes())
}

// Resume is Fetch by a client that loses its connection halfway, pauses, and
// asks for the rest.
func (item Item) Resume(ctx context.Context, client *http.Client, server string, pause func()) error {
	var data bytes.Buffer
	half := item.Size / 2
	if err := item.part(ctx, client, server, fmt.Sprintf("bytes=0-%d", half-1), &data); err != nil {
		return err
	}
	pause()
	if err := item.part(ctx, client, server, fmt.Sprintf("bytes=%d-", half), &data); err != nil {
		return err
	}
	return item.check(data.Bytes())
}

func (item Item) part(ctx context.Context, client *http.Client, server, span string, to *bytes.Buffer) error {
	body, err := get(ctx, client, server+"/"+item.Path, span)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := to.ReadFrom(body); err != nil {
		return fmt.Errorf("%s: %w", item.Path, err)
	}
	return nil
}

func (item Item) check(data []byte) error {
	if n := int64(len(data)); n != item.Size {
		return BytesError{item.Path, fmt.Sprintf("%d bytes, not %d", n, item.Size)}
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(data)); sum != item.SHA256 {
		return BytesError{item.Path, fmt.Sprintf("sha256 %s, not %s", sum, item.SHA256)}
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

// StatusError is an answer other than the one asked for.
type StatusError struct {
	URL  string
	Code int
}

func (e StatusError) Error() string { return fmt.Sprintf("%s: status %d", e.URL, e.Code) }

// BytesError is an answer with bytes that no index promised, or with half a
// document.
type BytesError struct{ Path, Fact string }

func (e BytesError) Error() string { return e.Path + ": " + e.Fact }

// get asks for a file, or for a span of it as the header Range has it.
func get(ctx context.Context, client *http.Client, address, span string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	want := http.StatusOK
	if span != "" {
		req.Header.Set("Range", span)
		want = http.StatusPartialContent
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != want {
		_ = discard(resp.Body)
		return nil, StatusError{address, resp.StatusCode}
	}
	return resp.Body, nil
}
