//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
)

// The names of servers beside publish serve.
const (
	nginxServer = "nginx"
	nginxGzip   = "nginx, gzip on"
	caddyServer = "caddy"
	oursGzip    = "publish, gzip"
	oursLogged  = "publish, with an access log"
)

// serves measures publish serve beside web servers, over files of four sizes. They all
// run as they come, with as many connections and the same files in the page cache.
func (b *bench) serves(ctx context.Context) error {
	names := []string{"serve-json", "serve-304", "serve-catalog", "serve-gzip", "serve-large", "serve-tls", "serve-range",
		"serve-log", "serve-idle"}
	asked := false
	for _, n := range names {
		for _, size := range []int{1, 50, 200, 2000} {
			asked = asked || b.wants(n, size)
		}
	}
	if !asked {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	s := shape{versions: 9_000, root: 16} // a catalog of about 4 MiB
	tree, repo := w.path("tree"), w.path("repo")
	if err := makeTree(tree, s); err != nil {
		return err
	}
	if err := w.newRepo(repo, tree); err != nil {
		return err
	}
	large := repo + "/staging/large.bin"
	if _, err := b.do(command{argv: []string{"dd", "if=/dev/urandom", "of=" + large, "bs=1M",
		fmt.Sprint("count=", b.n(1024)), "status=none"}}); err != nil {
		return err
	}
	if _, err := b.do(b.publish(repo, "promote")...); err != nil {
		return err
	}
	few, fewTree := w.path("few"), w.path("few-tree") // its catalog has about 2 KiB
	if err := makeTree(fewTree, shape{versions: 4, root: 16}); err != nil {
		return err
	}
	if err := w.newRepo(few, fewTree); err != nil {
		return err
	}
	if _, err := b.do(b.publish(few, "promote")...); err != nil {
		return err
	}
	production := repo + "/production"
	catalog := "/streams/v1/images.json"
	data, err := os.ReadFile(production + catalog)
	if err != nil {
		return err
	}
	tag := fmt.Sprintf("%x", sha256.Sum256(data))
	fi, err := os.Stat(production + catalog)
	if err != nil {
		return err
	}
	mine, peer, caddy := b.publishServe(ours, repo), w.nginx(nginxServer, production, ""), w.caddy(production)
	small := b.n(200_000)
	for _, c := range []int{50, 200} {
		a := asking{path: catalog, status: 200, requests: small, connections: c}
		if err := b.serving(ctx, "serve-json", c, a, b.publishServe(ours, few),
			w.nginx(nginxServer, few+"/production", ""), w.caddy(few+"/production")); err != nil {
			return err
		}
	}
	// Each server has tags of its own.
	conditional := []string{`If-None-Match: "` + tag + `"`}
	dated := fmt.Sprintf(`If-None-Match: "%x-%x"`, fi.ModTime().Unix(), len(data))
	for _, each := range []struct {
		header []string
		server server
	}{{conditional, mine}, {[]string{dated}, peer}} {
		a := asking{path: catalog, headers: each.header, status: 304, requests: small, connections: 50}
		if err := b.serving(ctx, "serve-304", 50, a, each.server); err != nil {
			return err
		}
	}
	a := asking{path: catalog, status: 200, requests: b.n(2_000), connections: 8}
	if err := b.serving(ctx, "serve-catalog", 1, a, mine, peer, caddy); err != nil {
		return err
	}
	a.headers, a.requests = []string{"Accept-Encoding: gzip"}, b.n(400)
	if err := b.serving(ctx, "serve-gzip", 1, a, b.publishServe(oursGzip, repo),
		w.nginx(nginxGzip, production, "gzip on; gzip_types application/json;")); err != nil {
		return err
	}
	a = asking{path: "/large.bin", status: 200, requests: 6, connections: 2}
	if err := b.serving(ctx, "serve-large", 1, a, mine, peer, caddy); err != nil {
		return err
	}
	a.tls = true
	if err := b.serving(ctx, "serve-tls", 1, a, mine, peer); err != nil {
		return err
	}
	a = asking{path: "/large.bin", headers: []string{"Range: bytes=1048576-1114111"}, status: 206, requests: b.n(50_000),
		connections: 50}
	if err := b.serving(ctx, "serve-range", 1, a, mine, peer, caddy); err != nil {
		return err
	}
	a = asking{path: catalog, status: 200, requests: small, connections: 50}
	return b.serving(ctx, "serve-log", 50, a, b.publishServe(ours, few),
		b.publishServe(oursLogged, few, "--access-log", w.path("access.log")))
}
