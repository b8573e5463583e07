//go:build linux && (amd64 || arm64)

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// hub serves the OCI layout oci-3 of the images as acme/app:v1 of a registry, as far as
// mirror run asks for it, and all files of the images below /files. It returns the URL.
func hub(images string) (string, error) {
	layout := filepath.Join(images, "oci-3")
	data, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		return "", err
	}
	var index struct {
		Manifests []struct{ MediaType, Digest string }
	}
	if err := json.Unmarshal(data, &index); err != nil || len(index.Manifests) != 1 {
		return "", fmt.Errorf("%s: is no layout of one image: %w", layout, err)
	}
	image := index.Manifests[0]
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.Handle("/files/", http.StripPrefix("/files", http.FileServer(http.Dir(images))))
	mux.HandleFunc("GET /v2/acme/app/{kind}/{what}", func(w http.ResponseWriter, r *http.Request) {
		digest := r.PathValue("what")
		switch r.PathValue("kind") {
		case "manifests":
			w.Header().Set("Content-Type", image.MediaType)
			if digest == "v1" {
				digest = image.Digest
			}
			if digest != image.Digest { // a child
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			}
		case "blobs":
		default:
			http.NotFound(w, r)
			return
		}
		name := strings.Replace(digest, ":", "/", 1)
		if !filepath.IsLocal(name) {
			http.NotFound(w, r)
			return
		}
		http.ServeFile(w, r, filepath.Join(layout, "blobs", name))
	})
	go func() { _ = http.Serve(listener, mux) }()
	return "http://" + listener.Addr().String(), nil
}
