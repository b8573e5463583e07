package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"example.com/publish/stage/catalog"
)

// server is a registry: where and how it is asked.
type server struct {
	endpoints []endpoint
	client    *auth.Client
}

// endpoint is one URL of a registry.
type endpoint struct {
	base   string // ends with /v2, or with what follows that
	host   string // as in the URL: tokens are kept by it
	within string // what stands before names of repositories; "" for nothing
}

// server returns the server of a host. What is wrong with its settings is a *UsageError, and
// found out again by the next call.
func (g *Registry) server(host string) (*server, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v := g.servers[host]; v != nil {
		return v, nil
	}
	var set Settings
	if g.opt.Settings != nil {
		set = g.opt.Settings(host)
	}
	v := &server{}
	own := map[string]bool{}
	if len(set.Endpoints) == 0 {
		set.Endpoints = []string{"https://" + host}
		if host == hub {
			set.Endpoints[0] = "https://" + hubServer
		}
	}
	for _, text := range set.Endpoints {
		e, dialed, err := parseEndpoint(text)
		if err != nil {
			return nil, catalog.Usage("such as https://mirror.example.com", "%s: the endpoint %s %v", host,
				shown(text), err)
		}
		v.endpoints = append(v.endpoints, e)
		own[dialed] = true
	}
	lookup, err := credentialsOf(set.Credentials)
	if err != nil {
		return nil, catalog.Usage("a file as Docker's config.json", "%s: credentials: %s", host, clean(err.Error()))
	}
	t, err := g.transport(host, set, own)
	if err != nil {
		return nil, err
	}
	v.client = &auth.Client{Client: &http.Client{Transport: t}, Cache: auth.NewCache(), Credential: lookup,
		ClientID: "publish", Header: http.Header{"User-Agent": {"publish"}, "Accept-Encoding": {"identity"}},
		BlockedRealmPrefixes: []netip.Prefix{}} // see guard
	g.servers[host] = v
	return v, nil
}

// parseEndpoint reads the URL of one. dialed is the host with the port.
func parseEndpoint(text string) (e endpoint, dialed string, err error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return e, "", errors.New("is no URL")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return e, "", errors.New("is no URL of http or https")
	case u.User != nil:
		return e, "", errors.New("has a user: put that into the file of credentials")
	case u.RawQuery != "" || u.Fragment != "":
		return e, "", errors.New("has more than a path")
	}
	p := path.Join("/", u.Path)
	before, after, whole := strings.Cut(p+"/", "/v2/")
	if !whole {
		before = p
	}
	u.Path, u.RawPath = path.Join(before, "v2", after), ""
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	return endpoint{base: u.String(), host: u.Host, within: strings.Trim(after, "/")}, dialedAt(u), nil
}

// dialedAt is the host and port that a URL has dialed.
func dialedAt(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
		if u.Scheme == "http" {
			port = "80"
		}
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// hostOf is what a host of a URL is called: Docker Hub has several names.
func hostOf(host string) string {
	host = strings.ToLower(host)
	if hubNames[host] {
		return hub
	}
	return host
}

// credentialsOf looks for credentials in a file, or where Docker has them. Docker Hub has
// its own under several names.
func credentialsOf(file string) (auth.CredentialFunc, error) {
	var store credentials.Store
	var err error
	if file != "" {
		if _, err := os.Stat(file); err != nil { // the library takes a missing file for an empty one
			return nil, err
		}
		store, err = credentials.NewStore(file, credentials.StoreOptions{})
	} else {
		if store, err = credentials.NewStoreFromDocker(credentials.StoreOptions{}); errors.Is(err, os.ErrNotExist) ||
			os.Getenv("HOME") == "" && os.Getenv("DOCKER_CONFIG") == "" {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, host string) (auth.Credential, error) {
		names := []string{host}
		if hubNames[host] {
			names = []string{"https://index.docker.io/v1/", hub, "index.docker.io", hubServer,
				"registry.hub.docker.com"}
		}
		for _, name := range names {
			if c, err := store.Get(ctx, name); err != nil || c != auth.EmptyCredential {
				return c, err
			}
		}
		return auth.EmptyCredential, nil
	}, nil
}

// transport makes the way to a registry at the addresses own.
func (g *Registry) transport(host string, set Settings, own map[string]bool) (http.RoundTripper, error) {
	timeouts := g.opt.Timeouts
	way := &guard{own: own, connect: timeouts.Connect}
	var roots *x509.CertPool
	if set.CA != nil {
		var err error
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(set.CA) {
			return nil, catalog.Usage("a file of PEM certificates", "%s: ca: has no certificate", host)
		}
	}
	proxy := http.ProxyFromEnvironment
	if set.Proxy != "" {
		u, err := url.Parse(set.Proxy)
		if err != nil || u.Hostname() == "" {
			return nil, catalog.Usage("such as http://proxy.example.com:3128", "%s: the proxy %s is no URL", host,
				shown(set.Proxy))
		}
		proxy = http.ProxyURL(u)
	}
	t := &transport{guard: way, now: g.opt.Now, stall: timeouts.Stall, before: g.opt.Before, blocked: g.opt.Blocked,
		requests: newPace(set.Requests), bytes: newPace(float64(set.Bandwidth))}
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
		TLSHandshakeTimeout:   timeouts.Connect,
		ResponseHeaderTimeout: timeouts.Answer,
		MaxIdleConnsPerHost:   max(8, g.opt.Blobs),
		IdleConnTimeout:       timeouts.Stall,
		DisableCompression:    true, // else a layer that is labelled gzip is unpacked
		ForceAttemptHTTP2:     true,
	}
	return t, nil
}
