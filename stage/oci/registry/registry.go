// Package registry copies images from OCI registries: it is the [catalog.Upstream] of the
// format in package oci.
//
// What it promises:
//
//   - A name is asked for once, with a GET, and its digest is made from the bytes. All that
//     follows is asked for by digest: a tag that moves meanwhile, or a header that lies,
//     changes nothing.
//   - No document is read past its limit, and no content past the size in its descriptor.
//     A digest is checked before it becomes a part of a URL.
//   - An index stays as it is, for its digest is what the image is called. Platforms that
//     nobody asked for are left out of what comes, together with their attestations.
//   - Manifests come first: the sum of all sizes is known before the first blob.
//
// What package remote promises holds too: pauses, redirects, and errors without credentials.
//
// Tokens, redirects without Authorization, credentials and their helpers come from oras-go.
// Three parts of it are not used. Its client for manifests believes headers, and fails where
// they are missing. Its CopyGraph opens a blob before anybody can say from which byte on,
// skips all below a manifest that is there, and meets the first blobs before it has seen the
// last manifest; so the walk is here, level by level. Its Referrers takes a list under a tag
// for missing if the server calls it text/plain, and fails if it is chunked.
package registry

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/remote"
)

// Options say how registries are asked. The zero value of each field has a default.
type Options struct {
	// Settings returns what is special about a host, such as docker.io or
	// registry.example.com:5000; nil: nothing is. It is called once for each host, and again
	// after an error, which ends the call: a file that it reads may be missing.
	Settings func(host string) (Settings, error)
	Timeouts Timeouts
	Limits   Limits
	Blobs    int // contents that one Fetch asks for at once; 0: 3
	// Before is called before each request with the host that is to be asked. Its error ends
	// the call: one that must not be asked yet is a *catalog.RemoteError. nil: all may be asked.
	Before func(ctx context.Context, host string) error
	// Blocked is called with a host that must not be asked before a time: it said so. nil:
	// only the error says so.
	Blocked func(host string, until time.Time)
	Now     func() time.Time // nil: time.Now
}

// Settings are those of one registry.
type Settings struct {
	// Endpoints are where it is asked, in turn: URLs, of http too. Names stand below /v2 of
	// the URL's path; a path that has a part v2 already is taken as it is. Empty:
	// https://HOST. If none can serve a request, the error is that of the last one.
	Endpoints []string
	// Credentials is a file as Docker's config.json; "": Docker's own, with its helpers.
	Credentials string
	remote.Settings
}

// Timeouts bound how long nothing happens.
type Timeouts = remote.Timeouts

// Limits bound what an image may be.
type Limits struct {
	Manifest int64 // bytes of a manifest or an index; 0, and at most: 4 MiB
	Image    int64 // bytes of all that comes; 0: 64 GiB
	Blobs    int   // contents that come, manifests too; 0: 5000
	Depth    int   // levels of manifests; 0: 4
}

// maxManifest is what registries take, and what package oci reads.
const maxManifest = 4 << 20

// Registry implements [catalog.Upstream]. Several calls may run at the same time.
type Registry struct {
	opt     Options
	mu      sync.Mutex
	servers map[string]*server // by host
}

var _ catalog.Upstream = (*Registry)(nil)

// New returns a Registry. It asks nobody, and reads no file yet.
func New(opt Options) *Registry {
	l := &opt.Limits
	if l.Manifest <= 0 || l.Manifest > maxManifest {
		l.Manifest = maxManifest
	}
	if l.Image <= 0 {
		l.Image = 64 << 30
	}
	if l.Blobs <= 0 {
		l.Blobs = 5000
	}
	if l.Depth <= 0 {
		l.Depth = 4
	}
	if opt.Blobs <= 0 {
		opt.Blobs = 3
	}
	return &Registry{opt: opt, servers: map[string]*server{}}
}

// remote are the options for servers of all kinds.
func (o *Options) remote() remote.Options {
	return remote.Options{Timeouts: o.Timeouts, Before: o.Before, Blocked: o.Blocked, Now: o.Now, Called: hostOf,
		Idle: o.Blobs}
}

// source is a repository of a registry, as one Pin or Fetch asks for it.
type source struct {
	*server
	remote catalog.Remote
	path   string // of the repository, such as library/alpine
	tag    string // "" for none
	limits Limits
	at     atomic.Int32 // the endpoint that answered last
	let    atomic.Int64 // requests that were answered well
	noAPI  atomic.Bool  // it does not know the API of referrers
}

// source returns where a remote is.
func (g *Registry) source(r catalog.Remote) (*source, error) {
	n, err := parse(r.Canonical)
	if err != nil {
		return nil, err
	}
	if r.Pinned != (catalog.Digest{}) {
		if err := r.Pinned.Check(); err != nil {
			return nil, catalog.Usage("", "%s: the digest %v", n.Canonical, err)
		}
		n.Pinned = r.Pinned
	}
	v, err := g.server(n.Host)
	if err != nil {
		return nil, err
	}
	return &source{server: v, remote: n.Remote, path: strings.TrimPrefix(n.Name, n.Host+"/"), tag: n.tag,
		limits: g.opt.Limits}, nil
}

// failed is catalog.Failed for the registry itself, with the name of the image first.
func (s *source) failed(c catalog.Failure, format string, args ...any) *catalog.RemoteError {
	return catalog.Failed(c, s.remote.Host, "%s: "+format, append([]any{s.remote.Name}, args...)...)
}

// Pin implements [catalog.Upstream]. A digest that was written with the name is asked for
// instead of the tag.
func (g *Registry) Pin(ctx context.Context, r catalog.Remote) (catalog.Pin, error) {
	s, err := g.source(r)
	if err != nil {
		return catalog.Pin{}, err
	}
	a, err := s.resolve(ctx, s.tag, s.remote.Pinned)
	if err != nil {
		return catalog.Pin{}, err
	}
	m, err := s.read(a.data, a.mediaType, false)
	if err != nil {
		return catalog.Pin{}, err
	}
	return catalog.Pin{Digest: a.digest, MediaType: m.MediaType, Size: int64(len(a.data))}, nil
}
