package serve

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are pipes in memory: with them all waiting is of
// the kind that a clock of synctest waits for.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error { return nil }

func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// http2 serves a world over HTTP/2 while use runs, on the clock of synctest.
func (w *world) http2(t *testing.T, use func(t *testing.T, c *http.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w.server = New(w.open(), slog.New(slog.NewTextHandler(w.logged, nil))) // its channels are on that clock
		ctx, stop := context.WithCancel(t.Context())
		go w.server.Keep(ctx)
		defer w.server.kept.close()
		defer stop()
		conns := make(pipes)
		only := new(http.Protocols)
		only.SetUnencryptedHTTP2(true)
		srv := &http.Server{Handler: w.server.Public(), Protocols: only}
		go func() { _ = srv.Serve(conns) }()
		transport := &http.Transport{Protocols: only, DisableCompression: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				conns <- there
				return here, nil
			}}
		use(t, &http.Client{Transport: transport})
		transport.CloseIdleConnections()
		close(conns)
		_ = srv.Close()
	})
}

// A client over HTTP/2 may take longer for an answer than stall_timeout, as long as each
// MiB moves on; one that stops is cut.
func TestHTTP2Deadlines(t *testing.T) {
	const size = 16 << 20 // more than what the client and its connection hold back
	w := streams(t, "symlink", `serve: {limits: {stall_timeout: 60s}}`)
	path := w.image("20260101", strings.Repeat("0123456789abcdef", size/16))
	w.promote()
	w.http2(t, func(t *testing.T, c *http.Client) {
		for _, one := range []struct {
			each time.Duration // the pause after each MiB
			ends bool
		}{{20 * time.Second, true}, {10 * time.Minute, false}} {
			res, err := c.Get("http://x/" + path)
			if err != nil {
				t.Fatal(err)
			}
			start, n := time.Now(), int64(0)
			for err == nil {
				var k int64
				k, err = io.CopyN(io.Discard, res.Body, piece)
				n += k
				time.Sleep(one.each)
			}
			_ = res.Body.Close()
			if whole := err == io.EOF && n == size; whole != one.ends || res.ProtoMajor != 2 {
				t.Errorf("a MiB in %s: %s, %d bytes in %s, %v", one.each, res.Proto, n, time.Since(start), err)
			}
		}
	})
}

// If a file turns out to be short in mid-answer, a client over HTTP/2 also learns that it
// has not got all. The request is counted.
func TestHTTP2FileCutShort(t *testing.T) {
	const size = 16 << 20
	w := streams(t, "symlink")
	path := w.image("20260101", strings.Repeat("0123456789abcdef", size/16))
	w.promote()
	w.http2(t, func(t *testing.T, c *http.Client) {
		res, err := c.Get("http://x/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if err := os.Truncate(w.dir+"/production/"+path, size-piece); err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		if err == nil || !strings.Contains(err.Error(), "INTERNAL_ERROR") {
			t.Errorf("%d bytes, %v", n, err)
		}
		synctest.Wait()
	})
	if got := value(w.metrics(), `publish_serve_requests_total{code="200",kind="content"}`); got != "1" {
		t.Errorf("%q requests", got)
	}
}
