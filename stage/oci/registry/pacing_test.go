package registry

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

// A server that says "not now" is not asked before its time, and then the image is staged.
func TestNotBefore(t *testing.T) {
	start := (&clock{}).Now()
	says := func(code int, head ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(head); i += 2 {
				w.Header()[head[i]] = []string{head[i+1]}
			}
			w.WriteHeader(code)
		}
	}
	date := start.Add(90 * time.Second).Format(http.TimeFormat)
	behind := start.Add(-time.Hour).Format(http.TimeFormat)
	for name, c := range map[string]struct {
		wrong http.HandlerFunc
		wait  time.Duration
	}{
		"429, seconds":            {says(429, "Retry-After", "120"), 2 * time.Minute},
		"429, a date":             {says(429, "Retry-After", date), 90 * time.Second},
		"429, nothing":            {says(429), time.Minute},
		"429, a window":           {says(429, "Ratelimit-Remaining", "0;w=21600"), 6 * time.Hour},
		"429, nonsense":           {says(429, "Retry-After", "soon"), time.Minute},
		"503, seconds":            {says(503, "Retry-After", "7"), 7 * time.Second},
		"503, a date":             {says(503, "Retry-After", date), 90 * time.Second},
		"503, far too long":       {says(503, "Retry-After", "99999999999999999999"), 7 * 24 * time.Hour},
		"503, our clock is ahead": {says(503, "Retry-After", start.Format(http.TimeFormat), "Date", behind), time.Hour},
	} {
		for _, path := range []string{"/manifests/v1", "/referrers/", "/blobs/"} {
			t.Run(name+path, func(t *testing.T) {
				f, clock := newFake(t), &clock{}
				f.tag("v1", f.image("linux/amd64", "layer"))
				blocked := map[string]time.Time{}
				var mu sync.Mutex
				var early []string
				g := asking(f, func(o *Options, _ *Settings) {
					o.Now, o.Blobs = clock.Now, 1 // no other request is on its way
					o.Blocked = func(host string, until time.Time) {
						mu.Lock()
						defer mu.Unlock()
						blocked[host] = until
					}
					o.Before = func(_ context.Context, host string) error {
						mu.Lock()
						defer mu.Unlock()
						if until := blocked[host]; until.After(clock.Now()) {
							early = append(early, host)
							return &catalog.RemoteError{Class: catalog.RateLimit, Host: host, Again: true, Until: until,
								Err: errors.New("not now")}
						}
						return nil
					}
				})
				to := newStore(t)
				f.does(once(1, path, c.wrong))
				_, _, err := copying(t, g, to, host+"/a/b:v1")
				wantFailure(t, err, catalog.RateLimit, true)
				asked, at := f.asked(""), strings.TrimPrefix(f.url, "http://")
				if got := blocked[at].Sub(start); got != c.wait {
					t.Errorf("blocked for %v, want %v", got, c.wait)
				}
				_, _, err = copying(t, g, to, host+"/a/b:v1")
				wantFailure(t, err, catalog.RateLimit, true)
				if len(early) == 0 || f.asked("") != asked {
					t.Errorf("Before refused %v, and %d requests came", early, f.asked("")-asked)
				}
				remote := new(catalog.RemoteError)
				if !errors.As(err, &remote) || !remote.Until.Equal(blocked[at]) {
					t.Errorf("%v: until %v", err, remote.Until)
				}
				clock.until(blocked[at])
				if _, _, err = copying(t, g, to, host+"/a/b:v1"); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A server that is merely not well is no limit.
func Test503(t *testing.T) {
	f := newFake(t)
	f.tag("v1", f.image("linux/amd64", "layer"))
	f.does(once(1, "", code(503)))
	_, _, err := copying(t, asking(f), newStore(t), host+"/a/b:v1")
	wantFailure(t, err, catalog.Unreachable, true, "503")
}

// All pass with at most so many requests at once, however slow they have to be.
func TestPaced(t *testing.T) {
	f := newFake(t)
	f.tag("v1", f.index(f.image("linux/amd64", "one", "two", "three").on("linux/amd64"), f.image("linux/arm64", "one")))
	g := asking(f, func(_ *Options, s *Settings) { s.Connections, s.Requests, s.Bandwidth = 1, 1000, 1<<20 })
	if _, _, err := copying(t, g, newStore(t), host+"/a/b:v1"); err != nil {
		t.Error(err)
	}
}
