package storetest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
)

// Fault is what happens to a request.
type Fault int

// The faults. All but None, Twice and the last two end as an error for the client.
const (
	None       Fault = iota
	NeverSent        // the connection ends; the store sees nothing
	AnswerLost       // the store does it; the connection ends before the answer
	Status500        // 500; the store sees nothing
	Status503        // 503 SlowDown; the store sees nothing
	Applied500       // the store does it; the answer is 500
	CutBody          // the connection ends in the middle of the body: of the request, or else of the answer
	Own412           // the store does it; the answer is 412, as that of a repetition
	Conflict         // 409 ConditionalRequestConflict; the store sees nothing
	Error200         // the store sees nothing; the answer is 200, with an error in its body
	Hang             // no answer ever; the store sees nothing
	Twice            // the store does it twice; the answer is the second one
	faults           // how many there are
	// AnswerKilled is AnswerLost for a client that the function after of Around kills: the
	// connection ends after it. The answer counts as given: see Request.Answered.
	AnswerKilled
)

var names = [faults]string{"none", "never sent", "answer lost", "500", "503", "applied and 500", "cut body", "own 412",
	"conflict", "error 200", "hang", "twice"}

func (f Fault) String() string { return names[f] }

// Faults are all of them.
func Faults() (list []Fault) {
	for f := None + 1; f < faults; f++ {
		list = append(list, f)
	}
	return list
}

// Request is one that a proxy has seen.
type Request struct {
	N      int // from 1
	Method string
	Path   string // escaped
	Query  url.Values
	Header http.Header
	// Sent counts the bytes of its body that the client sent; see Proxy.Requests.
	Sent int64
	// Answered is the status that the client got; 0 for none.
	Answered int
	// Received counts the bytes of the answer's body.
	Received int64
}

// Proxy stands between a client and a store.
type Proxy struct {
	Endpoint string

	server *httptest.Server
	to     *url.URL
	client *http.Transport
	stop   chan struct{}

	mu     sync.Mutex
	fault  func(Request) Fault
	before func(Request)
	after  func(Request)
	list   []*Request
}

// NewProxy returns one before a store, without faults.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	to, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := StartProxy(to)
	t.Cleanup(p.Close)
	return p
}

// StartProxy is NewProxy outside a test, before the store at this address. Close it.
func StartProxy(to *url.URL) *Proxy {
	p := &Proxy{to: to, client: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		stop: make(chan struct{})}
	p.server = httptest.NewServer(p)
	p.Endpoint = p.server.URL
	return p
}

// Close ends it, and all connections.
func (p *Proxy) Close() {
	close(p.stop)
	p.server.CloseClientConnections()
	p.server.Close()
	p.client.CloseIdleConnections()
}

// Spoil decides about each request from now on; their count begins anew. nil: no faults.
func (p *Proxy) Spoil(fault func(Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.list = fault, nil
}

// SpoilNth spoils the request with this number, from 1.
func (p *Proxy) SpoilNth(n int, fault Fault) {
	p.Spoil(func(r Request) Fault {
		if r.N == n {
			return fault
		}
		return None
	})
}

// Around has functions called before a request is looked at, and after its answer went
// out; either may be nil.
func (p *Proxy) Around(before, after func(Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before, p.after = before, after
}

// Requests are those since the last Spoil.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Request
	for _, r := range p.list {
		list = append(list, *r)
	}
	return list
}

// Count counts the requests with a method, and the bytes of their bodies; "" for all.
func (p *Proxy) Count(method string) (requests int, sent int64) {
	for _, r := range p.Requests() {
		if method == "" || r.Method == method {
			requests++
			sent += r.Sent
		}
	}
	return requests, sent
}

// ServeHTTP implements [http.Handler].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	req := &Request{N: len(p.list) + 1, Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(),
		Header: r.Header.Clone()}
	p.list = append(p.list, req)
	fault, before, after := p.fault, p.before, p.after
	seen := *req
	p.mu.Unlock()
	if before != nil {
		before(seen)
	}
	kind := None
	if fault != nil {
		kind = fault(seen)
	}
	p.spoil(w, r, req, kind)
	if after != nil {
		p.mu.Lock()
		seen = *req
		p.mu.Unlock()
		after(seen)
	}
	if kind == AnswerKilled {
		cut(w)
	}
}

func (p *Proxy) spoil(w http.ResponseWriter, r *http.Request, req *Request, kind Fault) {
	body := &counted{Reader: r.Body, add: func(n int) { p.add(&req.Sent, n) }}
	swallow := func() { _, _ = io.Copy(io.Discard, body) }
	switch kind {
	case NeverSent:
		cut(w)
	case Status500, Status503, Conflict, Error200:
		swallow()
		p.fail(w, req, map[Fault]int{Status500: 500, Status503: 503, Conflict: 409, Error200: 200}[kind])
	case Hang:
		swallow()
		select {
		case <-r.Context().Done():
		case <-p.stop:
			cut(w)
		}
	case CutBody:
		if r.ContentLength > 1 {
			_, _ = io.CopyN(io.Discard, body, r.ContentLength/2)
			cut(w)
			return
		}
		p.forward(w, r, req, body, true)
	case AnswerLost, AnswerKilled, Applied500, Own412:
		resp, err := p.send(r, body)
		if err != nil {
			cut(w)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		switch kind {
		case AnswerLost:
			cut(w)
		case AnswerKilled:
			p.mu.Lock()
			req.Answered = resp.StatusCode
			p.mu.Unlock()
		case Applied500:
			p.fail(w, req, 500)
		default:
			p.fail(w, req, 412)
		}
	case Twice:
		data, err := io.ReadAll(body)
		if err != nil {
			cut(w)
			return
		}
		if resp, err := p.send(r, bytes.NewReader(data)); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		p.forward(w, r, req, bytes.NewReader(data), false)
	default:
		p.forward(w, r, req, body, false)
	}
}

// send sends a request to the store, for the same host, which is signed.
func (p *Proxy) send(r *http.Request, body io.Reader) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = p.to.Scheme, p.to.Host, ""
	out.Header.Del("Expect") // this proxy has asked for the body
	out.Body = nil
	if r.ContentLength != 0 {
		out.Body = io.NopCloser(body)
	}
	return p.client.RoundTrip(out)
}

func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, req *Request, body io.Reader, half bool) {
	resp, err := p.send(r, body)
	if err != nil {
		cut(w)
		return
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	n := resp.ContentLength
	if half && n <= 1 {
		cut(w) // it has no middle
		return
	}
	p.mu.Lock()
	req.Answered = resp.StatusCode
	p.mu.Unlock()
	if n >= 0 {
		w.Header().Set("Content-Length", fmt.Sprint(n))
	}
	w.WriteHeader(resp.StatusCode)
	from := &counted{Reader: resp.Body, add: func(n int) { p.add(&req.Received, n) }}
	if half {
		_, _ = io.CopyN(w, from, n/2)
		_ = http.NewResponseController(w).Flush()
		cut(w)
		return
	}
	_, _ = io.Copy(w, from)
}

func (p *Proxy) add(to *int64, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*to += int64(n)
}

// fail answers as a store does.
func (p *Proxy) fail(w http.ResponseWriter, req *Request, status int) {
	p.mu.Lock()
	req.Answered = status
	p.mu.Unlock()
	code := map[int]string{200: "InternalError", 409: "ConditionalRequestConflict", 412: "PreconditionFailed",
		500: "InternalError", 503: "SlowDown"}[status]
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>a fault of the "+
		"proxy</Message></Error>", code)
}

// cut ends the connection.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // ends it as well
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// counted counts what is read.
type counted struct {
	io.Reader
	add func(n int)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if n > 0 {
		c.add(n)
	}
	return n, err
}
