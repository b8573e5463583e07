package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"example.com/publish/publish/site/bucket/storetest"
)

// scriptStore is the object store of a transcript, whose clock is that of the test.
type scriptStore struct {
	now      atomic.Pointer[time.Time]
	endpoint string
}

type scriptStoreKey struct{}

// storeCommands are the commands of transcripts for an object store, which is a fake in
// this process with the empty bucket images.
//
//	store            starts it, and sets the environment for it
//	clock TIME       sets the clock of the store, and of publish
//	fetch KEY FILE   writes an object into a file; with !, there must be none
//	lose KEY         deletes an object
//	put KEY FILE     makes an object
//
// In KEY a * stands for what nobody knows before, such as a hash; there is one such object.
func storeCommands(t *testing.T) map[string]func(*testscript.TestScript, bool, []string) {
	of := func(ts *testscript.TestScript, args []string, n int) *scriptStore {
		s, ok := ts.Value(scriptStoreKey{}).(*scriptStore)
		if !ok || len(args) != n {
			ts.Fatalf("this command has %d arguments, and needs a store", n)
		}
		return s
	}
	return map[string]func(*testscript.TestScript, bool, []string){
		"store": func(ts *testscript.TestScript, _ bool, args []string) {
			s := of(ts, args, 0)
			server := storetest.Fake(t)
			to, err := url.Parse(server.Endpoint)
			ts.Check(err)
			proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				// The SDK goes by the clock that it sees, and the store by its own.
				r.Out.Header.Set("X-Amz-Date", time.Now().UTC().Format("20060102T150405Z"))
			}}
			proxy.ModifyResponse = func(r *http.Response) error {
				r.Header.Set("Date", s.now.Load().UTC().Format(http.TimeFormat))
				return nil
			}
			front := httptest.NewServer(proxy)
			t.Cleanup(front.Close)
			s.endpoint = front.URL
			s.set(ts, ts.Getenv("PUBLISH_TEST_NOW"))
			for name, value := range server.Env() {
				ts.Setenv(name, value)
			}
			ts.Setenv("AWS_ENDPOINT_URL", front.URL)
		},
		"clock": func(ts *testscript.TestScript, _ bool, args []string) { of(ts, args, 1).set(ts, args[0]) },
		"fetch": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				args = append(args, os.DevNull)
			}
			s := of(ts, args, 2)
			data, err := s.do(http.MethodGet, args[0], nil)
			if neg && !errors.Is(err, os.ErrNotExist) {
				ts.Fatalf("%s is there: %v", args[0], err)
			}
			if !neg {
				ts.Check(err)
				ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o644))
			}
		},
		"lose": func(ts *testscript.TestScript, _ bool, args []string) {
			_, err := of(ts, args, 1).do(http.MethodDelete, args[0], nil)
			ts.Check(err)
		},
		"put": func(ts *testscript.TestScript, _ bool, args []string) {
			s := of(ts, args, 2)
			data, err := os.ReadFile(ts.MkAbs(args[1]))
			ts.Check(err)
			_, err = s.do(http.MethodPut, args[0], data)
			ts.Check(err)
		},
	}
}

func (s *scriptStore) set(ts *testscript.TestScript, at string) {
	t, err := time.Parse(time.RFC3339, at)
	ts.Check(err)
	s.now.Store(&t)
	ts.Setenv("PUBLISH_TEST_NOW", at)
}

// do makes a request, as clients do who have no credentials.
func (s *scriptStore) do(method, key string, body []byte) ([]byte, error) {
	if prefix, _, is := strings.Cut(key, "*"); is {
		found, err := s.do(http.MethodGet, "?list-type=2&prefix="+prefix, nil)
		if err != nil {
			return nil, err
		}
		var list struct{ Contents []struct{ Key string } }
		if err := xml.Unmarshal(found, &list); err != nil {
			return nil, err
		}
		var keys []string
		for _, o := range list.Contents {
			if same, err := path.Match(key, o.Key); err == nil && same {
				keys = append(keys, o.Key)
			}
		}
		switch len(keys) {
		case 0:
			return nil, fmt.Errorf("%s: %w", key, os.ErrNotExist)
		case 1:
			key = keys[0]
		default:
			return nil, fmt.Errorf("%s: there are %q", key, keys)
		}
	}
	req, err := http.NewRequest(method, s.endpoint+"/images/"+key, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s: %w", key, os.ErrNotExist)
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s: %s", key, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
