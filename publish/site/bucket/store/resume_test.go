package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/storetest"
)

const (
	four       = 3*minPart + 9 // in so many parts
	killed     = minPart + 9   // two parts
	journalDir = "STORE_TEST_JOURNAL"
)

// TestKilled kills a process that creates an object of two parts, before and after
// each of its requests; the next one sends what the store has not.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(journalDir); dir != "" {
		s := open(t, &storetest.Server{Bucket: "images", Region: "us-east-1"}, os.Getenv("STORE_TEST_ENDPOINT"),
			func(c *Config) { c.Journal, c.Concurrency = dir, 1 })
		_, err := s.Create(t.Context(), os.Getenv("STORE_TEST_KEY"), body(pattern(killed)), owned)
		t.Fatalf("was not killed: %v", err)
	}
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		data := pattern(killed)
		direct, proxy := open(t, server, server.Endpoint), storetest.NewProxy(t, server)
		for n := 1; n <= 5; n++ { // head, begin, two parts, complete
			for _, after := range []bool{false, true} {
				key, dir := fmt.Sprintf("x-%d-%v", n, after), t.TempDir()
				kill(t, proxy, n, after, dir, key)
				has := 0
				for _, r := range proxy.Requests() {
					if r.Method == "PUT" && r.Answered == 200 {
						has++
					}
				}
				proxy.Around(nil, nil)
				proxy.Spoil(nil)
				s := open(t, server, proxy.Endpoint, func(c *Config) { c.Journal = dir })
				if list, err := s.Abandoned(); err != nil || n > 2 && (len(list) != 1 || list[0].Key != key) {
					t.Errorf("%s: %+v, %v", key, list, err)
				}
				_, err := s.Create(t.Context(), key, body(data), owned)
				done := n == 5 && after
				if exists := errors.Is(err, bucket.ErrExists); err != nil && !exists || exists != done {
					t.Errorf("%s: %v", key, err)
				}
				want := 2 - has
				if server.Kind == "fake" && after && (n == 3 || n == 4) {
					want++ // it says no digest of a part, of which the journal has none either
				}
				if parts, _ := proxy.Count("PUT"); parts != want {
					t.Errorf("%s: sent %d parts, but the store had %d", key, parts, has)
				}
				if text, info := content(t, direct, key); text != string(data) || !same(&info, body(data), owned) {
					t.Errorf("%s: %d bytes, %+v", key, len(text), info)
				}
				if left, err := os.ReadDir(dir); err != nil && n > 2 || len(left) > 0 {
					t.Errorf("%s: journals stay: %v, %v", key, left, err)
				}
			}
		}
	})
}

// kill runs TestKilled in a process of its own, until request n.
func kill(t *testing.T, proxy *storetest.Proxy, n int, after bool, dir, key string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), journalDir+"="+dir, "STORE_TEST_ENDPOINT="+proxy.Endpoint, "STORE_TEST_KEY="+key)
	var once sync.Once
	started, gone := make(chan struct{}), make(chan struct{})
	stop := func(r storetest.Request) {
		if r.N == n {
			once.Do(func() { <-started; _ = cmd.Process.Kill(); _ = cmd.Wait(); close(gone) })
		}
	}
	proxy.Spoil(func(r storetest.Request) storetest.Fault {
		switch {
		case r.N == n && !after:
			return storetest.NeverSent
		case r.N == n: // nobody is there for the answer
			return storetest.AnswerKilled
		}
		return storetest.None
	})
	if after {
		proxy.Around(nil, stop)
	} else {
		proxy.Around(stop, nil)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	close(started)
	<-gone
}

func TestAbandoned(t *testing.T) {
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		proxy := storetest.NewProxy(t, server)
		dir := filepath.Join(t.TempDir(), "not", "there")
		s := open(t, server, proxy.Endpoint, func(c *Config) { c.Journal, c.Concurrency = dir, 1 })
		ctx, cancel := context.WithCancel(t.Context())
		proxy.Around(nil, func(r storetest.Request) {
			if r.Query.Get("partNumber") == "2" {
				cancel()
			}
		})
		_, err := s.Create(ctx, "big", body(pattern(four)), owned)
		is(t, err, context.Canceled)
		proxy.Around(nil, nil)
		other := open(t, server, server.Endpoint, func(c *Config) { c.Journal, c.Prefix = dir, "else" })
		if list, err := other.Abandoned(); err != nil || len(list) > 0 {
			t.Errorf("another prefix: %v, %v", list, err)
		}
		must(t, os.WriteFile(filepath.Join(dir, "README"), nil, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, strings.Repeat("ab", 32)), []byte("no journal\n"), 0o600))
		list, err := s.Abandoned()
		if err != nil || len(list) != 1 || list[0].Key != "big" || list[0].Size != four || list[0].Sent < minPart {
			t.Fatalf("%+v, %v", list, err)
		}
		must(t, s.Abort(t.Context(), list[0]))
		must(t, s.Abort(t.Context(), list[0])) // it is gone already
		if list, err := s.Abandoned(); err != nil || len(list) > 0 {
			t.Errorf("%v, %v", list, err)
		}
		_, err = s.Create(t.Context(), "big", body(pattern(four)), owned)
		must(t, err)
	})
}

// TestTornJournal finds that what a crash leaves in a journal costs nothing but parts.
func TestTornJournal(t *testing.T) {
	server := storetest.Fake(t)
	server.Setenv(t)
	proxy := storetest.NewProxy(t, server)
	for name, spoil := range map[string]func(data string) string{
		"torn":    func(data string) string { return data[:len(data)-7] },
		"damaged": func(data string) string { return strings.Replace(data, `"etag"`, `"ETAG"`, 1) },
		"head":    func(data string) string { return "x" + data },
		"empty":   func(string) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, server, proxy.Endpoint, func(c *Config) { c.Journal, c.Concurrency = dir, 1 })
			ctx, cancel := context.WithCancel(t.Context())
			proxy.Spoil(nil)
			proxy.Around(func(r storetest.Request) {
				if r.Query.Get("partNumber") == "3" {
					cancel()
				}
			}, nil)
			_, err := s.Create(ctx, name, body(pattern(four)), owned)
			is(t, err, context.Canceled)
			proxy.Around(nil, nil)
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil || len(files) != 1 {
				t.Fatalf("%v, %v", files, err)
			}
			data, err := os.ReadFile(files[0])
			must(t, err)
			must(t, os.WriteFile(files[0], []byte(spoil(string(data))), 0o600))
			_, err = s.Create(t.Context(), name, body(pattern(four)), owned)
			must(t, err)
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("journals stay: %v, %v", left, err)
			}
		})
	}
}

// zeros is a body of n bytes that takes no room.
func zeros(n int64, sum string) bucket.Body {
	return bucket.Body{Size: n, SHA256: sum, Open: func(from int64) (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(nothing{}, n-from)), nil
	}}
}

type nothing struct{}

func (nothing) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestMemory finds that a large body is never held: 64 MiB, or 2 GiB in the long tests.
func TestMemory(t *testing.T) {
	size, sum := int64(64*mib), "3b6a07d0d404fab4e23b6d34bc6696a6a312dd92821332385e5af7c01c421351"
	if os.Getenv("PUBLISH_TEST_LARGE") != "" {
		size, sum = 2<<30, "a7c744c13cc101ed66c29f672f92455547889cc586ce6d44fe76ae824958ea51"
	}
	var peak, got atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == "HEAD":
			w.WriteHeader(http.StatusNotFound)
		case r.Method == "PUT":
			n, _ := io.Copy(io.Discard, r.Body)
			got.Add(n)
			w.Header().Set("ETag", `"part"`)
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			for now := int64(m.Sys); now > peak.Load(); {
				peak.CompareAndSwap(peak.Load(), now)
			}
		case r.URL.Query().Has("uploads"):
			_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
		default:
			_, _ = io.WriteString(w, "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
		}
	}))
	defer server.Close()
	(&storetest.Server{AccessKey: "key", Secret: "secret"}).Setenv(t)
	s := open(t, &storetest.Server{Bucket: "images", Region: "us-east-1"}, server.URL, func(c *Config) {
		c.PartSize, c.Concurrency = 16*mib, 8
	})
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	_, err := s.Create(t.Context(), "big", zeros(size, sum), owned)
	must(t, err)
	t.Logf("%d MiB in %v, %d MiB more memory", size/mib, time.Since(began).Round(time.Millisecond),
		(peak.Load()-int64(before.Sys))/mib)
	if got.Load() != size {
		t.Errorf("sent %d of %d bytes", got.Load(), size)
	}
	if more := peak.Load() - int64(before.Sys); more > 48*mib {
		t.Errorf("%d bytes more memory", more)
	}
}
