package registry

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// A blob that fails in a way that may pass keeps no other from coming; a server on which all
// fails is left alone.
func TestOthersCome(t *testing.T) {
	f := newFake(t)
	var layers []string
	for i := range 40 {
		layers = append(layers, "layer "+ofSize(i))
	}
	f.tag("v1", f.image("linux/amd64", layers...))
	bad := f.blob(layerType, layers[3])
	f.does(once(always, bad.digest(), code(500)))
	to := newStore(t)
	_, _, err := copying(t, asking(f), to, host+"/a/b:v1")
	wantFailure(t, err, catalog.Unreachable, true, "500")
	if len(to.have) != 41 {
		t.Errorf("%d contents came", len(to.have))
	}
	f.does(once(always, "/blobs/", code(500)))
	to = newStore(t)
	_, _, err = copying(t, asking(f, func(o *Options, _ *Settings) { o.Blobs = 1 }), to, host+"/a/b:v1")
	wantFailure(t, err, catalog.Unreachable, true, "500")
	if n := f.asked("GET /v2/a/b/blobs/"); n > 2*(40+5) {
		t.Errorf("%d requests", n)
	}
}

func TestUnreachable(t *testing.T) {
	f := newFake(t)
	f.tag("v1", f.image("linux/amd64", "layer"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + l.Addr().String()
	_ = l.Close()
	point := func(urls ...string) func(*Options, *Settings) {
		return func(_ *Options, s *Settings) { s.Endpoints = urls }
	}
	_, _, err = copying(t, asking(f, point(gone)), newStore(t), host+"/a/b:v1")
	wantFailure(t, err, catalog.Unreachable, true, "connection refused", gone)
	_, _, err = copying(t, asking(f, point(strings.Replace(f.url, "http:", "https:", 1))), newStore(t), host+"/a/b:v1")
	wantFailure(t, err, catalog.BadTLS, false)

	secure := httptest.NewUnstartedServer(f)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	_, _, err = copying(t, asking(f, point(secure.URL)), newStore(t), host+"/a/b:v1")
	wantFailure(t, err, catalog.BadTLS, false, "certificate")
	for name, set := range map[string]func(*Options, *Settings){
		"insecure": func(_ *Options, s *Settings) { s.Endpoints, s.Insecure = []string{secure.URL}, true },
		"ca": func(_ *Options, s *Settings) {
			s.Endpoints, s.CA = []string{secure.URL}, certificate(secure)
		},
		"the second endpoint":  point(gone, f.url),
		"one that lacks it":    point(newFake(t).url, f.url),
		"a path":               point(f.url + "/some/where"),
		"a path after v2":      point(f.url + "/v2/proxy"),
		"three, the last gone": point(secure.URL, f.url, gone),
	} {
		if _, _, err := copying(t, asking(f, set), newStore(t), host+"/a/b:v1"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f.asked("/some/where/v2/a/b/manifests/v1") != 2 || f.asked("GET /v2/proxy/a/b/manifests/v1") != 1 {
		t.Error("the paths of endpoints are not asked for")
	}
	for _, bad := range []string{"ftp://x", "mirror.example.com", "https://", "https://me:secret@x", "https://x?y",
		"://"} {
		_, _, err := copying(t, asking(f, point(bad)), newStore(t), host+"/a/b:v1")
		if usage := new(catalog.UsageError); !errors.As(err, &usage) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", bad, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	g := asking(f)
	r, _ := g.Parse(host + "/a/b:v1")
	if _, err := g.Pin(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
