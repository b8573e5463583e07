package remote

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// placedServer is an object store with the catalog of a generation, and a signature beside it.
func placedServer(t testing.TB, p publisher) (s *server, at string) {
	t.Helper()
	s = newServer(t)
	p.publish(t, s, 2, time.Time{})
	text := s.files["streams/v1/images.json"]
	place(s, text)
	for key := range s.files {
		if strings.HasPrefix(key, "streams/v1/images-") {
			at = key + besideEnd
		}
	}
	s.files[at] = string(must(p.signer.Beside(t.Context(), []byte(text)))(t))
	return s, at
}

// A signature beside a catalog that is never replaced is of this catalog by one of the keys, or is
// not there.
func TestBeside(t *testing.T) {
	p, stranger := newPublisher(t), newPublisher(t)
	by := func(p publisher, text string) string {
		return string(must(p.signer.Beside(t.Context(), []byte(text)))(t))
	}
	for name, c := range map[string]struct {
		text func(catalog string) string // what lies beside it; "": nothing
		code string                      // of the finding; "": there is none
	}{
		"good":         {func(of string) string { return by(p, of) }, ""},
		"not there":    {func(string) string { return "" }, ""},
		"a stranger":   {func(of string) string { return by(stranger, of) }, Bad},
		"of another":   {func(of string) string { return by(p, of+" ") }, Bad},
		"a login page": {func(string) string { return "<html>" }, Bad},
		"clearsigned": {func(of string) string {
			return string(must(p.signer.Inline(t.Context(), []byte(of)))(t))
		}, Bad},
		"huge": {func(string) string { return strings.Repeat("x", 2<<20) }, Large},
	} {
		s, at := placedServer(t, p)
		of := strings.TrimSuffix(at, besideEnd)
		if s.files[at] = c.text(s.files[of]); s.files[at] == "" {
			delete(s.files, at)
		}
		r := must(Verify(t.Context(), s.options(p.pgp)))(t)
		var want []string
		if c.code != "" {
			want = []string{c.code + " " + at}
		}
		if got := codes(r); !slices.Equal(got, want) || slices.Contains(r.Documents, of) != (name == "good") {
			t.Errorf("%s: %q, want %q: %+v", name, got, want, r)
		}
	}
	// Without keys of this kind nobody looks.
	s, at := placedServer(t, p)
	s.files[at] = "x"
	if r := must(Verify(t.Context(), s.options(p.mini)))(t); len(r.Findings) > 0 {
		t.Errorf("%+v", r)
	}
}

// A store may answer 403 for what it does not have. That is said of a signature alone, and another
// status is an error.
func TestBesideRefused(t *testing.T) {
	p := newPublisher(t)
	s, at := placedServer(t, p)
	of := strings.TrimSuffix(at, besideEnd)
	for _, c := range []struct {
		path   string
		status int
		good   bool
	}{{at, http.StatusForbidden, true}, {at, http.StatusGone, true}, {at, http.StatusInternalServerError, false},
		{of, http.StatusForbidden, false}} {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.TrimPrefix(r.URL.Path, "/") == c.path {
				w.WriteHeader(c.status)
				return
			}
			http.Redirect(w, r, s.URL+r.URL.Path, http.StatusFound)
		}))
		o := s.options(p.pgp)
		o.URL = front.URL
		r, err := Verify(t.Context(), o)
		if c.good != (err == nil) || err == nil && (len(r.Findings) > 0 || len(r.Documents) != 2) {
			t.Errorf("%s, %d: %+v, %v", c.path, c.status, r, err)
		}
		front.Close()
	}
}

// There is one request more for a catalog with its hash in its name, and none for another. Two names
// in the index may lead to one catalog.
func TestBesideRequests(t *testing.T) {
	p := newPublisher(t)
	s, _ := placedServer(t, p)
	plain := newServer(t)
	p.publish(t, plain, 2, time.Time{})
	plain.files["streams/v1/images.json"+besideEnd] = "x"
	twice, at := placedServer(t, p)
	more := func(path, text, more string) {
		text = strings.Replace(text, `"index": {`, `"index": {"more": {"path": "`+more+`"}, `, 1)
		if strings.HasSuffix(path, signedEnd) {
			text = string(must(p.signer.Inline(t.Context(), []byte(text)))(t))
		}
		twice.files[path] = text
	}
	more(signedIndex, strings.ReplaceAll(index, ".json", ".sjson"), "streams/v1/more.sjson")
	more(indexPath, twice.files[indexPath], strings.TrimSuffix(at, besideEnd))
	twice.files["streams/v1/more.sjson"] = twice.files["streams/v1/images.sjson"]
	for _, c := range []struct {
		s               *server
		requests, count int
	}{{plain, 4, 2}, {s, 5, 3}, {twice, 7, 4}} {
		r := must(Verify(t.Context(), c.s.options(p.pgp)))(t)
		if len(r.Findings) > 0 || c.s.requests != c.requests || len(r.Documents) != c.count {
			t.Errorf("%d requests, want %d: %+v", c.s.requests, c.requests, r)
		}
	}
}

// Right after a switch the signature may be by the former key, until it is replaced.
func TestBesideMeanwhile(t *testing.T) {
	p, former := newPublisher(t), newPublisher(t)
	s, at := placedServer(t, p)
	good := s.files[at]
	s.files[at] = string(must(former.signer.Beside(t.Context(), []byte(s.files[strings.TrimSuffix(at, besideEnd)])))(t))
	s.then = func(n int, s *server) {
		if n == 6 {
			s.files[at] = good
		}
	}
	if r := must(Verify(t.Context(), s.options(p.pgp)))(t); len(r.Findings) > 0 || len(r.Documents) != 3 {
		t.Errorf("%+v", r)
	}
}
