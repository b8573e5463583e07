package serve

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket/store"
	"example.com/publish/publish/site/bucket/storetest"
	"example.com/publish/stage/simplestreams"
)

// behind opens a store as the program does, through a proxy.
func behind(t *testing.T, server *storetest.Server) (*store.Store, *storetest.Proxy) {
	t.Helper()
	p := storetest.NewProxy(t, server)
	s, err := store.Open(t.Context(), store.Config{Bucket: server.Bucket, Prefix: "a", Endpoint: p.Endpoint,
		Region: server.Region, Journal: t.TempDir(),
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.CloseIdle)
	return s, p
}

// Against servers that speak S3: what a client asks for is what the store is asked for,
// and each fault is an error that the client can see.
func TestS3(t *testing.T) {
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		s, p := behind(t, server)
		w := newStored(t, simplestreams.Format{}, s, "serve", "grace: 1h")
		text := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB
		path := w.image("20260101", text)
		w.promote()
		w.keep()
		w.seen(1)
		of := func(r storetest.Request) bool { return strings.HasSuffix(r.Path, path) }
		got := func() (list []storetest.Request) {
			for _, r := range p.Requests() {
				if of(r) {
					list = append(list, r)
				}
			}
			return list
		}

		p.Spoil(nil)
		w.want(w.get("/"+path, "Range", "bytes=1000000-1000015"), 206, text[1_000_000:1_000_016])
		if list := got(); len(list) != 1 || list[0].Header.Get("Range") != "bytes=1000000-1000015" ||
			list[0].Received != 16 {
			t.Errorf("a part of 16 bytes: %+v", list)
		}
		w.want(w.get("/"+path), 200, text)
		if r := w.do("HEAD", "/"+path); r.StatusCode != 200 || r.Header.Get("Content-Length") != "2097152" {
			t.Errorf("HEAD: %d %v", r.StatusCode, r.Header)
		}
		if r := w.get("/"+path, "Range", "bytes=0-1,1900000-1900002"); r.StatusCode != 206 ||
			!strings.Contains(r.body, "\r\n01\r\n") || !strings.Contains(r.body, text[1_900_000:1_900_003]) {
			t.Errorf("two parts: %d %.300q", r.StatusCode, r.body)
		}
		w.want(w.get("/"+path, "If-None-Match", `"`+sum(text)+`"`), 304, "")

		// Cut once: the rest is asked for, and the client sees nothing of it.
		first := true
		p.Spoil(func(r storetest.Request) storetest.Fault {
			if of(r) && first {
				first = false
				return storetest.CutBody
			}
			return storetest.None
		})
		w.want(w.get("/"+path), 200, text)
		if list := got(); len(list) != 2 {
			t.Errorf("cut once: %+v", list)
		}

		// Cut, and then away: the client sees a broken answer.
		first = true
		p.Spoil(func(r storetest.Request) storetest.Fault {
			switch {
			case !of(r):
				return storetest.None
			case first:
				first = false
				return storetest.CutBody
			}
			return storetest.NeverSent
		})
		if body, status, err := w.broken("/" + path); err == nil || status != 200 || len(body) >= len(text) {
			t.Errorf("cut: %d, %d bytes, %v", status, len(body), err)
		}

		for _, fault := range []storetest.Fault{storetest.NeverSent, storetest.Status500, storetest.Status503,
			storetest.AnswerLost, storetest.Applied500} {
			p.Spoil(func(r storetest.Request) storetest.Fault {
				if of(r) {
					return fault
				}
				return storetest.None
			})
			for _, method := range []string{"GET", "HEAD"} {
				if r := w.do(method, "/"+path); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
					t.Errorf("%s: %s: %d %v %.100q", fault, method, r.StatusCode, r.Header, r.body)
				}
			}
		}
		p.Spoil(nil)
		w.want(w.get("/"+path), 200, text)

		// The pointer is asked for with its tag.
		p.Spoil(nil)
		w.until("a look", func() bool {
			for _, r := range p.Requests() {
				pointer := strings.HasSuffix(r.Path, "_publish/pointer.json")
				if pointer && r.Header.Get("If-None-Match") != "" && r.Answered == 304 {
					return true
				}
			}
			return false
		})

		// A switch, and a gc of what is being read.
		r, err := http.NewRequest(http.MethodGet, w.http.URL+"/"+path, nil)
		w.no(err)
		res, err := w.http.Client().Do(r)
		w.no(err)
		defer res.Body.Close()
		begin := make([]byte, 1000)
		_, err = io.ReadFull(res.Body, begin)
		w.no(err)
		next := w.image("20260102", "two")
		w.promote()
		w.seen(2)
		if _, err := s.Delete(t.Context(), []string{path}, false); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(res.Body)
		if err == nil && string(begin)+string(rest) != text {
			t.Errorf("%d bytes, no error", len(begin)+len(rest))
		}
		w.want(w.get("/"+next), 200, "two")
		w.want(w.get("/"+path), 404, "not found\n")
	})
}

// A store that does not answer keeps no client waiting for long.
func TestS3Hangs(t *testing.T) {
	server := storetest.Fake(t)
	server.Setenv(t)
	s, p := behind(t, server)
	w := newStored(t, simplestreams.Format{}, s, "serve")
	path := w.image("20260101", "one")
	w.promote()
	w.server.repo.Config.S3.Timeout /= 600 // 100 ms
	w.keep()
	w.seen(1)
	p.Spoil(func(r storetest.Request) storetest.Fault {
		if strings.HasSuffix(r.Path, path) {
			return storetest.Hang
		}
		return storetest.None
	})
	if r := w.get("/" + path); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	if r := w.get("/streams/v1/index.json"); r.StatusCode != 200 {
		t.Errorf("%d", r.StatusCode)
	}
	p.Spoil(nil)
	w.until("it answers again", func() bool { return w.get("/"+path).StatusCode == 200 })
}
