package serve

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/publish/stage/oci"
)

const (
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociConfig   = "application/vnd.oci.image.config.v1+json"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar"
	refName     = "org.opencontainers.image.ref.name"
)

// registryTree is a world of image layouts.
func registryTree(t *testing.T, mode string, config ...string) *world {
	t.Helper()
	return newWorld(t, oci.Format{}, mode, config...)
}

// object is a value of JSON: a descriptor, mostly.
type object map[string]any

func (o object) with(more object) object {
	out := maps.Clone(o)
	maps.Copy(out, more)
	return out
}

func (o object) digest() string { return o["digest"].(string) }

func (o object) tag(name string) object { return o.with(object{"annotations": object{refName: name}}) }

// layout is a repository in staging that a test writes.
type layout struct {
	w    *world
	name string
}

func (w *world) layout(name string) layout {
	w.write(name+"/oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	return layout{w, name}
}

// blob stores bytes under their sha256, and returns their descriptor.
func (l layout) blob(mediaType, data string) object {
	l.w.write(l.name+"/blobs/sha256/"+sum(data), data)
	return object{"mediaType": mediaType, "digest": "sha256:" + sum(data), "size": len(data)}
}

// blob512 is blob under the sha512.
func (l layout) blob512(mediaType, data string) object {
	digits := fmt.Sprintf("%x", sha512.Sum512([]byte(data)))
	l.w.write(l.name+"/blobs/sha512/"+digits, data)
	return object{"mediaType": mediaType, "digest": "sha512:" + digits, "size": len(data)}
}

func (l layout) json(mediaType string, v any) object { return l.blob(mediaType, l.w.text(v)) }

// text is a value as JSON, with the spaces that some tools write.
func (w *world) text(v any) string {
	w.Helper()
	data, err := json.MarshalIndent(v, "", "   ")
	w.no(err)
	return string(data)
}

// image stores an image with a config and a layer of its own.
func (l layout) image(name string, more object) object {
	return l.json(ociManifest, object{"schemaVersion": 2, "mediaType": ociManifest,
		"config": l.blob(ociConfig, `{"name":"`+name+`"}`),
		"layers": []object{l.blob(ociLayer, "layer of "+name)}}.with(more))
}

// list stores an index.
func (l layout) list(of ...object) object {
	return l.json(ociIndex, object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": of})
}

// index writes the index of the repository.
func (l layout) index(entries ...object) {
	if entries == nil {
		entries = []object{}
	}
	l.w.write(l.name+"/index.json", l.w.text(object{"schemaVersion": 2, "manifests": entries}))
}

// file reads what staging has under a digest.
func (l layout) file(digest string) string {
	l.w.Helper()
	data, err := os.ReadFile(filepath.Join(l.w.dir, "staging", l.name, "blobs", strings.Replace(digest, ":", "/", 1)))
	l.w.no(err)
	return string(data)
}

// code is that of the error in an answer.
func (r response) code() string {
	var body struct {
		Errors []struct{ Code string }
	}
	if json.Unmarshal([]byte(r.body), &body) != nil || len(body.Errors) != 1 {
		return "no error: " + r.body
	}
	return body.Errors[0].Code
}

// refused compares an answer with an error. HEAD has no body.
func (w *world) refused(r response, status int, code string) {
	w.Helper()
	if r.StatusCode != status || r.Request.Method != "HEAD" && r.code() != code {
		w.Errorf("%s %s: %d %s, want %d %s", r.Request.Method, r.Request.URL, r.StatusCode, r.body, status, code)
	}
	if strings.Contains(r.body, w.dir) || strings.Contains(r.body, "blobs/") {
		w.Errorf("%s: a path of the machine: %s", r.Request.URL, r.body)
	}
}

// digestOf is the sha256 of a text, as a digest.
func digestOf(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }
