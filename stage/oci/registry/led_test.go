package registry

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// Behind a proxy nobody can say where a name leads, but addresses are refused.
func TestLedAway(t *testing.T) {
	f := newFake(t)
	f.tag("v1", f.image("linux/amd64", "layer"))
	for name, wrong := range map[string]http.HandlerFunc{
		"a redirect to the metadata of a cloud": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest?secret", http.StatusFound)
		},
		"a redirect to this machine": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://localhost:6379/secret", http.StatusFound)
		},
		"a server of tokens at a private address": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://10.0.0.1/secret",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		},
	} {
		f.does(func(w http.ResponseWriter, r *http.Request, right http.Handler) {
			if strings.Contains(r.URL.String(), "secret") {
				t.Errorf("%s: is followed", name)
			}
			wrong(w, r)
		})
		proxied := func(_ *Options, s *Settings) {
			s.Endpoints, s.Proxy = []string{"http://" + host}, strings.Replace(f.url, "//", "//me:password@", 1)
		}
		_, _, err := copying(t, asking(f, proxied), newStore(t), host+"/a/b:v1")
		t.Run(name, func(t *testing.T) { wantFailure(t, err, catalog.Unreachable, false, "which is a") })
	}
	gone := httptest.NewServer(f)
	gone.Close()
	_, _, err := copying(t, asking(f, func(_ *Options, s *Settings) {
		s.Endpoints, s.Proxy = []string{"http://" + host}, strings.Replace(gone.URL, "//", "//me:secret@", 1)
	}), newStore(t), host+"/a/b:v1")
	wantFailure(t, err, catalog.Unreachable, true)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("%v: tells a password", err)
	}
}
