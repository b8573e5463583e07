// Package remote asks the HTTP servers of others. Upstreams of all formats use it.
//
// What it promises:
//
//   - Before and Blocked of [Options] see each request, also those to token servers and to
//     where a server redirects. A host that said "not before" is not asked before.
//   - A redirect, or a token server, at a loopback, link-local or private address is refused,
//     unless the server is at such an address itself.
//   - Nothing that a server sends is unpacked: the bytes are those that a digest is of.
//   - An answer that stalls ends. A whole copy may take any time.
//   - No error has a credential in it: of a URL it tells neither the user nor the query.
package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// Options say how all servers are asked. The zero value of each field has a default.
type Options struct {
	Timeouts Timeouts
	// Before is called before each request with the host that is to be asked. Its error ends
	// the call: one that must not be asked yet is a *catalog.RemoteError. nil: all may be asked.
	Before func(ctx context.Context, host string) error
	// Blocked is called with a host that must not be asked before a time: it said so. nil:
	// only the error says so.
	Blocked func(host string, until time.Time)
	Now     func() time.Time         // nil: time.Now
	Called  func(host string) string // the name of a host of a URL; nil: its own, lowered
	Idle    int                      // connections that stay open; 0: 8
}

// Settings are those of one server.
type Settings struct {
	CA          []byte  // certificates as PEM, beside those of the system; nil: none
	Insecure    bool    // certificates are not checked
	Proxy       string  // the URL of a proxy; "": as the environment says
	Connections int     // requests at once, until their bodies are read; 0: any number
	Requests    float64 // a second; 0: any number
	Bandwidth   int64   // bytes a second; 0: any number
}

// Timeouts bound how long nothing happens. None bounds a whole copy.
type Timeouts struct {
	Connect time.Duration // and the same for TLS; 0: 10 s
	Answer  time.Duration // from the request to the header of its answer; 0: 60 s
	Stall   time.Duration // between two reads of a body; 0: 60 s
}

// fill gives the fields that are zero their defaults.
func (o *Options) fill() {
	fill := func(d *time.Duration, seconds int) {
		if *d <= 0 {
			*d = time.Duration(seconds) * time.Second
		}
	}
	fill(&o.Timeouts.Connect, 10)
	fill(&o.Timeouts.Answer, 60)
	fill(&o.Timeouts.Stall, 60)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Called == nil {
		o.Called = strings.ToLower
	}
	o.Idle = max(8, o.Idle)
}

// New makes the way to the server called host, whose own addresses are those of some URLs.
// What is wrong with the settings is a *catalog.UsageError; certificates that are none are a
// *catalog.RemoteError.
func New(host string, opt Options, set Settings, own ...*url.URL) (*Transport, error) {
	opt.fill()
	way := &guard{own: map[string]bool{}, connect: opt.Timeouts.Connect}
	for _, u := range own {
		way.own[DialedAt(u)] = true
	}
	var roots *x509.CertPool
	if set.CA != nil {
		var err error
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(set.CA) {
			out := catalog.Failed(catalog.BadTLS, host, "%s: the file of the key ca has no certificate", host)
			out.Hint = "a file of PEM certificates"
			return nil, out
		}
	}
	proxy := http.ProxyFromEnvironment
	if set.Proxy != "" {
		u, err := url.Parse(set.Proxy)
		if err != nil || u.Hostname() == "" {
			return nil, catalog.Usage("such as http://proxy.example.com:3128", "%s: the proxy %s is no URL", host,
				catalog.Show(Clean(set.Proxy)))
		}
		proxy = http.ProxyURL(u)
	}
	t := &Transport{guard: way, called: opt.Called, now: opt.Now, stall: opt.Timeouts.Stall, before: opt.Before,
		blocked: opt.Blocked, requests: newPace(set.Requests), bytes: newPace(float64(set.Bandwidth))}
	if set.Connections > 0 {
		t.slots = make(chan struct{}, set.Connections)
	}
	t.base = &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			u, err := proxy(r)
			if u != nil {
				way.through(u)
			}
			return u, err
		},
		DialContext: way.dial,
		TLSClientConfig: &tls.Config{RootCAs: roots, InsecureSkipVerify: set.Insecure,
			MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   opt.Timeouts.Connect,
		ResponseHeaderTimeout: opt.Timeouts.Answer,
		MaxIdleConnsPerHost:   opt.Idle,
		IdleConnTimeout:       opt.Timeouts.Stall,
		DisableCompression:    true, // else content that is labelled gzip is unpacked
		ForceAttemptHTTP2:     true,
	}
	return t, nil
}
