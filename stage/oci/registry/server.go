package registry

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/remote"
)

// server is a registry: where and how it is asked.
type server struct {
	endpoints []endpoint
	way       *remote.Transport
	client    *auth.Client
}

// endpoint is one URL of a registry.
type endpoint struct {
	base   string // ends with /v2, or with what follows that
	host   string // as in the URL: tokens are kept by it
	within string // what stands before names of repositories; "" for nothing
}

// server returns the server of a host. What is wrong with its settings is a *UsageError, and
// an error of Settings is returned as it is; both are found out again by the next call.
func (g *Registry) server(host string) (*server, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v := g.servers[host]; v != nil {
		return v, nil
	}
	var set Settings
	if g.opt.Settings != nil {
		var err error
		if set, err = g.opt.Settings(host); err != nil {
			return nil, err
		}
	}
	v := &server{}
	var own []*url.URL
	if len(set.Endpoints) == 0 {
		set.Endpoints = []string{"https://" + host}
		if host == hub {
			set.Endpoints[0] = "https://" + hubServer
		}
	}
	for _, text := range set.Endpoints {
		e, u, err := parseEndpoint(text)
		if err != nil {
			return nil, catalog.Usage("such as https://mirror.example.com", "%s: the endpoint %s %v", host,
				shown(text), err)
		}
		v.endpoints = append(v.endpoints, e)
		own = append(own, u)
	}
	lookup, err := credentialsOf(set.Credentials)
	if err != nil {
		return nil, catalog.Usage("a file as Docker's config.json", "%s: credentials: %s", host, remote.Clean(err.Error()))
	}
	if v.way, err = remote.New(host, g.opt.remote(), set.Settings, own...); err != nil {
		return nil, err
	}
	v.client = &auth.Client{Client: &http.Client{Transport: v.way}, Cache: auth.NewCache(), Credential: lookup,
		ClientID: "publish", Header: http.Header{"User-Agent": {"publish"}, "Accept-Encoding": {"identity"}},
		BlockedRealmPrefixes: []netip.Prefix{}} // see package remote
	g.servers[host] = v
	return v, nil
}

// parseEndpoint reads the URL of one.
func parseEndpoint(text string) (e endpoint, at *url.URL, err error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return e, nil, errors.New("is no URL")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return e, nil, errors.New("is no URL of http or https")
	case u.User != nil:
		return e, nil, errors.New("has a user: put that into the file of credentials")
	case u.RawQuery != "" || u.Fragment != "":
		return e, nil, errors.New("has more than a path")
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
	return endpoint{base: u.String(), host: u.Host, within: strings.Trim(after, "/")}, u, nil
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
