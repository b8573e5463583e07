package serve

import (
	"compress/gzip"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// slice is the part of a text that a Content-Range names.
func slice(text, header string) (string, error) {
	var from, to, of int
	if _, err := fmt.Sscanf(header, "bytes %d-%d/%d", &from, &to, &of); err != nil || of != len(text) || from > to ||
		to >= of {
		return "", fmt.Errorf("Content-Range %q of %d bytes (%w)", header, len(text), err)
	}
	return text[from : to+1], nil
}

// right says what is wrong with an answer to a request for a text; nil for nothing.
func right(res *http.Response, text string) error {
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	coding := res.Header.Get("Content-Encoding")
	if res.StatusCode == http.StatusPartialContent && coding != "" {
		return fmt.Errorf("a part of a %s", coding)
	}
	got := string(body)
	switch res.StatusCode {
	case http.StatusNotModified, http.StatusPreconditionFailed:
		if got != "" {
			return fmt.Errorf("has a body: %.40q", got)
		}
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		return nil // with a line for people
	case http.StatusPartialContent:
		kind, params, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
		if err != nil || kind != "multipart/byteranges" {
			want, err := slice(text, res.Header.Get("Content-Range"))
			if err == nil && got != want {
				err = fmt.Errorf("%s: %.40q", res.Header.Get("Content-Range"), got)
			}
			return err
		}
		for parts := multipart.NewReader(strings.NewReader(got), params["boundary"]); ; {
			p, err := parts.NextPart()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			data, err := io.ReadAll(p)
			if err != nil {
				return err
			}
			if want, err := slice(text, p.Header.Get("Content-Range")); err != nil || string(data) != want {
				return fmt.Errorf("%s: %.40q (%w)", p.Header.Get("Content-Range"), data, err)
			}
		}
	case http.StatusOK:
		in := io.Reader(strings.NewReader(got))
		takes := strings.ToLower(res.Request.Header.Get("Accept-Encoding"))
		if coding != "" && !strings.Contains(takes, coding) && !strings.Contains(takes, "*") {
			return fmt.Errorf("%s, which nobody asked for", coding)
		}
		switch coding {
		case "gzip":
			if in, err = gzip.NewReader(in); err != nil {
				return err
			}
		case "zstd":
			z, err := zstd.NewReader(in)
			if err != nil {
				return err
			}
			defer z.Close()
			in = z
		}
		plain, err := io.ReadAll(in)
		if err == nil && string(plain) != text {
			err = fmt.Errorf("%d bytes are another text", len(plain))
		}
		return err
	}
	return fmt.Errorf("status %d", res.StatusCode)
}

// Whatever a client says of ranges, codings and what it has, an answer is right: all of the
// text, a part that is what its header says, or none.
func FuzzAnswers(f *testing.F) {
	w := streams(f, "symlink")
	content := strings.Repeat("0123456789", 40)
	path := w.image("20260101", content)
	const catalog = "streams/v1/images.json"
	small, err := os.ReadFile(filepath.Join(w.dir, "staging", catalog))
	w.no(err)
	w.write(catalog, string(small)+strings.Repeat(" ", minPacked))
	w.promote()
	w.keep()
	v, err := w.server.keeper.fresh(f.Context())
	w.no(err)
	defer v.release()
	text, err := os.ReadFile(filepath.Join(w.dir, "production", catalog))
	w.no(err)
	w.no(v.documents[catalog].pack(v, w.server.config.Compress))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	if v.documents[catalog].choose(r) == nil {
		f.Fatal("the catalog is not compressed")
	}
	for _, seed := range [][4]string{
		{"bytes=0-5", "gzip", "", ""}, {"bytes=-1,0-0,3-", "zstd;q=0, *", `"x", W/"y"`, ""},
		{"bytes=5-1", "*;q=0", "*", `"x"`},
		{"", "x-gzip, br;q=1.0", "", ""}, {"items=0-5", "gzip", "", ""}, {"bytes=-0,1-2", "", "", ""},
		{"bytes=-00", "gzip", "", ""}, {"bytes=0-", "zstd, gzip", "", "Mon, 02 Jan 2006 15:04:05 GMT"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	handler := w.server.Public()
	f.Fuzz(func(t *testing.T, ranges, codings, has, condition string) {
		for p, want := range map[string]string{path: content, catalog: string(text)} {
			r := httptest.NewRequest(http.MethodGet, "/"+p, nil)
			for name, value := range map[string]string{"Range": ranges, "Accept-Encoding": codings, "If-None-Match": has,
				"If-Range": condition} {
				if value != "" {
					r.Header[name] = []string{value}
				}
			}
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, r)
			res := answer.Result()
			res.Request = r
			if err := right(res, want); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
	})
}
