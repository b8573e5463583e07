package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// running is a server that runs as the command does.
type running struct {
	*world
	urls         []string
	stop         context.CancelFunc
	reload, quit chan struct{}
	done         chan error
	output       logged
}

// run runs the server of a world; it has ended when the test ends.
func (w *world) run(opt Options) *running {
	w.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r := &running{world: w, stop: stop, reload: make(chan struct{}), quit: make(chan struct{}), done: make(chan error, 1)}
	ready := make(chan []string, 1)
	opt.Output, opt.Ready = &r.output, func(urls []string) { ready <- urls }
	go func() { r.done <- w.server.Run(ctx, opt, r.reload, r.quit) }()
	select {
	case r.urls = <-ready:
	case err := <-r.done:
		w.Fatal(err)
	}
	w.Cleanup(func() {
		stop()
		select {
		case <-r.quit:
		default:
			close(r.quit)
		}
		if err, ok := <-r.done; ok && err != nil {
			w.Error(err)
		}
	})
	return r
}

// ended waits for the end, and lets it be seen once more.
func (r *running) ended() error {
	err := <-r.done
	close(r.done)
	return err
}

// insecure asks without checking certificates, each time on a new connection.
func insecure() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
}

func (r *running) ask(c *http.Client, url string) (*http.Response, string) {
	r.Helper()
	res, err := c.Get(url)
	r.no(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	r.no(err)
	return res, string(body)
}

// A server listens at addresses of each kind, and answers TLS with HTTP/2.
func TestRun(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	w := streams(t, "symlink", `serve: {listen: ["http://127.0.0.1:0", "https://127.0.0.1:0", "unix:`+socket+
		`"], admin: "http://localhost:0", access_log: "-"}`)
	path := w.image("20260101", "one")
	w.promote()
	// What a killed server left does not keep the next one from listening.
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	w.no(err)
	left.SetUnlinkOnClose(false)
	w.no(left.Close())
	r := w.run(Options{SelfSigned: true})
	if len(r.urls) != 4 || !strings.HasPrefix(r.urls[1], "https://") || r.urls[2] != "unix:"+socket {
		t.Fatal(r.urls)
	}
	if _, body := r.ask(insecure(), r.urls[0]+"/"+path); body != "one" {
		t.Error(body)
	}
	if res, body := r.ask(insecure(), r.urls[1]+"/"+path); body != "one" || res.Proto != "HTTP/2.0" {
		t.Error(res.Proto, body)
	}
	if _, body := r.ask(&http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (
		net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}, "http://x/"+path); body != "one" {
		t.Error(body)
	}
	if _, body := r.ask(insecure(), r.urls[3]+"/metrics"); !strings.Contains(body, "publish_serve_generation 1") {
		t.Error(body)
	}
	// HTTP on the port of TLS is answered at once: Incus asks so first.
	if res, _ := r.ask(insecure(), strings.Replace(r.urls[1], "https:", "http:", 1)+"/"+path); res.StatusCode != 400 {
		t.Error(res.Status)
	}
	r.stop()
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	var line struct {
		Client, Method, URI, Generation string
		Status                          int
		Bytes                           int64
	}
	if err := json.Unmarshal([]byte(strings.SplitN(r.output.String(), "\n", 2)[0]), &line); err != nil ||
		line.URI != "/"+path || line.Status != 200 || line.Bytes != 3 || line.Client != "127.0.0.1" ||
		line.Generation != "1" {
		t.Errorf("%v %+v in %s", err, line, r.output.String())
	}
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket is still there")
	}
}

// A proxy that is another user can connect to a public socket, whatever the umask; to that
// of operators only the own group can.
func TestSocketModes(t *testing.T) {
	dir := t.TempDir()
	w := streams(t, "symlink", `serve: {listen: ["unix:`+dir+`/http.sock"], admin: "unix:`+dir+`/admin.sock"}`)
	w.promoteOne()
	w.run(Options{})
	for name, want := range map[string]fs.FileMode{"http.sock": 0o666, "admin.sock": 0o660} {
		fi, err := os.Lstat(filepath.Join(dir, name))
		w.no(err)
		if got := fi.Mode().Perm(); got != want {
			t.Errorf("%s: %o, want %o", name, got, want)
		}
	}
}

// At the end, transfers go on until they are done; new connections are refused.
func TestDrain(t *testing.T) {
	w := streams(t, "symlink", `serve: {listen: ["http://127.0.0.1:0"], admin: off}`)
	large := strings.Repeat("0123456789abcdef", 1<<20)
	path := w.image("20260101", large)
	w.promote()
	r := w.run(Options{})
	res, err := http.Get(r.urls[0] + "/" + path)
	w.no(err)
	defer res.Body.Close()
	half := make([]byte, len(large)/2)
	_, err = io.ReadFull(res.Body, half)
	w.no(err)
	r.stop()
	for {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.urls[0], "http://"))
		if err != nil {
			break
		}
		_ = conn.Close()
		time.Sleep(time.Millisecond)
	}
	rest, err := io.ReadAll(res.Body)
	if err != nil || string(half)+string(rest) != large {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

// A second signal ends it at once.
func TestQuit(t *testing.T) {
	w := streams(t, "symlink", `serve: {listen: ["http://127.0.0.1:0"], admin: off, limits: {drain: 1d}}`)
	path := w.image("20260101", strings.Repeat("0123456789abcdef", 1<<20))
	w.promote()
	r := w.run(Options{})
	res, err := http.Get(r.urls[0] + "/" + path)
	w.no(err)
	defer res.Body.Close()
	r.stop()
	close(r.quit)
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Error("the transfer went on to its end")
	}
}

// The end does not wait for a health check that waits for a generation: it is answered as
// one that comes later.
func TestDrainEndsWaits(t *testing.T) {
	w := streams(t, "symlink", `serve: {listen: ["http://127.0.0.1:0"], admin: off, limits: {drain: 1d}}`)
	w.promoteOne()
	r := w.run(Options{})
	type answer struct {
		status int
		body   string
		err    error
	}
	got := make(chan answer, 1)
	start := time.Now()
	go func() {
		res, err := insecure().Get(r.urls[0] + "/-/readyz?generation=9")
		if err != nil {
			got <- answer{err: err}
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		got <- answer{res.StatusCode, string(body), err}
	}()
	for value(w.metrics(), "publish_serve_in_flight") != "2" { // it counts itself
		time.Sleep(time.Millisecond)
	}
	r.stop()
	if a := <-got; a != (answer{503, "the server is ending\n", nil}) {
		t.Errorf("after %s: %+v", time.Since(start), a)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

// writePair writes a certificate and its key, and returns the certificate.
func (w *world) writePair(cert, key string) *x509.Certificate {
	w.Helper()
	pair, err := w.server.makeCertificate()
	w.no(err)
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	w.no(err)
	w.no(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o644))
	w.no(os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return pair.Leaf
}

// A new certificate is taken on SIGHUP; a broken pair leaves the old one in place.
func TestCertificateChanges(t *testing.T) {
	w := streams(t, "symlink", `serve: {listen: ["https://127.0.0.1:0"], admin: off, tls: {cert: c.pem, key: k.pem}}`)
	w.image("20260101", "one")
	w.promote()
	cert, key := filepath.Join(w.dir, "c.pem"), filepath.Join(w.dir, "k.pem")
	first := w.writePair(cert, key)
	r := w.run(Options{})
	shown := func() *x509.Certificate {
		res, _ := r.ask(insecure(), r.urls[0]+"/-/healthz")
		return res.TLS.PeerCertificates[0]
	}
	if !shown().Equal(first) {
		t.Error("it shows another certificate")
	}
	second := w.writePair(cert, key)
	r.reload <- struct{}{}
	r.reload <- struct{}{} // the one before has been dealt with
	if !shown().Equal(second) {
		t.Error("it did not take the new certificate")
	}
	w.no(os.WriteFile(key, []byte("no key"), 0o600))
	r.reload <- struct{}{}
	r.reload <- struct{}{}
	if !shown().Equal(second) || !strings.Contains(w.logged.String(), "the old one stays") {
		t.Errorf("a broken pair: %s", w.logged)
	}
}

// Too many connections, of all or of one client, are closed.
func TestConnectionLimits(t *testing.T) {
	for _, limit := range []string{"connections", "per_client"} {
		w := streams(t, "symlink", `serve: {listen: ["http://127.0.0.1:0"], admin: off, limits: {`+limit+`: 2}}`)
		w.promoteOne()
		r := w.run(Options{})
		var open []net.Conn
		for range 2 {
			c, err := net.Dial("tcp", strings.TrimPrefix(r.urls[0], "http://"))
			w.no(err)
			open = append(open, c)
			_, err = c.Write([]byte("GET /-/healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
			w.no(err)
			_, err = c.Read(make([]byte, 1))
			w.no(err)
		}
		if _, err := insecure().Get(r.urls[0] + "/-/healthz"); err == nil {
			t.Errorf("%s: a third connection was served", limit)
		}
		if got := value(w.metrics(), `publish_serve_rejected_total{reason="`+limit+`"}`); got == "0" || got == "" {
			t.Errorf("%s: %s were rejected", limit, got)
		}
		for _, c := range open {
			_ = c.Close()
		}
	}
}

// Nobody who stops in the middle of a request or of an answer keeps a connection.
func TestSlowClients(t *testing.T) {
	w := streams(t, "symlink", `serve: {listen: ["http://127.0.0.1:0"], admin: off, limits: {header_timeout: 50ms, `+
		`stall_timeout: 50ms, idle_timeout: 50ms}}`)
	path := w.image("20260101", strings.Repeat("0123456789abcdef", 1<<21))
	w.promote()
	r := w.run(Options{})
	for name, text := range map[string]string{
		"half headers":           "GET / HTTP/1.1\r\nHost: x\r\n",
		"a body that stops":      "GET /-/healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
		"no second request":      "GET /-/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"an answer nobody reads": "GET /" + path + " HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.urls[0], "http://"))
		w.no(err)
		_, err = c.Write([]byte(text))
		w.no(err)
		// The test hangs if nobody cuts it. What is read here is little; the large answer is
		// not read, and has ended when it is counted.
		if strings.HasPrefix(name, "an answer") {
			for value(w.metrics(), `publish_serve_requests_total{code="200",kind="content"}`) == "0" {
				time.Sleep(time.Millisecond)
			}
		} else if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
		_ = c.Close()
	}
}

// Headers that are too long, and other junk, are refused.
func TestHostileRequests(t *testing.T) {
	w := streams(t, "symlink", `serve: {listen: ["http://127.0.0.1:0"], admin: off}`)
	path := w.image("20260101", "one")
	w.promote()
	r := w.run(Options{})
	for text, status := range map[string]string{
		"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 100<<10) + "\r\n\r\n":                   "431",
		"GET http://other/" + path + " HTTP/1.1\r\nHost: x\r\n\r\n":                                      "200",
		"GET /" + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":                          "200",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n":                                                          "400",
		"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n":                                                          "400",
		"GET /" + path + " HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4, <script>\r\n\r\n":            "200",
		"CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n":                                          "400",
		"GET /" + path + " HTTP/1.1\r\nHost: x\r\nRange: bytes=" + strings.Repeat("9", 50) + "-\r\n\r\n": "416",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.urls[0], "http://"))
		w.no(err)
		_, err = c.Write([]byte(text))
		w.no(err)
		line := make([]byte, 12)
		_, err = io.ReadFull(c, line)
		if got := strings.TrimPrefix(string(line), "HTTP/1.1 "); err != nil || got != status {
			t.Errorf("%.60q: %s %v, want %s", text, line, err, status)
		}
		_ = c.Close()
	}
}

// Only a proxy of ours is believed about whose request it passes on.
func TestClient(t *testing.T) {
	w := streams(t, "symlink", `serve: {trusted_proxies: [127.0.0.0/8, "10.0.0.1"]}`)
	for _, c := range []struct{ remote, forwarded, want string }{
		{"127.0.0.1:5", "192.0.2.1", "192.0.2.1"},
		{"127.0.0.1:5", "6.6.6.6, 192.0.2.1, 10.0.0.1", "192.0.2.1"},
		{"127.0.0.1:5", "junk", "127.0.0.1"},
		{"127.0.0.1:5", "", "127.0.0.1"},
		{"192.0.2.9:5", "1.2.3.4", "192.0.2.9"},
		{"@", "192.0.2.1", "192.0.2.1"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := w.server.behind.client(r); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
