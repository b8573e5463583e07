package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/storetest"
)

// op is an operation whose requests are spoiled, one after the other.
type op struct {
	name string
	// prepare makes what it needs, past the proxy, and returns what do needs.
	prepare func(t *testing.T, s *Store, key string) string
	do      func(t *testing.T, s *Store, key, made string) error
	// check looks at the store afterwards, past the proxy.
	check func(t *testing.T, s *Store, key string, err error, fault storetest.Fault)
}

var (
	small = []byte("small\n")
	large = pattern(ahead + 5)
	parts = pattern(minPart + 5)
)

// fits says which requests a fault is for.
func fits(fault storetest.Fault, r storetest.Request) bool {
	conditional := r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Match") != ""
	switch fault {
	case storetest.Own412, storetest.Conflict:
		return conditional && r.Method != "GET"
	case storetest.Error200:
		return r.Method == "POST" && r.Query.Has("uploadId")
	case storetest.CutBody:
		return r.Sent > 1 || r.Received > 1
	}
	return true
}

// created makes an op of a create.
func created(name string, data []byte) op {
	return op{name: name,
		do: func(t *testing.T, s *Store, key, _ string) error {
			info, err := s.Create(t.Context(), key, body(data), owned)
			var exists *bucket.ExistsError
			if errors.As(err, &exists) && same(exists.Info, body(data), owned) {
				return nil // the caller compares
			}
			if err == nil && !same(info, body(data), owned) {
				t.Errorf("made %+v", info)
			}
			return err
		},
		check: func(t *testing.T, s *Store, key string, err error, _ storetest.Fault) {
			must(t, err)
			if text, info := content(t, s, key); text != string(data) || !same(&info, body(data), owned) {
				t.Errorf("%d bytes, %+v", len(text), info)
			}
		}}
}

func seed(t *testing.T, s *Store, key string) string {
	info, err := s.Create(t.Context(), key, body([]byte("old\n")), owned)
	must(t, err)
	return info.ETag
}

func succeeds(t *testing.T, _ *Store, _ string, err error, _ storetest.Fault) { must(t, err) }

var ops = []op{
	created("create", small), created("large", large), created("parts", parts),
	{"swap", seed,
		func(t *testing.T, s *Store, key, etag string) error {
			_, err := s.Swap(t.Context(), key, etag, body([]byte("new\n")), owned)
			return err
		},
		func(t *testing.T, s *Store, key string, err error, fault storetest.Fault) {
			text, _ := content(t, s, key)
			want, known := "old\n", false
			switch fault {
			case storetest.AnswerLost, storetest.Applied500:
				want = "new\n"
			case storetest.Own412, storetest.Twice:
				is(t, err, bucket.ErrMoved) // who knows the protocol looks for its nonce
				want, known = "new\n", true
			}
			var refused *bucket.Refusal
			if text != want || !known && (!isBroken(err) || errors.As(err, &refused)) {
				t.Errorf("%q, %v", text, err)
			}
		}},
	{"get", seed,
		func(t *testing.T, s *Store, key, _ string) error {
			o, err := s.Get(t.Context(), key, bucket.Get{})
			if err != nil {
				return err
			}
			data, err := io.ReadAll(o.Body)
			if err == nil && string(data) != "old\n" {
				t.Errorf("got %q", data)
			}
			return errors.Join(err, o.Body.Close())
		}, succeeds},
	{"head", seed, func(t *testing.T, s *Store, key, _ string) error {
		_, err := s.Head(t.Context(), key)
		return err
	}, succeeds},
	{"list", seed, func(t *testing.T, s *Store, key, _ string) error {
		n := 0
		for _, err := range s.List(t.Context(), key, "") {
			if err != nil {
				return err
			}
			n++
		}
		if n != 1 {
			t.Errorf("%d objects", n)
		}
		return nil
	}, succeeds},
	deleted("delete", false), deleted("delete all", true),
}

func deleted(name string, all bool) op {
	return op{name,
		func(t *testing.T, s *Store, key string) string { seed(t, s, key+"/1"); return seed(t, s, key+"/2") },
		func(t *testing.T, s *Store, key, _ string) error {
			stay, err := s.Delete(t.Context(), []string{key + "/1", key + "/2"}, all)
			if len(stay) > 0 {
				t.Errorf("stay: %v", stay)
			}
			return err
		},
		func(t *testing.T, s *Store, key string, err error, _ storetest.Fault) {
			if err != nil { // its outcome is not known, and it says so
				var refused *bucket.Refusal
				if !isBroken(err) || errors.As(err, &refused) {
					t.Error(err)
				}
				stay, err := s.Delete(t.Context(), []string{key + "/1", key + "/2"}, all)
				if must(t, err); len(stay) > 0 {
					t.Errorf("stay: %v", stay)
				}
			}
			for info := range s.List(t.Context(), key, "") {
				t.Errorf("is there: %v", info)
			}
		}}
}

func TestFaults(t *testing.T) {
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		direct := open(t, server, server.Endpoint)
		proxy := storetest.NewProxy(t, server)
		for _, op := range ops {
			run := func(t *testing.T, key string, n int, fault storetest.Fault) error {
				made := ""
				if op.prepare != nil {
					made = op.prepare(t, direct, key)
				}
				s := open(t, server, proxy.Endpoint, func(c *Config) { c.Concurrency = 1 })
				if fault == storetest.Hang {
					stallWhenSeen(s, proxy, n)
				}
				err := op.do(t, s, key, made)
				if left, ended := os.ReadDir(s.Journal); err == nil && (ended != nil || len(left) > 0) {
					t.Errorf("journals stay: %v, %v", left, ended)
				}
				return err
			}
			proxy.Spoil(nil)
			must(t, run(t, op.name, 0, storetest.None))
			clean := proxy.Requests()
			t.Logf("%s: %d requests", op.name, len(clean))
			for _, r := range clean {
				for _, fault := range storetest.Faults() {
					if !fits(fault, r) || os.Getenv("PUBLISH_TEST_FAULTS") == "" && (r.N+int(fault))%2 != 0 {
						continue // half of them, in turn
					}
					t.Run(fmt.Sprintf("%s/%d/%s", op.name, r.N, fault), func(t *testing.T) {
						key := strings.ReplaceAll(fmt.Sprintf("%s-%d-%s", op.name, r.N, fault), " ", "-")
						proxy.SpoilNth(r.N, fault)
						err := run(t, key, r.N, fault)
						proxy.Spoil(nil)
						proxy.Around(nil, nil)
						op.check(t, direct, key, err, fault)
					})
				}
			}
		}
	})
}

// stallWhenSeen has request n stall once the proxy, which lets it hang, has seen it: as
// TestStall finds that it does after a time, but without the time.
func stallWhenSeen(s *Store, proxy *storetest.Proxy, n int) {
	send := s.client.Options().HTTPClient.(*sender)
	base, sent := send.base, 0
	send.base = roundTrip(func(r *http.Request) (*http.Response, error) {
		if sent++; sent != n {
			return base.RoundTrip(r)
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		proxy.Around(func(seen storetest.Request) {
			if seen.N == n {
				cancel()
			}
		}, nil)
		if _, err := base.RoundTrip(r.WithContext(ctx)); err != nil {
			return nil, stalledError{send.stall}
		}
		return nil, errors.New("was answered")
	})
}

// TestSwapOnce finds that a swap is one request, and a create that fails for good some.
func TestSwapOnce(t *testing.T) {
	server := storetest.Fake(t)
	server.Setenv(t)
	direct, proxy := open(t, server, server.Endpoint), storetest.NewProxy(t, server)
	s := open(t, server, proxy.Endpoint)
	etag := seed(t, direct, "x")
	for _, fault := range []storetest.Fault{storetest.NeverSent, storetest.AnswerLost, storetest.Status503} {
		proxy.Spoil(func(storetest.Request) storetest.Fault { return fault })
		if _, err := s.Swap(t.Context(), "x", etag, body(small), owned); !isBroken(err) {
			t.Errorf("%s: %v", fault, err)
		}
		if n, _ := proxy.Count(""); n != 1 {
			t.Errorf("%s: %d requests", fault, n)
		}
	}
	proxy.Spoil(func(r storetest.Request) storetest.Fault {
		if r.Method == "PUT" {
			return storetest.Status500
		}
		return storetest.None
	})
	if _, err := s.Create(t.Context(), "gone", body(small), owned); !isBroken(err) {
		t.Errorf("create: %v", err)
	}
	if n, _ := proxy.Count("PUT"); n != attempts {
		t.Errorf("%d requests", n)
	}
	proxy.Spoil(func(storetest.Request) storetest.Fault { return storetest.NeverSent })
	if _, err := s.Get(t.Context(), "x", bucket.Get{}); !isBroken(err) {
		t.Errorf("get: %v", err)
	}
}

// TestDeleteOnce finds that no request that deletes is repeated, whatever its answer.
func TestDeleteOnce(t *testing.T) {
	server := storetest.Fake(t)
	server.Setenv(t)
	direct, proxy := open(t, server, server.Endpoint), storetest.NewProxy(t, server)
	s := open(t, server, proxy.Endpoint)
	for _, fault := range []storetest.Fault{storetest.NeverSent, storetest.AnswerLost, storetest.Applied500} {
		for _, keys := range [][]string{{"x"}, {"x", "y"}} {
			for _, key := range keys {
				seed(t, direct, key)
			}
			proxy.Spoil(func(storetest.Request) storetest.Fault { return fault })
			if stay, err := s.Delete(t.Context(), keys, false); !isBroken(err) || len(stay) > 0 {
				t.Errorf("%s: %v, %v", fault, stay, err)
			}
			if n, _ := proxy.Count(""); n != 1 {
				t.Errorf("%s: %d requests", fault, n)
			}
			_, err := direct.Delete(t.Context(), keys, false)
			must(t, err)
		}
	}
}

// TestGetGoesOn finds that a body that is cut is read on, and that another one is not mixed in.
func TestGetGoesOn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		direct, proxy := open(t, server, server.Endpoint), storetest.NewProxy(t, server)
		s := open(t, server, proxy.Endpoint)
		made, err := direct.Create(t.Context(), "x", body(large), owned)
		must(t, err)
		for _, get := range []bucket.Get{{}, {From: 1000}, {From: 1000, Length: 500000}} {
			proxy.Spoil(func(r storetest.Request) storetest.Fault {
				if r.N < 4 {
					return storetest.CutBody
				}
				return storetest.None
			})
			o, err := s.Get(t.Context(), "x", get)
			must(t, err)
			data, err := io.ReadAll(o.Body)
			must(t, errors.Join(err, o.Body.Close()))
			end := int64(len(large))
			if get.Length > 0 {
				end = get.From + get.Length
			}
			if string(data) != string(large[get.From:end]) {
				t.Errorf("%+v: %d other bytes", get, len(data))
			}
			if n, _ := proxy.Count("GET"); n != 4 {
				t.Errorf("%+v: %d requests", get, n)
			}
		}
		proxy.SpoilNth(1, storetest.CutBody)
		o, err := s.Get(t.Context(), "x", bucket.Get{})
		must(t, err)
		defer o.Body.Close()
		_, err = direct.Swap(t.Context(), "x", made.ETag, body(large[1:]), owned)
		must(t, err)
		_, err = io.ReadAll(o.Body)
		is(t, err, bucket.ErrMoved)
	})
}
