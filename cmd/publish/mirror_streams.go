package main

import (
	"context"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/simplestreams/upstream"
)

// streamServers are simplestreams servers, as publish.yaml says that they are reached.
func streamServers(r *publish.Repo, h *mirror.Hosts, now func() time.Time) (catalog.Upstream, error) {
	c := &r.Config.Mirror
	return upstream.New(upstream.Options{
		Settings: func(base string) (upstream.Settings, error) { return streamSettings(r, base) },
		Timeouts: timeouts(c),
		Limits:   upstream.Limits{Bytes: int64(c.Limits.Image), Files: c.Limits.Blobs},
		Files:    c.Blobs,
		Before:   func(_ context.Context, host string) error { return h.Before(host) },
		Blocked:  blocked(h),
		Now:      now,
	}), nil
}

// streamSettings reads the files that publish.yaml names for a server. One that cannot be
// read is a failure of what is wanted of that server, and of nothing else.
func streamSettings(r *publish.Repo, base string) (out upstream.Settings, err error) {
	s := r.Config.Mirror.Stream(base)
	out.Mirrors = s.Mirrors
	set := publish.RegistryConfig{Insecure: s.Insecure, Proxy: s.Proxy, Connections: s.Connections,
		Requests: s.Requests, Bandwidth: s.Bandwidth}
	if out.Settings, err = reached(base, set, below(r, s.CA)); err != nil {
		return out, err
	}
	for _, f := range []struct {
		key, path string
		class     catalog.Failure
		into      *[]byte
	}{
		{"keyring", s.Keyring, catalog.BadSignature, &out.Keyring},
		{"credentials", s.Credentials, catalog.Unauthorized, &out.Credentials},
	} {
		if f.path == "" {
			continue
		}
		data, err := durable.ReadFile(below(r, f.path), maxCertificates)
		if err != nil {
			return out, &catalog.RemoteError{Class: f.class, Host: base, Err: err,
				Hint: "the key " + f.key + " under mirror.streams in publish.yaml names the file"}
		}
		*f.into = append([]byte{}, data...) // an empty file is not none
	}
	return out, nil
}
