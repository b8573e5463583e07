package oci

import (
	"context"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// parcel is a layout that was given from outside: its documents, and its blobs as
// they stand in a sink, at their paths in the layout.
type parcel struct {
	what  string // for messages
	index *index
	to    catalog.Sink
	// bring returns the name of a blob in the sink, and puts it there first if it has
	// to. It returns fs.ErrNotExist for one that the layout does not have.
	bring    func(ctx context.Context, d catalog.Digest) (string, error)
	ctx      context.Context
	findings []catalog.Finding // about the archive
}

// part is a name for a blob in the sink. Its path in the tree is decided later.
func part(d catalog.Digest) string { return blobPath(".", d) }

// Document returns the documents, for readLayout, of a layout that lies at ".".
func (p *parcel) Document(name string) ([]byte, error) {
	switch path.Base(name) {
	case indexName:
		return p.index.bytes(p.index.entries)
	case layoutName:
		return []byte(layoutVersion), nil
	}
	return nil, &catalog.DocumentError{Path: name, Code: "missing", Fact: "does not exist"}
}

const layoutVersion = `{"imageLayoutVersion":"1.0.0"}`

// Blob returns a manifest, and has it put into the sink.
func (p *parcel) Blob(name string, want catalog.Digest, limit int64) ([]byte, error) {
	at, err := p.bring(p.ctx, want)
	if err != nil {
		return nil, err
	}
	if limit == 0 { // asked only whether it is there
		return nil, catalog.ErrDigest
	}
	f, err := p.to.Open(at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = catalog.ErrDigest
	}
	return data, err
}

// List returns nothing: there is one layout, and it is known.
func (p *parcel) List(string) iter.Seq2[string, error] { return func(func(string, error) bool) {} }

// arrival is an image that comes into a tree.
type arrival struct {
	Reference
	entry entry
}

// arrivals are the images of a parcel, with their names.
func (p *parcel) arrivals(opt catalog.Addition) ([]arrival, error) {
	var out []arrival
	var unnamed []string
	for _, e := range p.index.entries {
		if len(p.index.entries) > 1 && tagOf(e) == "" && recordedName(e) == "" {
			continue // a child of another, or a referrer
		}
		if opt.Name != "" && slices.ContainsFunc(out, func(a arrival) bool { return a.entry.Digest == e.Digest }) {
			continue // the name that is given stands for all that it had
		}
		r, ok, err := nameOf(e, opt)
		if err != nil {
			return nil, err
		}
		if !ok {
			unnamed = append(unnamed, e.Digest)
			continue
		}
		out = append(out, arrival{r, e})
	}
	switch {
	case len(out) == 0 && len(unnamed) == 0:
		return nil, catalog.Usage("", "%s: has no image", p.what)
	case len(out) == 0:
		return nil, catalog.Usage("give it: --name REFERENCE", "%s: does not say what its image %s is called", p.what,
			unnamed[0])
	case opt.Name != "" && len(out) > 1:
		return nil, catalog.Usage("leave --name out, and the names in it count",
			"%s: has %d images, and one name was given", p.what, len(out))
	}
	return out, nil
}

// imageName is an annotation with the whole name, by containerd.
const imageName = "io.containerd.image.name"

// recordedName is the whole name that an entry has; "" for none.
func recordedName(e entry) string {
	for _, key := range []string{imageName, refName} {
		if _, ok := fullName(e.Annotations[key]); ok {
			return e.Annotations[key]
		}
	}
	return ""
}

// nameOf returns what an entry is to be called.
func nameOf(e entry, opt catalog.Addition) (r Reference, ok bool, err error) {
	if opt.Name != "" {
		r, err = ParseReference(opt.Name)
		if err == nil && r.Digest != (catalog.Digest{}) && r.Digest.String() != e.Digest {
			err = fmt.Errorf("%s: %w: the image is %s", opt.Name, catalog.ErrDigest, e.Digest)
		}
		return r, err == nil, err
	}
	r, ok = fullName(recordedName(e))
	return r, ok, nil
}

// byRepository groups what comes by repository, in the order of names.
func byRepository(list []arrival) [][]arrival {
	slices.SortStableFunc(list, func(a, b arrival) int { return strings.Compare(a.Repository, b.Repository) })
	var out [][]arrival
	for i, a := range list {
		if i == 0 || list[i-1].Repository != a.Repository {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], a)
	}
	return out
}
