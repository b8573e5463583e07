package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"example.com/publish/stage/catalog"
)

var (
	errNoObject    = errors.New("is not a JSON object")
	errDense       = errors.New("has more objects than their size allows")
	errNoManifests = errors.New("has no list of manifests")
)

// Bounds on what is read.
const (
	maxManifest = 4 << 20 // bytes; registries refuse larger ones
	maxDepth    = 8       // levels below index.json
	maxBlob     = 1 << 50 // bytes: sums of sizes have an end
)

// manifest is a manifest or an index, of OCI or Docker.
type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config"`
	Layers        []descriptor `json:"layers"`
	Manifests     []descriptor `json:"manifests"`
	Subject       *descriptor  `json:"subject"`
}

// dense reports whether a document has more objects than one that means anything: it
// is made to take much memory. A descriptor with all that it needs has more than a
// hundred bytes, and two or three objects.
func dense(data []byte) bool { return bytes.Count(data, []byte("{")) > 1000+len(data)/32 }

// parseManifest reads one that a descriptor with this media type leads to. code is
// that of a finding, "" when all is well.
func parseManifest(data []byte, mediaType string) (m *manifest, code, fact string) {
	if dense(data) {
		return nil, "too-large", "has more objects than their size allows"
	}
	m = &manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, "schema", "cannot be read: " + err.Error()
	}
	index, _ := leads(mediaType)
	switch {
	case m.MediaType != "" && m.MediaType != mediaType:
		return nil, "media-type-mismatch", fmt.Sprintf("says that it is %s, and its descriptor says %s",
			catalog.Show(m.MediaType), catalog.Show(mediaType))
	case m.SchemaVersion != 2:
		return nil, "schema", fmt.Sprintf("has the schema version %d, and only 2 is known", m.SchemaVersion)
	case index && (m.Config != nil || m.Layers != nil), !index && m.Manifests != nil:
		return nil, "schema", "is a manifest and an index in one: clients take it for one or the other"
	case index && m.Manifests == nil:
		return nil, "schema", "has no list of manifests"
	case !index && m.Config == nil:
		return nil, "schema", "has no config"
	case !index && m.Layers == nil:
		return nil, "schema", "has no list of layers"
	case mediaType == dockerManifest && m.MediaType == "", mediaType == dockerList && m.MediaType == "":
		return nil, "schema", "has no media type, which Docker's manifests need"
	}
	return m, "", ""
}
