package check

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A tree of OCI layouts is read as the strictest registries read it: a manifest can
// be pulled if an entry of index.json names it, by its tag or its digest. Entries that
// were added for clients have one of these annotations, and are not the tree's own.
var added = []string{"com.example.publish.child", "com.example.publish.held-until"}

// descriptor is one of OCI's.
type descriptor struct {
	MediaType   string
	Digest      string
	Size        int64
	Annotations map[string]string
}

// layouts are the directories that have an index.json beside an oci-layout. One of them
// alone is left for a moment when a repository goes whose window has ended.
func (v *View) layouts() (out []string) {
	for name := range v.Files {
		_, ok := v.Files[path.Join(path.Dir(name), "index.json")]
		if path.Base(name) == "oci-layout" && ok {
			out = append(out, path.Dir(name))
		}
	}
	slices.Sort(out)
	return out
}

// readLayout checks that all that index.json names can be pulled, whole.
func (v *View) readLayout(repository string, served bool) error {
	name := path.Join(repository, "index.json")
	var index struct{ Manifests []descriptor }
	if err := v.parse(name, &index); err != nil {
		return err
	}
	v.Indexes[name], v.Indexes[path.Join(repository, "oci-layout")] = true, true
	entries := map[string]descriptor{}
	for _, e := range index.Manifests {
		if old, ok := entries[e.Digest]; ok && old.MediaType != e.MediaType {
			return fmt.Errorf("%s: %s is of two types", name, e.Digest)
		}
		entries[e.Digest] = e
	}
	if !served {
		entries = nil // in staging, children need no entries
	}
	for digest := range entries {
		v.Pulled[repository+"@"+digest] = true
	}
	for _, e := range index.Manifests {
		own := !slices.ContainsFunc(added, func(mark string) bool { _, ok := e.Annotations[mark]; return ok })
		where := repository + ":" + e.Annotations["org.opencontainers.image.ref.name"]
		if err := v.pull(repository, where, e, own, entries); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	return nil
}

// pull reads what a descriptor leads to. A child is pulled by its digest, so it must
// have an entry. own says that the tree itself names it.
func (v *View) pull(repository, where string, d descriptor, own bool, entries map[string]descriptor) error {
	blob := path.Join(repository, "blobs", strings.Replace(d.Digest, ":", "/", 1))
	have, ok := v.Files[blob]
	if !ok {
		return fmt.Errorf("%s is missing", blob)
	}
	if "sha256:"+have.SHA256 != d.Digest || have.Size != d.Size {
		return fmt.Errorf("%s has %d bytes with sha256 %s", blob, have.Size, have.SHA256)
	}
	if own {
		v.Named[blob] = Item{have, where}
	}
	if !strings.Contains(d.MediaType, ".image.index.") && !strings.Contains(d.MediaType, ".image.manifest.") {
		return nil
	}
	if entries != nil && entries[d.Digest].MediaType != d.MediaType {
		return fmt.Errorf("%s has no entry with its type", d.Digest)
	}
	var m struct {
		Config            *descriptor
		Layers, Manifests []descriptor
	}
	if err := v.parse(blob, &m); err != nil {
		return err
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, c := range slices.Concat(m.Layers, m.Manifests) {
		if err := v.pull(repository, where, c, own, entries); err != nil {
			return err
		}
	}
	return nil
}

// WriteLayout makes an OCI layout at dir, with an image of two platforms whose bytes
// follow from a text. It has no tag.
func WriteLayout(dir, text string) error {
	var failed error
	write := func(name string, data string) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil && failed == nil {
			failed = err
		}
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil && failed == nil {
			failed = err
		}
	}
	blob := func(mediaType, data string) string {
		sum := sumOf(data)
		write("blobs/sha256/"+sum, data)
		return fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%s","size":%d}`, mediaType, sum, len(data))
	}
	const oci = "application/vnd.oci.image."
	var platforms []string
	for _, arch := range []string{"amd64", "arm64"} {
		config := blob(oci+"config.v1+json", fmt.Sprintf(`{"architecture":%q,"os":"linux","x":%q,"rootfs":`+
			`{"type":"layers","diff_ids":[]}}`, arch, text))
		layer := blob(oci+"layer.v1.tar", strings.Repeat(arch+" "+text+"\n", 1000))
		platforms = append(platforms, blob(oci+"manifest.v1+json", fmt.Sprintf(
			`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}`,
			config, layer)))
	}
	root := blob(oci+"index.v1+json", fmt.Sprintf(
		`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}`,
		strings.Join(platforms, ",")))
	write("oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	write("index.json", fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s]}`, root))
	return failed
}
