// Package upstream copies versions of products from simplestreams servers: it is the
// [catalog.Upstream] of the format in package simplestreams.
//
// What it promises:
//
//   - A copy begins with the index, and ends with files that have the sizes and hashes of
//     the catalogs that were read then. What was selected is told before any file is asked
//     for. If a file is missing everywhere, the index is read anew, once: a server may have
//     replaced it meanwhile.
//   - No document is read past the limit of package simplestreams, and no file past its
//     size. A document that clients cannot read is a failure of the class catalog. One that
//     is no JSON is asked for again, because a login page may come once.
//   - Paths are relative to the URL that was asked for, wherever a redirect leads. A path
//     that climbs out of the tree is never asked for.
//   - With a keyring only clearsigned documents count, and of those only what is signed.
//     The hashes SHA-1 and MD5 count as none.
//   - Credentials go to the server and its mirrors alone, never along with a redirect.
//
// What package remote promises holds too: pauses, redirects, and errors without credentials.
package upstream

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/clearsign"
	"example.com/publish/stage/remote"
)

// Options say how servers are asked. The zero value of each field has a default.
type Options struct {
	// Settings returns what is special about a server, by its canonical URL; nil: nothing is.
	// It is called once for each, and again after an error, which ends the call.
	Settings func(base string) (Settings, error)
	Timeouts remote.Timeouts
	Limits   Limits
	Files    int // that one Fetch asks for at once; 0: 3
	// Before, Blocked and Now are those of remote.Options.
	Before  func(ctx context.Context, host string) error
	Blocked func(host string, until time.Time)
	Now     func() time.Time // nil: time.Now
}

// Settings are those of one server.
type Settings struct {
	remote.Settings
	// Keyring has the keys, binary or armored, of which one must have signed the documents;
	// nil: they need not be signed.
	Keyring []byte
	// Mirrors are URLs of servers that have the files too. They are asked first, in turn.
	Mirrors []string
	// Credentials is the text of a file as Docker's config.json; nil: there are none. Its
	// helpers are not asked.
	Credentials []byte
}

// Limits bound what one Fetch brings.
type Limits struct {
	Bytes int64 // of all files; 0: 64 GiB
	Files int   // 0: 5000
}

// Upstream implements [catalog.Selector]. Several calls may run at the same time.
type Upstream struct {
	opt     Options
	mu      sync.Mutex
	servers map[string]*server // by canonical URL
}

var _ catalog.Selector = (*Upstream)(nil)

// New returns an Upstream. It asks nobody, and reads no file yet.
func New(opt Options) *Upstream {
	if opt.Limits.Bytes <= 0 {
		opt.Limits.Bytes = 64 << 30
	}
	if opt.Limits.Files <= 0 {
		opt.Limits.Files = 5000
	}
	if opt.Files <= 0 {
		opt.Files = 3
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Upstream{opt: opt, servers: map[string]*server{}}
}

// server is where a tree is, and how it is asked.
type server struct {
	base   *url.URL
	places []*url.URL // for files: the mirrors, then base
	way    *remote.Transport
	client *http.Client
	signed *clearsign.Keyring // nil: documents need not be signed
	now    func() time.Time
	at     atomic.Int32 // the place that had a file last
}

// server returns the server at a URL. What is wrong with its settings is found out again by
// the next call.
func (u *Upstream) server(base *url.URL) (*server, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	name := base.String()
	if v := u.servers[name]; v != nil {
		return v, nil
	}
	var set Settings
	var err error
	if u.opt.Settings != nil {
		if set, err = u.opt.Settings(name); err != nil {
			return nil, err
		}
	}
	v := &server{base: base, now: u.opt.Now}
	for _, text := range set.Mirrors {
		m, err := catalog.CanonicalURL(text)
		if err != nil {
			return nil, catalog.Usage("such as https://mirror.example.com/images", "%s: the mirror %s %v", name,
				shown(text), err)
		}
		v.places = append(v.places, m)
	}
	v.places = append(v.places, base)
	if set.Keyring != nil {
		if v.signed, err = clearsign.ReadKeyring(set.Keyring); err != nil {
			out := catalog.Failed(catalog.BadSignature, base.Host, "%s: the file of the key keyring %v", name, err)
			out.Hint = "such as /usr/share/keyrings/ubuntu-cloudimage-keyring.gpg"
			return nil, out
		}
	}
	v.way, err = remote.New(base.Host, remote.Options{Timeouts: u.opt.Timeouts, Before: u.opt.Before,
		Blocked: u.opt.Blocked, Now: u.opt.Now, Idle: u.opt.Files}, set.Settings, v.places...)
	if err != nil {
		return nil, err
	}
	var send http.RoundTripper = v.way
	if set.Credentials != nil {
		if send, err = withCredentials(v.way, set.Credentials, v.places); err != nil {
			out := catalog.Failed(catalog.Unauthorized, base.Host, "%s: the file of the key credentials %v", name, err)
			out.Hint = "a file as Docker's config.json, with a user and a password under auths"
			return nil, out
		}
	}
	v.client = &http.Client{Transport: send}
	u.servers[name] = v
	return v, nil
}
