package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/oci"
	"example.com/publish/stage/oci/registry"
	"example.com/publish/stage/remote"
	"example.com/publish/stage/simplestreams"
)

func (p *program) mirrorCommand() *command {
	subs := []*command{p.mirrorAddCommand(), p.mirrorRunCommand(), p.mirrorListCommand(), p.mirrorStatusCommand(),
		p.mirrorWatchCommand(), p.mirrorAddressCommand(), p.mirrorCancelCommand(), p.mirrorRetryCommand(),
		p.mirrorUpdateCommand(), p.mirrorHistoryCommand()}
	return &command{subs: subs, Command: &cli.Command{
		Name: "mirror", Category: "staging",
		Usage:  "bring images from other servers into staging",
		Action: p.whichCommand,
	}}
}

// upstreams are the servers that images come from, by the format of what they have. A new
// one is a package and a line here.
var upstreams = map[string]func(*publish.Repo, *mirror.Hosts, func() time.Time) (catalog.Upstream, error){
	oci.Format{}.Name():           registries,
	simplestreams.Format{}.Name(): streamServers,
}

// registries are those of OCI images, as publish.yaml says that they are reached.
func registries(r *publish.Repo, h *mirror.Hosts, now func() time.Time) (catalog.Upstream, error) {
	c := &r.Config.Mirror
	file := func(path string) string { return below(r, path) }
	return registry.New(registry.Options{
		Settings: func(host string) (registry.Settings, error) {
			s := c.Registry(host)
			set, err := reached(host, s, file(s.CA))
			return registry.Settings{Endpoints: s.Endpoints, Credentials: file(s.Credentials), Settings: set}, err
		},
		Timeouts: timeouts(c),
		Limits: registry.Limits{Manifest: int64(c.Limits.Manifest), Image: int64(c.Limits.Image), Blobs: c.Limits.Blobs,
			Depth: c.Limits.Depth},
		Blobs:   c.Blobs,
		Before:  func(_ context.Context, host string) error { return h.Before(host) },
		Blocked: blocked(h),
		Now:     now,
	}), nil
}

// timeouts are for how long a server is waited for.
func timeouts(c *publish.MirrorConfig) remote.Timeouts {
	return remote.Timeouts{Connect: time.Duration(c.Timeouts.Connect), Answer: time.Duration(c.Timeouts.Answer),
		Stall: time.Duration(c.Timeouts.Stall)}
}

// blocked notes hosts that want a pause.
func blocked(h *mirror.Hosts) func(host string, until time.Time) {
	return func(host string, until time.Time) {
		_ = h.Block(host, until, "it asked for that") // the job waits in any case
	}
}

// below is the path of a file that publish.yaml names.
func below(r *publish.Repo, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.Dir, path)
}

// maxCertificates is the maximum size of a file of certificates, in bytes.
const maxCertificates = 4 << 20

// reached says how a server is reached. A file of certificates that cannot be read is a
// failure of what is wanted of that server, and of nothing else.
func reached(host string, s publish.RegistryConfig, ca string) (remote.Settings, error) {
	out := remote.Settings{Insecure: s.Insecure, Proxy: s.Proxy, Connections: s.Connections,
		Requests: float64(s.Requests), Bandwidth: int64(s.Bandwidth)}
	if ca == "" {
		return out, nil
	}
	data, err := durable.ReadFile(ca, maxCertificates)
	if err != nil {
		return out, &catalog.RemoteError{Class: catalog.BadTLS, Host: host, Err: err,
			Hint: "the key ca under mirror in publish.yaml names the file"}
	}
	if data == nil {
		data = []byte{} // an empty file has no certificate
	}
	out.CA = data
	return out, nil
}

// mirrorOf opens the mirror of the repository that is meant.
func (p *program) mirrorOf() (*mirror.Mirror, error) {
	r, err := p.open()
	if err != nil {
		return nil, err
	}
	upstream := upstreams[r.Config.Format]
	if upstream == nil {
		return nil, usage("publish init --format makes a repository for them",
			"publish mirror brings images of the formats oci and simplestreams; this repository's format is %s",
			r.Config.Format)
	}
	m, err := mirror.New(r, r.Config.Format, p.clock, func(h *mirror.Hosts) (catalog.Upstream, error) {
		return upstream(r, h, p.clock)
	})
	if err != nil {
		return nil, err
	}
	m.Warn = p.warn
	return m, nil
}

// jobs are candidates for a job's name: those in some states; none: all.
func (p *program) jobs(states ...mirror.State) func() []string {
	return func() []string {
		m, err := p.mirrorOf()
		if err != nil {
			return nil
		}
		list, _, err := m.Queue.List(states...)
		if err != nil {
			return nil
		}
		var out []string
		for _, j := range list {
			out = append(out, j.ID+"\t"+j.Canonical+" "+string(j.State))
		}
		return out
	}
}

// problems prints what is wrong with files of the queue.
func (p *program) problems(list []mirror.Problem) {
	for _, bad := range list {
		p.warn(bad.Error())
	}
}

// somePlatforms are candidates for the value of --platform.
var somePlatforms = these("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/ppc64le", "linux/riscv64", "linux/s390x")
