package oci

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// Export writes an OCI archive of images, each with all that it leads to and what
// refers to it. It has the index.json that containerd, podman and skopeo read, with
// the whole names, and the manifest.json that classic engines need.
func (Format) Export(ctx context.Context, src catalog.Source, w io.Writer, x catalog.Export) (
	*catalog.Exported, error) {
	a := &archiver{ctx: ctx, src: src, w: tar.NewWriter(w), x: x, out: &catalog.Exported{}, blobs: map[string]sent{},
		named: map[string]bool{}, layouts: map[string]*layout{}}
	var list []json.RawMessage
	var classic []saved
	for _, ref := range x.Images {
		l, r, err := find(ref, a.layout)
		if err != nil {
			return nil, err
		}
		image := catalog.ExportedImage{Name: l.name(r), Digest: r.entry.digest()}
		if slices.Contains(a.out.Images, image) {
			continue // asked for twice
		}
		a.out.Images = append(a.out.Images, image)
		entries, err := a.entries(l, r)
		if err != nil {
			return nil, err
		}
		list = append(list, entries...)
		s, err := a.classic(l, r)
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
	ctx     context.Context
	src     catalog.Source
	w       *tar.Writer
	x       catalog.Export
	out     *catalog.Exported
	blobs   map[string]sent // by name in the archive
	named   map[string]bool // entries that index.json has: repository, digest and tag
	layouts map[string]*layout
}

// sent is a blob that the archive is to have.
type sent struct {
	path string // in the tree
	size int64
	want catalog.Digest
}

func (a *archiver) layout(repository string) (*layout, error) {
	l := a.layouts[repository]
	if l != nil {
		return l, nil
	}
	l, err := readSound(a.ctx, a.src, repository)
	if err == nil {
		a.layouts[repository] = l
	}
	return l, err
}

// entries are those of index.json for a root: itself, with its names, and what refers
// to it.
func (a *archiver) entries(l *layout, r *root) ([]json.RawMessage, error) {
	var out []json.RawMessage
	for i, n := range l.entries {
		if n == nil || !slices.Contains(r.owns, n) {
			continue
		}
		e := l.index.entries[i]
		if tag := l.tags[i]; n == r.entry && tag != r.version && untagged(n.digest()) != r.version {
			continue // another tag of the same image
		}
		if n == r.entry {
			var err error
			if e, err = e.called(Reference{Repository: l.repository, Tag: l.tags[i], Digest: n.digest()}); err != nil {
				return nil, err
			}
		}
		if key := l.repository + " " + e.Digest + " " + l.tags[i]; !a.named[key] { // two tags share what refers to both
			a.named[key] = true
			out = append(out, e.raw)
		}
	}
	l.each(func(n *node) {
		if _, met := a.blobs[part(n.digest())]; met {
			return
		}
		a.blobs[part(n.digest())] = sent{l.at(n), n.size, n.digest()}
		a.out.Files++
		a.out.Bytes += n.size
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

// runnable is a manifest of an image that runs on a platform.
type runnable struct {
	*node
	platform string // os/architecture, and the variant behind another slash
}

// runnables are those that a root leads to.
func (l *layout) runnables(r *root) (out []runnable, err error) {
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
			var config struct{ OS, Architecture, Variant string }
			if err != nil || json.Unmarshal(data, &config) != nil {
				return err
			}
			p := path.Join(config.OS, config.Architecture, config.Variant)
			if config.OS != "unknown" && strings.Contains(p, "/") {
				out = append(out, runnable{n, p})
			}
		}
		return nil
	}
	return out, look(r.entry)
}

// classic is what manifest.json says of a root: the image of one platform.
func (a *archiver) classic(l *layout, r *root) ([]saved, error) {
	found, err := l.runnables(r)
	if err != nil {
		return nil, err
	}
	want := a.x.Platform
	if want == "" {
		want = a.x.Machine
	}
	at := slices.IndexFunc(found, func(f runnable) bool { return f.platform == want })
	if at < 0 { // any variant
		at = slices.IndexFunc(found, func(f runnable) bool { return strings.HasPrefix(f.platform, want+"/") })
	}
	if at < 0 && len(found) == 1 && a.x.Platform == "" {
		at = 0
	}
	if at < 0 {
		if a.x.Platform != "" {
			var all []string
			for _, f := range found {
				all = append(all, f.platform)
			}
			return nil, catalog.Usage("it has "+strings.Join(all, ", "), "%s: has no image for %s", l.name(r),
				a.x.Platform)
		}
		a.note("no-platform", l.document, "has no image for "+want+": engines without containerd load none")
		return nil, nil
	}
	s := saved{Config: part(found[at].children[0].digest()), RepoTags: []string{}, Layers: []string{}}
	if !strings.HasPrefix(r.version, "@") {
		s.RepoTags = append(s.RepoTags, l.name(r))
	}
	for _, layer := range found[at].children[1:] {
		s.Layers = append(s.Layers, part(layer.digest()))
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
			if err := a.header(name, int64(len(data))); err != nil {
				return err
			}
			if _, err := a.w.Write(data); err != nil {
				return err
			}
		}
	}
	names := make([]string, 0, len(a.blobs))
	for name := range a.blobs {
		names = append(names, name)
	}
	slices.Sort(names)
	if a.x.Begin != nil {
		a.x.Begin(a.out.Bytes)
	}
	for _, name := range names {
		if err := a.blob(name, a.blobs[name]); err != nil {
			return err
		}
	}
	if a.x.Done != nil {
		if err := a.x.Done(); err != nil {
			return err
		}
	}
	return a.w.Close()
}

// blob writes a blob. Where it is not what its name says, the archive has no end, and
// nobody takes it for whole.
func (a *archiver) blob(name string, s sent) error {
	if err := a.header(name, s.size); err != nil {
		return err
	}
	n, err := a.x.Copy(a.ctx, a.w, s.path, s.want)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &catalog.DocumentError{Path: s.path, Code: "missing", Fact: "does not exist"}
	case errors.Is(err, tar.ErrWriteTooLong), err == nil && n != s.size:
		return &catalog.DocumentError{Path: s.path, Code: "size-mismatch",
			Fact: fmt.Sprintf("does not have the %d bytes that its descriptor says", s.size)}
	}
	return err
}

// header begins a file. All has one time and one owner, so that the bytes of the
// archive tell of the images alone.
func (a *archiver) header(name string, size int64) error {
	return a.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Clean(name), Size: size, Mode: 0o644,
		ModTime: time.Unix(0, 0)})
}
