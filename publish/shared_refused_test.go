package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket/store"
	"example.com/publish/publish/site/bucket/storetest"
	"example.com/publish/stage/catalog"
)

// gatekeeper stands before a store, and refuses some requests as stores do.
type gatekeeper struct {
	refuse func(r *http.Request) (status int, code string) // 0: it passes
	writes atomic.Int32                                    // that passed
	next   http.Handler
}

func (g *gatekeeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.refuse != nil {
		if status, code := g.refuse(r); status != 0 {
			w.Header().Set("X-Amz-Bucket-Region", "eu-north-1")
			w.WriteHeader(status)
			if r.Method != http.MethodHead {
				_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>it says so</Message></Error>", code)
			}
			return
		}
	}
	if r.Method == http.MethodPut || r.Method == http.MethodPost && !isDelete(r) {
		g.writes.Add(1)
	}
	g.next.ServeHTTP(w, r)
}

// isDelete reports whether a request deletes objects, one or many.
func isDelete(r *http.Request) bool {
	return r.Method == http.MethodDelete || r.URL.Query().Has("delete")
}

// guarded is a store behind a gatekeeper.
func guarded(t *testing.T) (*store.Store, *gatekeeper) {
	t.Helper()
	server := storetest.Fake(t)
	server.Setenv(t)
	to, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	g := &gatekeeper{next: httputil.NewSingleHostReverseProxy(to)}
	front := httptest.NewServer(g)
	t.Cleanup(front.Close)
	opened, err := store.Open(ctx, store.Config{Bucket: server.Bucket, Prefix: "images", Endpoint: front.URL,
		Region: "us-east-1", Sleep: func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.CloseIdle)
	return opened, g
}

// always refuses those of the requests for which is holds.
func always(status int, code string, is func(r *http.Request) bool) func(*http.Request) (int, string) {
	return func(r *http.Request) (int, string) {
		if is(r) {
			return status, code
		}
		return 0, ""
	}
}

func every(*http.Request) bool  { return true }
func puts(r *http.Request) bool { return r.Method == http.MethodPut }

// A store that refuses what a promote needs ends it (exit 1) with what to set, before
// anything was uploaded. Production and staging are as before, and the next one succeeds.
func TestSharedRefusedByTheStore(t *testing.T) {
	opened, gate := guarded(t)
	m := joined(t, &machine{via: opened, who: "ada"})
	m.put(map[string]string{"a/1": "one"})
	n := m.promote().Generation
	for name, test := range map[string]struct {
		refuse func(*http.Request) (int, string)
		hint   string
	}{
		"clock":      {always(403, "RequestTimeTooSkewed", every), "clock of this machine"},
		"moved":      {always(301, "PermanentRedirect", every), "s3.region: eu-north-1"},
		"region":     {always(400, "AuthorizationHeaderMalformed", every), "s3.region: eu-north-1"},
		"no bucket":  {always(404, "NoSuchBucket", every), "make the bucket"},
		"read only":  {always(403, "AccessDenied", puts), "s3:PutObject"},
		"nothing":    {always(403, "AccessDenied", every), "s3:PutObject"},
		"old token":  {always(400, "ExpiredToken", every), "AWS_SESSION_TOKEN"},
		"wrong keys": {always(403, "SignatureDoesNotMatch", every), "AWS_SECRET_ACCESS_KEY"},
	} {
		m.put(map[string]string{"a/1": "one", "b/1": name})
		gate.refuse = test.refuse
		gate.writes.Store(0)
		_, err := m.repo().Promote(ctx, PromoteOptions{})
		e := new(Error)
		if !errors.As(err, &e) || e.Kind != Failed || !strings.Contains(e.Hint, test.hint) ||
			!strings.HasPrefix(err.Error(), "s3://") || gate.writes.Load() != 0 {
			t.Errorf("%s: %v, %+v; %d writes", name, err, e, gate.writes.Load())
		}
		gate.refuse = nil
		if res := m.promote(); res.Generation != n+1 {
			t.Fatalf("%s: then: %+v", name, res)
		}
		n++
	}
	// Who may not delete can promote, and is told by gc.
	m.cfg = func(c *Config) { c.Grace, c.Generations.Keep = 0, 1 }
	gate.refuse = always(403, "AccessDenied", isDelete)
	m.put(map[string]string{"c/1": "last"})
	if res := m.promote(); res.Generation != n+1 {
		t.Fatalf("%+v", res)
	}
	gate.refuse = nil
	if report, got, err := m.repo().Verify(ctx, "", true); err != nil || got != n+1 || len(report.Findings) > 0 {
		t.Fatalf("%d, %+v, %v", got, report, err)
	}
}

// init finds that a right is missing, and then there is no production, and no repository.
func TestSharedInitWithoutRights(t *testing.T) {
	for name, is := range map[string]func(*http.Request) bool{"write": puts, "delete": isDelete, "read": every} {
		opened, gate := guarded(t)
		gate.refuse = always(403, "AccessDenied", is)
		dir := filepath.Join(t.TempDir(), "repo")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		yaml := "production: " + inStore + "\ns3: {readers: serve}\n"
		if err := os.WriteFile(filepath.Join(dir, ConfigName), []byte(yaml), 0o644); err != nil {
			t.Fatal(err)
		}
		c, m := choices, &machine{via: opened}
		c.Store, c.Format = m.open, func(string) catalog.Format { return listed{} }
		err, e := Init(dir, c, InitOptions{}), new(Error)
		if !errors.As(err, &e) || e.Kind != Failed || !strings.Contains(e.Hint, "s3:DeleteObject") {
			t.Errorf("%s: %v, %+v", name, err, e)
		}
		gate.refuse = nil
		for info, err := range opened.List(ctx, "", "") {
			if err != nil || !strings.HasPrefix(info.Key, "_publish/probe/") {
				t.Errorf("%s: the store has %+v, %v", name, info, err)
			}
		}
		if err := Init(dir, c, InitOptions{}); err != nil {
			t.Errorf("%s: with the right: %v", name, err)
		}
	}
}
