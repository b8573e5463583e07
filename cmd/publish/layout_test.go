package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// layout DIR NAME=CONTENT... makes an OCI image layout with an image for each NAME:
// a tag, a full reference, or nothing at all. Its bytes follow from CONTENT. With
// + after CONTENT it is an index of two platforms. ^SUBJECT=CONTENT is a referrer of
// the image with the content SUBJECT. What was in DIR stays, but for index.json.
func makeLayout(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: layout DIR NAME=CONTENT...")
	}
	l := layoutMaker{dir: ts.MkAbs(args[0])}
	entries := []blobRef{}
	for _, arg := range args[1:] {
		name, content, ok := strings.Cut(arg, "=")
		if !ok {
			ts.Fatalf("%s is not NAME=CONTENT", arg)
		}
		subject, referrer := strings.CutPrefix(name, "^")
		var e blobRef
		switch {
		case referrer:
			of := l.image(subject)
			e = l.manifest(content, "linux/amd64", map[string]any{"subject": of, "artifactType": "application/x-note"})
		default:
			e = l.image(content)
		}
		if !referrer && name != "" {
			e.Annotations = map[string]string{"org.opencontainers.image.ref.name": name}
			if i := strings.LastIndexByte(name, ':'); i > 0 {
				e.Annotations = map[string]string{"org.opencontainers.image.ref.name": name[i+1:],
					"io.containerd.image.name": name}
			}
		}
		entries = append(entries, e)
	}
	l.write("index.json", map[string]any{"schemaVersion": 2, "manifests": entries})
	l.write("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"})
	ts.Check(l.err)
}

// blobRef is a descriptor.
type blobRef struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    map[string]string `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type layoutMaker struct {
	dir string
	err error // the first
}

func (l *layoutMaker) write(name string, v any) []byte {
	data, ok := v.([]byte)
	var err error
	if !ok {
		data, err = json.Marshal(v)
	}
	path := filepath.Join(l.dir, filepath.FromSlash(name))
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, data, 0o644)
	}
	if l.err == nil {
		l.err = err
	}
	return data
}

func (l *layoutMaker) blob(mediaType string, v any) blobRef {
	data, ok := v.([]byte)
	if !ok {
		data, _ = json.Marshal(v)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	l.write("blobs/sha256/"+sum, data)
	return blobRef{MediaType: mediaType, Digest: "sha256:" + sum, Size: len(data)}
}

// image makes one of a platform, or with + an index of two.
func (l *layoutMaker) image(content string) blobRef {
	base, multi := strings.CutSuffix(content, "+")
	if !multi {
		return l.manifest(content, "linux/amd64", nil)
	}
	var list []blobRef
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		m := l.manifest(base+" "+platform, platform, nil)
		system, arch, _ := strings.Cut(platform, "/")
		m.Platform = map[string]string{"os": system, "architecture": arch}
		list = append(list, m)
	}
	const index = "application/vnd.oci.image.index.v1+json"
	return l.blob(index, map[string]any{"schemaVersion": 2, "mediaType": index, "manifests": list})
}

func (l *layoutMaker) manifest(content, platform string, more map[string]any) blobRef {
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	fmt.Fprintf(zip, "layer of %s\n", content)
	if err := zip.Close(); err != nil {
		panic(err)
	}
	system, arch, _ := strings.Cut(platform, "/")
	diff := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("layer of "+content+"\n")))
	config := l.blob("application/vnd.oci.image.config.v1+json", map[string]any{"os": system, "architecture": arch,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{diff}}})
	const media = "application/vnd.oci.image.manifest.v1+json"
	m := map[string]any{"schemaVersion": 2, "mediaType": media, "config": config,
		"layers": []blobRef{l.blob("application/vnd.oci.image.layer.v1.tar+gzip", zipped.Bytes())}}
	maps.Copy(m, more)
	return l.blob(media, m)
}
