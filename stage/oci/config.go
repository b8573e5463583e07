package oci

import (
	"encoding/json"
	"fmt"
)

// The media types of the config of an image.
const (
	ociConfig    = "application/vnd.oci.image.config.v1+json"
	dockerConfig = "application/vnd.docker.container.image.v1+json"
)

// What the schema asks of the config of an image. What is not so is told by a warning: no
// registry looks into a config, and most clients take less than the schema asks.
var (
	aSwitch     = &rule{kind: aYesNo}
	aTime       = &rule{kind: aText, text: checkTime}
	objects     = &rule{kind: anObject, each: &rule{kind: anObject}}
	someObjects = &rule{kind: anObject, each: objects.each, orNull: true}
	someTexts   = &rule{kind: anArray, each: someText, orNull: true}
	configRule  = &rule{kind: anObject, members: []property{
		{name: "created", rule: aTime},
		{name: "author", rule: someText},
		{name: "architecture", rule: someText, needed: true},
		{name: "variant", rule: someText},
		{name: "os", rule: someText, needed: true},
		{name: "os.version", rule: someText},
		{name: "os.features", rule: textList},
		{name: "config", rule: &rule{kind: anObject, members: []property{
			{name: "User", rule: someText},
			{name: "ExposedPorts", rule: objects},
			{name: "Env", rule: &rule{kind: anArray, each: &rule{kind: aText, text: checkSetting}}},
			{name: "Entrypoint", rule: someTexts},
			{name: "Cmd", rule: someTexts},
			{name: "Volumes", rule: someObjects},
			{name: "WorkingDir", rule: someText},
			{name: "Labels", rule: &rule{kind: anObject, each: someText, orNull: true}},
			{name: "StopSignal", rule: someText},
			{name: "ArgsEscaped", rule: aSwitch},
		}}},
		{name: "rootfs", rule: &rule{kind: anObject, members: []property{
			{name: "diff_ids", rule: textList, needed: true},
			{name: "type", rule: &rule{kind: aText, text: checkLayers}, needed: true},
		}}, needed: true},
		{name: "history", rule: &rule{kind: anArray, each: &rule{kind: anObject, members: []property{
			{name: "created", rule: aTime},
			{name: "author", rule: someText},
			{name: "created_by", rule: someText},
			{name: "comment", rule: someText},
			{name: "empty_layer", rule: aSwitch},
		}}}},
	}}
)

// checkConfig sets what is odd about the config of a manifest, and whether it fits the
// manifest. It returns false if that cannot be told: the config is not there, or has
// other bytes. The schema is that of OCI: Docker's configs are not compared with it.
func (g *graph) checkConfig(m *manifest) (bool, error) {
	if m.Config == nil || m.Config.MediaType != ociConfig && m.Config.MediaType != dockerConfig {
		return true, nil
	}
	digest, code, _ := m.Config.check()
	switch {
	case code != "":
		return false, nil
	case *m.Config.Size > maxManifest && m.Config.MediaType == dockerConfig:
		return true, nil
	case *m.Config.Size > maxManifest:
		m.OddConfig = "is larger than 4 MiB: many clients read no more of a config"
		return true, nil
	}
	data, err := g.blobAt(blobPath(g.repository, digest), digest, maxManifest)
	if data == nil || err != nil {
		return false, err
	}
	m.Uneven = uneven(data, len(m.Layers))
	if m.Config.MediaType == ociConfig {
		m.OddConfig = oddConfig(data)
	}
	return true, nil
}

// uneven says that a config has another number of layers than its manifest; "" if it has
// not, or does not say how many. Engines compare the two before they unpack.
func uneven(config []byte, layers int) string {
	var c struct {
		RootFS struct {
			DiffIDs []json.RawMessage `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if dense(config) || json.Unmarshal(config, &c) != nil || c.RootFS.DiffIDs == nil {
		return ""
	}
	if n := len(c.RootFS.DiffIDs); n != layers {
		return fmt.Sprintf("the number of layers is %d here, and %d in the config (rootfs.diff_ids): engines refuse "+
			"the image", layers, n)
	}
	return ""
}

// oddConfig is where a config is not what the schema asks; "" if it is.
func oddConfig(data []byte) string {
	switch {
	case dense(data):
		return errDense.Error()
	case !json.Valid(data):
		return "is no JSON: " + json.Unmarshal(data, new(json.RawMessage)).Error()
	}
	if bad := configRule.misfit(data); bad != nil {
		return bad.Error()
	}
	return ""
}
