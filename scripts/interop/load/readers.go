package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"example.com/publish/scripts/interop/oracle"
)

// reader returns the i-th reader: each kind in turn. It reads until the
// context ends; an error is the reader's own.
func (w *world) reader(i int) func(context.Context) error {
	plain := w.client(w.transport, &w.t.http)
	switch i % 6 {
	case 0:
		return w.reads(w.options.server, w.server.Address(), plain, nil)
	case 1:
		return w.reads(w.options.server+" by date", w.server.Address(), plain, &oracle.Proxy{To: plain.Transport})
	case 2:
		return w.reads(w.options.server+" by tag", w.server.Address(), plain, &oracle.Proxy{To: plain.Transport, ByTag: true})
	case 3:
		return w.incus
	case 4:
		return w.reads("files", "file://", w.client(http.NewFileTransport(http.Dir(w.production)), &w.t.files), nil)
	default:
		return w.readsDirectory
	}
}

// client counts its requests.
func (w *world) client(to http.RoundTripper, n *atomic.Int64) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: counting{to, n}}
}

type counting struct {
	to http.RoundTripper
	n  *atomic.Int64
}

func (c counting) RoundTrip(req *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.to.RoundTrip(req)
}

// reads is a reader that takes documents and fetches what they name, again and
// again; with a proxy, documents come through that.
func (w *world) reads(name, server string, plain *http.Client, proxy *oracle.Proxy) func(context.Context) error {
	client := plain
	if proxy != nil {
		client = &http.Client{Timeout: time.Minute, Transport: proxy}
	}
	return func(ctx context.Context) error {
		for ctx.Err() == nil {
			h := held{until: time.Now().Add(w.believe), reader: name, web: server == w.server.Address()}
			if s := w.take(ctx, h, server, client, plain, proxy); s != nil {
				w.hold(ctx, h, s, plain)
			}
		}
		return nil
	}
}

// readsDirectory resolves production once for each index, and reads on in the
// directory that it found.
func (w *world) readsDirectory(ctx context.Context) error {
	for ctx.Err() == nil {
		h := held{until: time.Now().Add(w.believe), reader: "directory"}
		root, err := os.OpenRoot(w.production)
		if !w.there(ctx, h, err) {
			continue
		}
		client := w.client(http.NewFileTransport(http.FS(root.FS())), &w.t.files)
		if s := w.take(ctx, h, "file://", client, client, nil); s != nil {
			w.hold(ctx, h, s, client)
		}
		root.Close()
	}
	return nil
}

// there judges whether a document came. By its path one always does, however
// late it is asked for; in a directory that was opened once, while that is kept.
func (w *world) there(ctx context.Context, h held, err error) bool {
	if h.reader != "directory" {
		h.until = time.Now().Add(time.Hour)
	}
	if w.t.judge(h, err, false) {
		return true
	}
	sleep(ctx, 100*time.Millisecond)
	return false
}

// take reads the documents and judges how they fit each other; nil when they
// did not come.
func (w *world) take(
	ctx context.Context, h held, server string, client, plain *http.Client, proxy *oracle.Proxy,
) *oracle.Snapshot {
	before, err := identity(plain, server)
	if !w.there(ctx, h, err) {
		return nil
	}
	unchanged := 0
	if proxy != nil {
		unchanged = proxy.Unchanged
	}
	s, err := oracle.Take(context.Background(), client, server)
	if !w.there(ctx, h, err) {
		return nil
	}
	fresh := s
	if proxy != nil {
		unchanged = proxy.Unchanged - unchanged
		if fresh, err = oracle.Take(context.Background(), plain, server); !w.there(ctx, h, err) {
			return nil
		}
	}
	after, err := identity(plain, server)
	if !w.there(ctx, h, err) {
		return nil
	}
	// Numbers only rise: all came from one generation.
	whole := before == after
	if whole && s.Torn != "" {
		w.t.torn(h, fmt.Errorf("in generation %s, %s", after, s.Torn))
	}
	for name, data := range s.Documents {
		if whole && string(data) != string(fresh.Documents[name]) {
			w.t.torn(h, fmt.Errorf("generation %s serves another %s than a client was told by 304", after, name))
		}
	}
	w.t.holds(whole, unchanged)
	return s
}

// identity is the number of the generation that a server shows: publish serve says it
// with each answer, others have it in a file.
func identity(client *http.Client, server string) (string, error) {
	resp, err := client.Get(server + "/streams/v1/index.json")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if said := resp.Header.Get("Publish-Generation"); said != "" || err != nil {
		return said, err
	}
	if resp, err = client.Get(server + "/.publish-generation"); err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", oracle.StatusError{URL: "/.publish-generation", Code: resp.StatusCode}
	}
	data, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(data)), err
}

// moments are when a reader asks while it holds an index: in order, the last
// one often just before the window ends. The rest of it is for the answer.
func (w *world) moments() []time.Duration {
	limit := w.believe - w.believe/20
	all := []time.Duration{rand.N(limit), rand.N(limit), rand.N(limit), rand.N(limit)}
	if rand.N(2) == 0 {
		all[0] = limit - rand.N(limit/10)
	}
	slices.Sort(all)
	return all
}

// hold fetches some of what the documents name, at random moments, and at the
// last one all of it. Now and then it asks again when the window has ended.
func (w *world) hold(ctx context.Context, h held, s *oracle.Snapshot, client *http.Client) {
	start := h.until.Add(-w.believe)
	for i, at := range w.moments() {
		if !sleep(ctx, time.Until(start.Add(at))) {
			return
		}
		order := rand.Perm(len(s.Items))
		if i < 3 {
			order = order[:min(3, len(order))]
		}
		for _, k := range order {
			var err error
			if rand.N(4) == 0 {
				err = s.Items[k].Resume(context.Background(), client, s.Server,
					func() { sleep(ctx, rand.N(w.believe/50)) })
			} else {
				err = s.Items[k].Fetch(context.Background(), client, s.Server)
			}
			w.t.judge(h, err, false)
			if ctx.Err() != nil || time.Now().After(h.until) {
				break
			}
		}
	}
	if rand.N(4) > 0 || !sleep(ctx, time.Until(h.until.Add(w.believe/2))) {
		return
	}
	for _, item := range s.Items {
		w.t.judge(h, item.Fetch(context.Background(), client, s.Server), true)
	}
}

// incus is the Incus client library: each time a new one, which lists, resolves
// aliases, and downloads images as it knows them; and sometimes a restarted
// one, which has nothing but what the first left in its cache.
func (w *world) incus(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := w.incusOnce(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) incusOnce(ctx context.Context) error {
	cache, err := os.MkdirTemp(w.caches, "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(cache)
	h := held{until: time.Now().Add(w.believe), reader: "Incus", web: true}
	client, err := oracle.Connect(w.server.Address(), cache)
	if err != nil {
		return err
	}
	images, err := client.List()
	if !w.there(ctx, h, err) {
		return nil
	}
	w.t.holds(false, 0)
	if rand.N(2) == 0 {
		if client, err = oracle.Connect(w.server.Address(), cache); err != nil {
			return err
		}
	}
	start := h.until.Add(-w.believe)
	for _, at := range w.moments() {
		if !sleep(ctx, time.Until(start.Add(at))) {
			return nil
		}
		n := 3
		for fingerprint := range images {
			if n--; n < 0 || ctx.Err() != nil || time.Now().After(h.until) {
				break
			}
			// A file that it does not find makes it forget what it knows.
			if !w.t.judge(h, client.Download(fingerprint), false) {
				return nil
			}
		}
	}
	return nil
}
