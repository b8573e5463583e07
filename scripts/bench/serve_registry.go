//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// The names of registries beside publish serve.
const (
	distribution = "distribution"
	olareg       = "olareg"
)

// pulls measures publish serve beside registries: manifests by tag and by digest, and a
// part of a layer. The repository has 1,000 tags; distribution has the one that is asked.
func (b *bench) pulls(ctx context.Context) error {
	names := []string{"serve-tag", "serve-digest", "serve-layer"}
	asked := false
	for _, n := range names {
		asked = asked || b.wants(n, 50)
	}
	if !asked {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	const name = "acme/app"
	repo := w.path("repo")
	if _, err := b.do(command{argv: []string{b.bin, "init", "--quiet", "--format", "oci", repo}}); err != nil {
		return err
	}
	manifest, layer, err := pulledImage(filepath.Join(repo, "staging", name))
	if err != nil {
		return err
	}
	if _, err := b.do(b.publish(repo, "promote")...); err != nil {
		return err
	}
	servers := []server{b.publishServe(ours, repo), w.distribution(repo+"/production/"+name, name),
		w.olareg(repo + "/production")}
	at := "/v2/" + name
	accept := []string{"Accept: application/vnd.oci.image.manifest.v1+json"}
	a := asking{path: at + "/manifests/v1", headers: accept, status: 200, requests: b.n(20_000), connections: 50}
	if err := b.serving(ctx, "serve-tag", 50, a, servers...); err != nil {
		return err
	}
	a.path = at + "/manifests/" + manifest
	if err := b.serving(ctx, "serve-digest", 50, a, servers...); err != nil {
		return err
	}
	// distribution sends all of the layer to itself for each part.
	a = asking{path: at + "/blobs/" + layer, headers: []string{"Range: bytes=1048576-1114111"}, status: 206,
		requests: b.n(5_000), connections: 50}
	return b.serving(ctx, "serve-layer", 50, a, servers[0], servers[2])
}

// pulledImage writes a layout with one image, whose layer has 16 MiB.
func pulledImage(dir string) (manifest, layer string, err error) {
	type descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	write := func(mediaType string, data []byte) descriptor {
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		at := filepath.Join(dir, "blobs/sha256", sum)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, data, 0o644))
		return descriptor{MediaType: mediaType, Digest: "sha256:" + sum, Size: len(data)}
	}
	marshal := func(v any) []byte {
		data, e := json.Marshal(v)
		err = errors.Join(err, e)
		return data
	}
	const kind = "application/vnd.oci.image."
	config := write(kind+"config.v1+json", []byte(`{"os":"linux","architecture":"amd64","config":{},`+
		`"rootfs":{"type":"layers","diff_ids":[]}}`))
	layers := []descriptor{write(kind+"layer.v1.tar", make([]byte, 16<<20))}
	for n := range 8 { // so that the manifest has about 2 KiB
		layers = append(layers, write(kind+"layer.v1.tar", fmt.Appendf(nil, "layer %d", n)))
	}
	image := write(kind+"manifest.v1+json", marshal(map[string]any{"schemaVersion": 2,
		"mediaType": kind + "manifest.v1+json", "config": config, "layers": layers}))
	entries := []descriptor{}
	for n := range 1_000 {
		entry := write(kind+"manifest.v1+json", marshal(map[string]any{"schemaVersion": 2, "config": config,
			"mediaType": kind + "manifest.v1+json", "layers": layers[1:2],
			"annotations": map[string]string{"n": fmt.Sprint(n)}}))
		entry.Annotations = map[string]string{"org.opencontainers.image.ref.name": fmt.Sprint("other-", n)}
		entries = append(entries, entry)
	}
	image.Annotations = map[string]string{"org.opencontainers.image.ref.name": "v1"}
	index := marshal(map[string]any{"schemaVersion": 2, "manifests": append(entries, image)})
	return image.Digest, layers[0].Digest, errors.Join(err, os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644),
		os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

// distribution is the registry of Docker, over a copy of an image that skopeo pushes.
func (w *workshop) distribution(layout, name string) server {
	missing := w.bench.missing("docker-registry")
	if missing == "" {
		missing = w.bench.missing("skopeo")
	}
	return server{name: distribution, missing: missing, begin: func() (*exec.Cmd, string, string, error) {
		address, err := freePort()
		if err != nil {
			return nil, "", "", err
		}
		file, root := w.path("registry.yml"), w.path("registry")
		config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
			"storage: {filesystem: {rootdirectory: %s}, cache: {blobdescriptor: inmemory}}\nhttp: {addr: %s}\n", root, address)
		if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
			return nil, "", "", err
		}
		cmd := exec.Command("docker-registry", "serve", file)
		if err := cmd.Start(); err != nil {
			return nil, "", "", err
		}
		if err = up("http://" + address + "/v2/"); err == nil {
			_, err = w.bench.do(command{argv: []string{"skopeo", "copy", "--quiet", "--preserve-digests",
				"--dest-tls-verify=false", "oci:" + layout + ":v1", "docker://" + address + "/" + name + ":v1"}})
		}
		if err != nil {
			_ = cmd.Process.Kill()
			return nil, "", "", errors.Join(err, cmd.Wait())
		}
		return cmd, address, "", nil
	}}
}

// olareg serves a tree of layouts, as publish serve does.
func (w *workshop) olareg(root string) server {
	return server{name: olareg, missing: w.bench.missing("olareg"), begin: func() (*exec.Cmd, string, string, error) {
		address, err := freePort()
		if err != nil {
			return nil, "", "", err
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, "", "", err
		}
		cmd := exec.Command("olareg", "serve", "--dir", root, "--store-ro", "--addr", host, "--port", port,
			"--verbosity", "error")
		if err := cmd.Start(); err != nil {
			return nil, "", "", err
		}
		return cmd, address, "", up("http://" + address + "/v2/")
	}}
}

// up waits until a server answers.
func up(url string) (err error) {
	for range 600 {
		var resp *http.Response
		if resp, err = http.Get(url); err == nil {
			return resp.Body.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}
