package oci

import (
	"encoding/json"
	"fmt"

	"example.com/publish/stage/catalog"
)

// Bounds on what is read.
const (
	maxManifest = 4 << 20 // bytes; registries refuse larger ones
	maxDepth    = 8       // levels below index.json
	maxBlob     = 1 << 50 // bytes: sums of sizes have an end
)

// manifest is a manifest or an index, of OCI or Docker.
type manifest struct {
	MediaType string       `json:"mediaType"`
	Config    *descriptor  `json:"config"`
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"`
	Subject   *descriptor  `json:"subject"`

	Odd       string `json:"-"` // what is odd about it: a warning
	OddConfig string `json:"-"` // the same of its config
	Uneven    string `json:"-"` // how the two differ: a warning
}

// parseManifest reads one that a descriptor with this media type leads to. Its
// descriptors are not checked. code is that of a finding, "" when it can be used.
func parseManifest(data []byte, mediaType string) (m *manifest, code, fact string) {
	if dense(data) {
		return nil, "too-large", errDense.Error()
	}
	if !json.Valid(data) {
		return nil, "schema", "is no JSON: " + json.Unmarshal(data, new(json.RawMessage)).Error()
	}
	m = &manifest{}
	err := json.Unmarshal(data, m)
	index, _ := leads(mediaType)
	asked := manifestRule
	if index {
		asked = indexRule
	}
	if m.MediaType != "" && m.MediaType != mediaType {
		return nil, "media-type-mismatch", fmt.Sprintf("says that it is %s, and its descriptor says %s",
			catalog.Show(m.MediaType), catalog.Show(mediaType))
	}
	bad := asked.misfit(data)
	if bad.grave() {
		return nil, "schema", bad.Error()
	}
	switch {
	case err != nil:
		return nil, "schema", "cannot be read: " + err.Error()
	case index && (m.Config != nil || m.Layers != nil), !index && m.Manifests != nil:
		return nil, "schema", "is a manifest and an index in one: clients take it for one or the other"
	case mediaType == dockerManifest && m.MediaType == "", mediaType == dockerList && m.MediaType == "":
		return nil, "schema", "has no mediaType, which Docker's manifests need"
	case bad != nil:
		m.Odd = bad.Error()
	}
	return m, "", ""
}
