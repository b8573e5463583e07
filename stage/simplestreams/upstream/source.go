package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/simplestreams"
)

// tries is how often a document is asked for that is not what it should be.
const tries = 3

// maxDocuments bounds the bytes of all documents that one selection reads.
const maxDocuments = 2 * catalog.MaxDocument

// maxSignature is what a clearsigned document may have more than the document, in bytes:
// lines that begin with a dash are escaped.
const maxSignature = 1 << 20

// source is the tree of a server as package simplestreams reads it.
type source struct {
	*server
	ctx  context.Context
	read int64 // bytes
}

var _ catalog.Source = (*source)(nil)

// Blob implements [catalog.Source]: the format reads documents only.
func (s *source) Blob(path string, _ catalog.Digest, _ int64) ([]byte, error) {
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// List implements [catalog.Source].
func (s *source) List(string) iter.Seq2[string, error] { return func(func(string, error) bool) {} }

// Document implements [catalog.Source].
func (s *source) Document(path string) ([]byte, error) {
	name := path
	if s.signed != nil {
		name = simplestreams.Format{}.Clearsigned(path)
		if name == "" {
			return nil, s.failed(catalog.BadSignature, path, "no clearsigned copy of it has a name")
		}
	}
	for try := 1; ; try++ {
		data, err := s.get(name)
		if err != nil {
			return nil, err
		}
		var wrong error
		if s.signed != nil {
			plain, _, bad := s.signed.Open(data, s.now())
			if bad != nil {
				wrong = s.failed(catalog.BadSignature, name, "%v", bad)
			}
			data = plain
		} else if looksWrong(data) {
			wrong = s.failed(catalog.WrongCatalog, name, "%s", kindOf(data))
		}
		switch {
		case wrong != nil && try == tries:
			return nil, wrong
		case wrong == nil:
			return data, nil
		}
	}
}

// looksWrong reports whether a document is no object of JSON at the first or the last look.
// Whether it is one is for package simplestreams to say.
func looksWrong(data []byte) bool {
	t := bytes.TrimSpace(data)
	return len(t) < 2 || t[0] != '{' || t[len(t)-1] != '}'
}

// kindOf says what a document is that is none.
func kindOf(data []byte) string {
	t := bytes.TrimSpace(data)
	switch {
	case len(t) == 0:
		return "is empty"
	case len(bytes.Trim(t, "\x00")) == 0:
		return fmt.Sprintf("has %d bytes of zeros", len(t))
	case t[0] == '{':
		return fmt.Sprintf("is cut after %d bytes", len(data))
	case strings.HasPrefix(http.DetectContentType(data), "text/html"):
		return "is no JSON, but a page of HTML"
	}
	return "is no JSON, but " + catalog.Show(http.DetectContentType(data))
}

// failed makes the failure of a document.
func (s *source) failed(c catalog.Failure, path, format string, args ...any) *catalog.RemoteError {
	return catalog.Failed(c, s.base.Host, "%s: "+format, append([]any{s.place(path)}, args...)...)
}

// place is where a document is, as messages have it.
func (s *server) place(path string) string { return catalog.Show(s.base.String() + "/" + path) }

// below returns the URL of a path in a tree. The path is clean, and stands for itself: of a
// percent sign in it too.
func below(base *url.URL, path string) *url.URL {
	u := *base
	u.Path += "/" + path
	return &u
}

// get gets a document.
func (s *source) get(name string) ([]byte, error) {
	limit := min(int64(catalog.MaxDocument+maxSignature), maxDocuments-s.read)
	resp, err := s.ask(s.ctx, below(s.base, name), http.Header{"Accept": {"application/json, */*;q=0.5"}})
	if failed := new(catalog.RemoteError); errors.As(err, &failed) && failed.Class == catalog.NotFound {
		out := *failed
		out.Again = !strings.HasSuffix(name, "/index.json") && !strings.HasSuffix(name, "/index.sjson")
		switch {
		case out.Again: // the index names the catalog, so that may come yet
		case s.signed != nil:
			out.Hint = "a keyring is configured for this server, so only a signed index counts"
		default:
			out.Hint = "the URL is that of the folder in which streams/v1/index.json lies"
		}
		err = &out
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var data []byte
	if resp.ContentLength <= limit {
		data, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	}
	if err != nil {
		return nil, err
	}
	if max(resp.ContentLength, int64(len(data))) > limit {
		return nil, s.failed(catalog.OverLimit, name, "has more bytes than documents may have")
	}
	s.read += int64(len(data))
	return data, nil
}

// ask sends a GET to one place. Status 200 and 206 are answers, and with a Range also 416.
func (v *server) ask(ctx context.Context, u *url.URL, header http.Header) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header = header.Clone()
	r.Header.Set("User-Agent", "publish")
	r.Header.Set("Accept-Encoding", "identity")
	resp, err := v.client.Do(r)
	if err != nil {
		return nil, v.way.Fault(ctx, http.MethodGet, u, err, nil)
	}
	ranged := r.Header.Get("Range") != ""
	switch resp.StatusCode {
	case http.StatusOK:
		return resp, nil
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		if ranged {
			return resp, nil
		}
	}
	_ = resp.Body.Close()
	return nil, v.way.Answered(resp, u.Host, "")
}

// catalogued makes a failure of the error of a document that clients cannot read. What the
// server said is returned as it is.
func (s *source) catalogued(err error) error {
	bad := new(catalog.DocumentError)
	if errors.As(err, &bad) {
		return s.failed(catalog.WrongCatalog, bad.Path, "%s", bad.Fact)
	}
	return err
}
