package serve

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// repository is what one document of a tree says to clients that pull. Views of several
// generations share it while the document is the same.
type repository struct {
	row   tree.Row  // of the document, in its own form
	size  int64     // of the document, as clients are served it
	mtime time.Time // likewise: those two change also with what is only held
	tags  []catalog.Tag
	named map[string]catalog.Naming // by digest
	refs  referrers
}

// repositories are those of a view. A view of a format that has none has files instead.
type repositories struct {
	by       map[string]*repository // by name
	names    []string               // of those that the tree has itself, sorted
	findings []catalog.Finding      // about those that the view before did not have
}

// readRepositories reads the documents of a view, except those that the view before has.
// A document with other bytes than the manifest says is an error; one by which nobody can
// pull is a finding.
func readRepositories(
	ctx context.Context, v *generation.View, p catalog.Puller, before *view,
) (*repositories, error) {
	out := &repositories{by: map[string]*repository{}}
	known := map[string]*repository{}
	names := map[*repository]string{}
	if before != nil && before.repos != nil {
		for name, r := range before.repos.by {
			known[r.row.Path], names[r] = r, name
		}
	}
	for row := range v.All() {
		if !p.Serves(row.Path) || row.Role == catalog.Link {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		_, own := tree.Find(v.Own, row.Path)
		fi, err := v.Lstat(row.Path)
		if gone(err) && !own {
			continue // its window has ended
		}
		if err != nil {
			return nil, fmt.Errorf("generation %d: %w", v.Generation, err)
		}
		r := known[row.Path]
		name, same := names[r]
		if !same || r.row != row || r.size != fi.Size() || !r.mtime.Equal(fi.ModTime()) {
			if r, name, err = out.read(v, p, row, fi, r); err != nil {
				return nil, fmt.Errorf("generation %d: %w", v.Generation, err)
			}
		}
		if r == nil {
			continue
		}
		out.by[name] = r
		if own {
			out.names = append(out.names, name)
		}
	}
	slices.Sort(out.names)
	return out, nil
}

// read reads a document. It returns nil, with a finding, if nobody can pull by it. was is
// what the view before had at that path; nil for nothing.
func (out *repositories) read(
	v *generation.View, p catalog.Puller, row tree.Row, fi fs.FileInfo, was *repository,
) (*repository, string, error) {
	data, err := v.Document(p, row)
	if err != nil {
		return nil, "", err
	}
	says, err := p.Repository(row.Path, data)
	if err != nil {
		out.findings = append(out.findings, catalog.Finding{Severity: catalog.Error, Code: "schema", Path: row.Path,
			Message: err.Error()})
		return nil, "", nil
	}
	out.findings = append(out.findings, says.Findings...)
	r := &repository{row: row, size: fi.Size(), mtime: fi.ModTime(), tags: says.Tags,
		named: make(map[string]catalog.Naming, len(says.Named))}
	for _, n := range says.Named {
		r.named[n.Digest.String()] = n
	}
	if was != nil {
		r.inherit(was)
	}
	return r, says.Name, nil
}

// find returns the repository that a client means.
func (out *repositories) find(p catalog.Puller, name, registry, namespace string) *repository {
	if registry == "" {
		if r := out.by[name]; r != nil {
			return r
		}
	}
	for _, n := range p.Meant(name, registry, namespace) {
		if r := out.by[n]; r != nil {
			return r
		}
	}
	return nil
}

// namedBy is a manifest and the repository whose document names it.
type namedBy struct {
	catalog.Naming
	by *repository
}

// manifests are all that documents name, by path.
func (out *repositories) manifests() map[string]namedBy {
	if out == nil {
		return nil
	}
	all := map[string]namedBy{}
	for _, r := range out.by {
		for _, n := range r.named {
			all[n.Path] = namedBy{n, r}
		}
	}
	return all
}

// tag returns what a tag stands for.
func (r *repository) tag(name string) (catalog.Digest, bool) {
	i, ok := slices.BinarySearchFunc(r.tags, name, func(t catalog.Tag, name string) int {
		return strings.Compare(t.Name, name)
	})
	if !ok {
		return catalog.Digest{}, false
	}
	return r.tags[i].Digest, true
}

// errOther is the error for a file that has other bytes than its row or its name says.
var errOther = errors.New("does not have its digest")

// readSmall reads the file of a row, with the digest d, that is small.
func readSmall(ctx context.Context, v *view, row tree.Row, d catalog.Digest) ([]byte, error) {
	f, err := v.content(ctx, row)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Far != nil {
		if err := f.expect(0, row.Size); err != nil {
			return nil, err
		}
	}
	data, err := durable.ReadBounded(f, row.Size)
	if err != nil {
		return nil, err
	}
	h, err := d.New()
	if err != nil {
		return nil, err
	}
	h.Write(data)
	if hex.EncodeToString(h.Sum(nil)) != d.Hex {
		return nil, &fs.PathError{Op: "read", Path: row.Path, Err: errOther}
	}
	return data, nil
}
