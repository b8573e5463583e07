package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// Export is what an archive is to have.
type Export struct {
	Images   []catalog.Name // repositories and tags
	Platform string         // os/architecture, of the image that classic engines load; "": that of Machine
	Machine  string         // os/architecture of this machine
	Open     func(path string) (io.ReadCloser, error)
}

// Exported is what an archive has.
type Exported struct {
	Digests  []catalog.Digest // of the images, in their order
	Findings []catalog.Finding
}

// Write writes an OCI archive of images of a tree, each with all that it leads to
// and what refers to it. It has the index.json that containerd, podman and skopeo
// read, with the whole names, and the manifest.json that classic engines need. The
// bytes are the same each time.
//
// It returns fs.ErrNotExist for a name that the tree does not have, and writes
// nothing then.
func Write(ctx context.Context, src catalog.Source, w io.Writer, x Export) (*Exported, error) {
	a := &archiver{ctx: ctx, w: tar.NewWriter(w), x: x, out: &Exported{}, blobs: map[string]sent{},
		named: map[string]bool{}}
	layouts := map[string]*layout{}
	var list []json.RawMessage
	var classic []saved
	for _, name := range x.Images {
		l := layouts[name.Group]
		if l == nil {
			var err error
			if l, err = readSound(ctx, src, name.Group); err != nil {
				return nil, err
			}
			layouts[name.Group] = l
		}
		at := slices.IndexFunc(l.roots, func(r root) bool { return r.version == name.Version })
		if at < 0 {
			return nil, &catalog.DocumentError{Path: l.document, Code: "missing",
				Fact: "does not have " + catalog.Show(name.Version)}
		}
		entries, err := a.entries(l, &l.roots[at])
		if err != nil {
			return nil, err
		}
		list = append(list, entries...)
		s, err := a.classic(l, &l.roots[at])
		if err != nil {
			return nil, err
		}
		classic = append(classic, s...)
	}
	index, err := (&index{members: map[string]json.RawMessage{"schemaVersion": json.RawMessage("2"),
		"mediaType": json.RawMessage(`"` + ociIndex + `"`)}}).listing(list)
	if err != nil {
		return nil, err
	}
	return a.out, a.write(index, classic)
}

// archiver writes one archive.
type archiver struct {
	ctx   context.Context
	w     *tar.Writer
	x     Export
	out   *Exported
	blobs map[string]sent // by name in the archive
	named map[string]bool // entries that index.json has: repository, digest and tag
}

// sent is a blob that the archive is to have.
type sent struct {
	path string // in the tree
	size int64
	want catalog.Digest
}

// entries are those of index.json for a root: itself, with its names, and what refers
// to it.
func (a *archiver) entries(l *layout, r *root) ([]json.RawMessage, error) {
	var out []json.RawMessage
	a.out.Digests = append(a.out.Digests, r.entry.digest)
	for i, n := range l.entries {
		if n == nil || !slices.Contains(r.owns, n) {
			continue
		}
		e := l.index.entries[i]
		if tag := l.tags[i]; n == r.entry && tag != r.version && untagged(n.digest) != r.version {
			continue // another tag of the same image
		}
		if n == r.entry && l.tags[i] != "" {
			var err error
			if e, err = e.called(Reference{Repository: l.repository, Tag: l.tags[i]}); err != nil {
				return nil, err
			}
		}
		if key := l.repository + " " + e.Digest + " " + l.tags[i]; !a.named[key] { // two tags share what refers to both
			a.named[key] = true
			out = append(out, e.raw)
		}
	}
	l.each(func(n *node) {
		a.blobs[part(n.digest)] = sent{l.at(n), n.size, n.digest}
		if strings.HasSuffix(n.mediaType, "+zstd") {
			a.note("zstd-layer", l.at(n), "is packed by zstd: engines without containerd cannot load the image")
		}
	}, r.owns...)
	return out, nil
}

func (a *archiver) note(code, path, fact string) {
	a.out.Findings = append(a.out.Findings, catalog.Finding{Severity: catalog.Warning, Code: code, Path: path,
		Message: fact})
}

// classic is what manifest.json says of a root: the image of one platform.
func (a *archiver) classic(l *layout, r *root) ([]saved, error) {
	var found []*node // manifests of images that run
	var platforms []string
	var look func(n *node) error
	look = func(n *node) error {
		if index, manifest := leads(n.mediaType); index {
			for _, c := range n.children {
				if err := look(c); err != nil {
					return err
				}
			}
		} else if manifest && len(n.children) > 0 {
			data, err := l.blob(n.children[0], maxManifest) // its config
			var config struct{ OS, Architecture string }
			if err != nil || json.Unmarshal(data, &config) != nil {
				return err
			}
			if p := config.OS + "/" + config.Architecture; config.OS != "unknown" && p != "/" {
				found, platforms = append(found, n), append(platforms, p)
			}
		}
		return nil
	}
	if err := look(r.entry); err != nil {
		return nil, err
	}
	want := a.x.Platform
	if want == "" {
		want = a.x.Machine
	}
	at := slices.Index(platforms, want)
	if at < 0 && len(found) == 1 && a.x.Platform == "" {
		at = 0
	}
	if at < 0 {
		if a.x.Platform != "" {
			return nil, catalog.Usage("it has "+strings.Join(platforms, ", "), "%s:%s: has no image for %s",
				l.repository, r.version, a.x.Platform)
		}
		a.note("no-platform", l.document, "has no image for "+want+": engines without containerd load none")
		return nil, nil
	}
	s := saved{Config: part(found[at].children[0].digest), RepoTags: []string{}, Layers: []string{}}
	if !strings.HasPrefix(r.version, "@") {
		s.RepoTags = append(s.RepoTags, l.repository+":"+r.version)
	}
	for _, layer := range found[at].children[1:] {
		s.Layers = append(s.Layers, part(layer.digest))
	}
	return []saved{s}, nil
}

// write writes the documents, and then the blobs in the order of their names.
func (a *archiver) write(index []byte, classic []saved) error {
	documents := map[string][]byte{layoutName: []byte(layoutVersion), indexName: index}
	if len(classic) > 0 {
		data, err := json.Marshal(classic)
		if err != nil {
			return err
		}
		documents[savedName] = data
	}
	for _, name := range []string{layoutName, indexName, savedName} {
		if data := documents[name]; data != nil {
			if err := a.file(name, int64(len(data)), bytes.NewReader(data)); err != nil {
				return err
			}
		}
	}
	names := make([]string, 0, len(a.blobs))
	for name := range a.blobs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := a.blob(name, a.blobs[name]); err != nil {
			return err
		}
	}
	return a.w.Close()
}

// blob writes a blob, and fails if it is not what its name says: then the archive
// has no end, and nobody takes it for whole.
func (a *archiver) blob(name string, s sent) error {
	f, err := a.x.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := s.want.New()
	if err != nil {
		return err
	}
	if err := a.file(name, s.size, io.TeeReader(f, sum)); err != nil {
		return err
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != s.want.Hex {
		return fmt.Errorf("%s: %w", s.path, catalog.ErrDigest)
	}
	return nil
}

// file writes one file. All has one time and one owner, so that the bytes of the
// archive tell of the images alone.
func (a *archiver) file(name string, size int64, r io.Reader) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: path.Clean(name), Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)}
	if err := a.w.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(a.w, catalog.Interruptible(a.ctx, r))
	if err == nil && n != size {
		err = fmt.Errorf("%s: has %d bytes, its descriptor says %d", name, n, size)
	}
	return err
}
