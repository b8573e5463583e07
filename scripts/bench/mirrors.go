//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// The peers that copy an image of a registry, as the table names them.
const (
	craneCopy  = "crane pull --format=oci, sync -f"
	regctlCopy = "regctl image copy, sync -f"
)

// mirrors copies images of one registry, and lists many jobs.
func (b *bench) mirrors(ctx context.Context) error {
	for _, c := range []struct {
		name         string
		size, layers int
		layer        int64
	}{{"mirror-large", 1 << 10, 1, int64(b.n(1<<10)) << 20}, {"mirror-small", 100, b.n(100), 20 << 10}} {
		if err := b.mirror(ctx, c.name, c.size, c.layers, c.layer); err != nil {
			return err
		}
	}
	return b.jobs(ctx)
}

func (b *bench) mirror(ctx context.Context, name string, size, layers int, layer int64) error {
	if !b.wants(name, size) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	hub, repo, peer := w.path("hub"), w.path("repo"), w.path("peer")
	digest, err := oneImage(hub, name, layers, layer)
	if err != nil {
		return err
	}
	address, stop, err := registry(hub, digest)
	if err != nil {
		return err
	}
	defer stop()
	image := address + "/acme/app:v1"
	more := fmt.Sprintf("mirror: {registries: {%q: {endpoints: [%q]}}, map: [{from: %q, to: %q}]}\n", address,
		"http://"+address, address+"/acme/app", imageRepo)
	asked := func(int) error {
		err := w.newImages(repo, more)
		if err == nil {
			_, err = b.do(b.publish(repo, "mirror", "add", "-q", image)...)
		}
		return err
	}
	copied := func(int, []byte) error { return lists(peer, digest) }
	return b.measure(ctx, experiment{name: name, size: size, items: b.n(size), contenders: []contender{
		{name: ours, prepare: asked, run: func(int) []command { return b.publish(repo, "mirror", "run", "-q", "--once") },
			check: func(int, []byte) error { return lists(filepath.Join(repo, "staging", imageRepo), digest) }},
		{name: craneCopy, missing: b.missing("crane"), check: copied, prepare: func(int) error { return os.RemoveAll(peer) },
			run: func(int) []command {
				return synced(w.dir, []string{"crane", "pull", "--insecure", "--format=oci", image, peer})
			}},
		{name: regctlCopy, missing: b.missing("regctl"), check: copied,
			prepare: func(int) error { return os.RemoveAll(peer) }, run: func(int) []command {
				return synced(w.dir, []string{"regctl", "--host", "reg=" + address + ",tls=disabled", "image", "copy", image,
					"ocidir://" + peer + ":v1"})
			}},
	}})
}

// registry serves the layout of an image as v1 of any repository, as far as clients ask that
// copy it.
func registry(layout, digest string) (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	blob := func(w http.ResponseWriter, r *http.Request, digest string) {
		if sum, ok := strings.CutPrefix(digest, "sha256:"); ok && filepath.IsLocal(sum) {
			w.Header().Set("Docker-Content-Digest", digest)
			http.ServeFile(w, r, filepath.Join(layout, "blobs/sha256", sum))
			return
		}
		http.NotFound(w, r)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v2/acme/app/manifests/{name}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ociManifest)
		if name := r.PathValue("name"); name != "v1" {
			blob(w, r, name)
			return
		}
		blob(w, r, digest)
	})
	mux.HandleFunc("GET /v2/acme/app/blobs/{name}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		blob(w, r, r.PathValue("name"))
	})
	server := &http.Server{Handler: mux}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(listener) }() // it ends with stop
	return listener.Addr().String(), func() { _ = server.Close(); <-ended }, nil
}

// jobs lists a long queue.
func (b *bench) jobs(ctx context.Context) error {
	const size, once = 10_000, 1_000
	if !b.wants("mirror-list", size) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	repo := w.path("repo")
	if err := w.newImages(repo, ""); err != nil {
		return err
	}
	for n := 0; n < b.n(size); n += once {
		args := []string{"mirror", "add", "-q"}
		for i := n; i < min(n+once, b.n(size)); i++ {
			args = append(args, fmt.Sprintf("registry.example.com/acme/app:v%d", i))
		}
		if _, err := b.do(b.publish(repo, args...)...); err != nil {
			return err
		}
	}
	return b.measure(ctx, experiment{name: "mirror-list", size: size, items: b.n(size), contenders: []contender{
		{name: ours, run: func(int) []command { return b.publish(repo, "mirror", "list") },
			check: func(_ int, out []byte) error {
				if len(out) == 0 {
					return errors.New("it lists no job")
				}
				return nil
			}},
	}})
}

// mirrorGoals are those of copies from registries: the better peer counts, so each of both
// is one.
func (b *bench) mirrorGoals() []goal {
	var list []goal
	for _, c := range []struct {
		title, name string
		size        int
		reach       float64
		bound       string
	}{
		{b.f("mirror run, one image with a layer of %s MiB", 1<<10), "mirror-large", 1 << 10, 1.1, ""},
		{b.f("mirror run, one image with %s layers of 20 KB", 100), "mirror-small", 100, 1.25,
			"it has a queue that survives a power cut (9 syncs), a lock for each layer, so that processes share what they " +
				"fetch, and a merge into staging (18 syncs); the peers write files, and sync once"},
	} {
		of := func(who string, n number) pick { return pick{c.name, c.size, who, n} }
		for _, peer := range []string{craneCopy, regctlCopy} {
			list = append(list,
				goal{title: c.title, mine: of(ours, wall), beside: of(peer, wall), reach: c.reach, bound: c.bound},
				goal{title: "processor time of it", mine: of(ours, processor), beside: of(peer, processor), reach: 0.9,
					bound: c.bound})
		}
	}
	large := func(n number) pick { return pick{"mirror-large", 1 << 10, ours, n} }
	listed := func(n number) pick { return pick{"mirror-list", 10_000, ours, n} }
	return append(list,
		goal{title: b.f("peak memory of the mirror of %s MiB", 1<<10), mine: large(peak), beside: large(given(64, "MiB")),
			peer: "64 MiB", reach: 1},
		goal{title: b.f("list of %s jobs", 10_000), mine: listed(wall), beside: listed(given(0.3, "s")), peer: "0.3 s",
			reach: 1})
}
