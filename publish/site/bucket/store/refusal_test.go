package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/storetest"
)

// refused finds that an error is a refusal with a code, a hint and no secret.
func refused(t *testing.T, err error, code, hint string) {
	t.Helper()
	var r *bucket.Refusal
	if !errors.As(err, &r) || r.Code != code || !strings.Contains(r.Hint, hint) ||
		!strings.HasPrefix(err.Error(), "s3://") || strings.Contains(err.Error(), "operation error") {
		t.Errorf("got %#v: %v; want %s, %s", r, err, code, hint)
	}
}

// each calls the operations that a command could begin with.
func each(t *testing.T, s *Store, check func(t *testing.T, err error)) {
	t.Helper()
	_, err := s.Get(t.Context(), "x", bucket.Get{})
	check(t, err)
	_, err = s.Create(t.Context(), "x", body(small), owned)
	check(t, err)
	_, err = s.Swap(t.Context(), "x", `"x"`, body(small), owned)
	check(t, err)
	for _, err = range s.List(t.Context(), "", "") {
		check(t, err)
	}
}

func TestRefusedByAStore(t *testing.T) {
	server := storetest.Versity(t)
	server.Setenv(t)
	for name, test := range map[string]struct {
		config     func(c *Config)
		env        map[string]string
		code, hint string
	}{
		"no bucket": {config: func(c *Config) { c.Bucket = "nowhere" }, code: "NoSuchBucket", hint: "make the bucket"},
		"unknown key": {env: map[string]string{"AWS_ACCESS_KEY_ID": "who"}, code: "XAdminUserNotFound",
			hint: "AWS_ACCESS_KEY_ID"},
		"wrong secret": {env: map[string]string{"AWS_SECRET_ACCESS_KEY": "no"},
			code: "SignatureDoesNotMatch", hint: "AWS_SECRET"},
		"region": {config: func(c *Config) { c.Region = "eu-west-1" }, code: "AuthorizationHeaderMalformed",
			hint: "s3.region"},
		"no credentials": {env: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
			code: "NoCredentials", hint: "AWS_PROFILE"},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			s := open(t, server, server.Endpoint, func(c *Config) {
				if test.config != nil {
					test.config(c)
				}
			})
			each(t, s, func(t *testing.T, err error) { t.Helper(); refused(t, err, test.code, test.hint) })
		})
	}
	s := open(t, server, server.Endpoint)
	_, err := s.Create(t.Context(), "dir", body(small), owned)
	must(t, err)
	_, err = s.Create(t.Context(), "dir/x", body(small), owned)
	refused(t, err, "ObjectParentIsFile", "")
}

// TestRefusedByAnswer has the answers that a test's store does not give.
func TestRefusedByAnswer(t *testing.T) {
	var status int
	var code string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amz-Bucket-Region", "eu-north-1")
		w.WriteHeader(status)
		if r.Method != "HEAD" {
			_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>it says so</Message></Error>", code)
		}
	}))
	defer server.Close()
	(&storetest.Server{AccessKey: "key", Secret: "secret"}).Setenv(t)
	for _, test := range []struct {
		status     int
		code, hint string
	}{{403, "RequestTimeTooSkewed", "ntp"}, {403, "AccessDenied", "s3:PutObject"},
		{400, "ExpiredToken", "AWS_SESSION_TOKEN"},
		{301, "PermanentRedirect", "s3.region: eu-north-1"}, {307, "TemporaryRedirect", "eu-north-1"},
		{400, "AuthorizationHeaderMalformed", "eu-north-1"}, {501, "NotImplemented", "lacks"},
		{400, "KeyTooLongError", "1,024"}} {
		status, code = test.status, test.code
		s := open(t, &storetest.Server{Bucket: "images", Region: "us-east-1"}, server.URL)
		each(t, s, func(t *testing.T, err error) { t.Helper(); refused(t, err, test.code, test.hint) })
		stay, err := s.Delete(t.Context(), []string{"x"}, false)
		if err != nil || len(stay) != 1 {
			t.Errorf("%s: delete: %v, %v", code, stay, err)
		} else {
			refused(t, stay[0].Err, test.code, test.hint)
		}
	}
}

func TestRefusedBeforeIt(t *testing.T) {
	quiet := log.New(io.Discard, "", 0)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = quiet
	secure.StartTLS()
	defer secure.Close()
	open1 := func(endpoint string) *Store {
		(&storetest.Server{AccessKey: "key", Secret: "secret"}).Setenv(t)
		return open(t, &storetest.Server{Bucket: "images", Region: "us-east-1"}, endpoint)
	}
	each(t, open1(secure.URL), func(t *testing.T, err error) { t.Helper(); refused(t, err, "TLS", "SSL_CERT_FILE") })
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	each(t, open1(strings.Replace(plain.URL, "http:", "https:", 1)), func(t *testing.T, err error) {
		t.Helper()
		refused(t, err, "TLS", "does not speak TLS")
	})
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close() // a store that restarts is no refusal: it may be there in a moment
	each(t, open1(gone.URL), func(t *testing.T, err error) {
		t.Helper()
		if !isBroken(err) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	(&storetest.Server{AccessKey: "key", Secret: "secret"}).Setenv(t)
	for name, test := range map[string]struct {
		change func(c *Config)
		want   string
	}{
		"no bucket":       {func(c *Config) { c.Bucket = "" }, "names no bucket"},
		"small parts":     {func(c *Config) { c.PartSize = 1 }, "s3.part_size"},
		"no address":      {func(c *Config) { c.Endpoint = "store.example.com" }, "is not an address"},
		"password":        {func(c *Config) { c.Endpoint = "https://k:hunter2@example.com" }, "has a user or password"},
		"path style":      {func(c *Config) { c.PathStyle = "yes" }, "must be auto, true or false"},
		"reserved header": {func(c *Config) { c.Headers = map[string]string{"If-Match": "x"} }, "is set by publish"},
		"meta header":     {func(c *Config) { c.Headers = map[string]string{"x-amz-meta-sha256": "x"} }, "is set by publish"},
		"bad header":      {func(c *Config) { c.Headers = map[string]string{"a b": "x"} }, "not the name of a header"},
		"header's value":  {func(c *Config) { c.Headers = map[string]string{"a": "hunter2\r\nb: c"} }, "a: has a character"},
	} {
		c := Config{Bucket: "images", Endpoint: "https://store.example.com", Region: "eu"}
		test.change(&c)
		_, err := Open(t.Context(), c)
		var told *fault.Error
		if !errors.As(err, &told) || told.Kind != fault.Usage || !strings.Contains(err.Error(), test.want) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Setenv("AWS_REGION", "")
	if _, err := Open(t.Context(), Config{Bucket: "images"}); err == nil || !strings.Contains(err.Error(), "no region") {
		t.Errorf("no region: %v", err)
	}
}

func TestPathStyle(t *testing.T) {
	for _, test := range []struct {
		bucket, endpoint, style string
		want                    bool
	}{{"images", "", "auto", false}, {"my.images", "", "auto", true}, {"images", "https://s.example.com", "auto", false},
		{"images", "https://s.example.com:9000", "", true}, {"images", "http://10.0.0.1", "auto", true},
		{"images", "http://[::1]", "auto", true}, {"images", "http://localhost", "auto", true},
		{"my.images", "https://s.example.com:9000", "false", false}, {"images", "https://s.example.com", "true", true}} {
		c := Config{Bucket: test.bucket, Endpoint: test.endpoint, PathStyle: test.style}
		if got, err := c.pathStyle(); err != nil || got != test.want {
			t.Errorf("%+v: %v, %v", test, got, err)
		}
	}
}

// TestHeaders finds what goes with which request.
func TestHeaders(t *testing.T) {
	server := storetest.Versity(t)
	server.Setenv(t)
	proxy := storetest.NewProxy(t, server)
	s := open(t, server, proxy.Endpoint, func(c *Config) {
		c.Headers = map[string]string{"X-Team": "images", "x-amz-storage-class": "STANDARD"}
	})
	_, err := s.Create(t.Context(), "x", body(small), owned)
	must(t, err)
	_, err = s.Head(t.Context(), "x")
	must(t, err)
	list := proxy.Requests()
	put, head := list[0].Header, list[1].Header
	want := map[string]string{"X-Team": "images", "X-Amz-Storage-Class": "STANDARD", "If-None-Match": "*",
		"X-Amz-Meta-Publish": "repo-1", "X-Amz-Meta-Sha256": body(small).SHA256, "Cache-Control": "no-cache",
		"Content-Type": "application/json", "X-Amz-Content-Sha256": body(small).SHA256, "Content-Encoding": "",
		"X-Amz-Trailer": "", "X-Amz-Sdk-Checksum-Algorithm": ""}
	for name, value := range want {
		if put.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, put.Get(name), value)
		}
	}
	if !strings.Contains(put.Get("Authorization"), "x-team") || put.Get("X-Amz-Checksum-Sha256") == "" {
		t.Errorf("%v", put)
	}
	if head.Get("X-Team") != "images" || head.Get("X-Amz-Storage-Class") != "" {
		t.Errorf("%v", head)
	}
}

// TestVersions finds that all versions go, and no others.
func TestVersions(t *testing.T) {
	server := storetest.Versity(t, "--versioning-dir", t.TempDir())
	server.Setenv(t)
	s, ctx := open(t, server, server.Endpoint), t.Context()
	_, err := s.client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &s.Bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	must(t, err)
	for _, key := range []string{"x", "x2", "y"} {
		info, err := s.Create(ctx, key, body([]byte("one")), owned)
		must(t, err)
		_, err = s.Swap(ctx, key, info.ETag, body([]byte("two")), owned)
		must(t, err)
	}
	stay, err := s.Delete(ctx, []string{"x"}, false) // a marker
	if err != nil || len(stay) > 0 {
		t.Fatalf("%v, %v", stay, err)
	}
	if list, err := s.versions(ctx, "x"); err != nil || len(list) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	stay, err = s.Delete(ctx, []string{"x", "y", "none"}, true)
	if err != nil || len(stay) > 0 {
		t.Fatalf("%v, %v", stay, err)
	}
	for key, want := range map[string]int{"x": 0, "y": 0, "x2": 2} {
		if list, err := s.versions(ctx, key); err != nil || len(list) != want {
			t.Errorf("%s: %v, %v", key, list, err)
		}
	}
}

// TestInterrupt finds that an interrupt is no outcome of the store.
func TestInterrupt(t *testing.T) {
	server := storetest.Fake(t)
	server.Setenv(t)
	proxy := storetest.NewProxy(t, server)
	s := open(t, server, proxy.Endpoint)
	ctx, cancel := context.WithCancel(t.Context())
	proxy.Around(func(storetest.Request) { cancel() }, nil)
	proxy.Spoil(func(storetest.Request) storetest.Fault { return storetest.Hang })
	_, err := s.Create(ctx, "x", body(small), owned)
	is(t, err, context.Canceled)
	if n, _ := proxy.Count(""); n != 1 {
		t.Errorf("%d requests", n)
	}
}
