package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/simplestreams"
	"example.com/publish/stage/tree"
)

// AddRequest asks to stage an image that was built elsewhere.
type AddRequest struct {
	// Files are METADATA [ROOTFS...], where METADATA alone is a unified
	// image; or one directory as distrobuilder leaves it.
	Files          []string
	Aliases        []string          // beside the default one, os/release/variant
	NoDefaultAlias bool              // leave that out
	Product        string            // instead of os:release:variant:arch; may be empty
	Requirements   map[string]string // of the product
	Move           bool              // take the files themselves where that can be done
	Force          bool              // although the content was revoked
}

// AddedImage is an image that staging names now.
type AddedImage struct {
	Fingerprint string
	Product     string
	Version     string
	Type        string // container or virtual-machine
}

// Added is what an Add did.
type Added struct {
	Images    []AddedImage // in the order of the root files
	Replaced  []string     // paths that no index names any more; sorted
	Unchanged bool         // staging had it all
	Kept      []error      // why files to be moved are still where they were
}

// image is what an AddRequest asks for, once its files are in an upload
// directory.
type image struct {
	add   simplestreams.Add
	files []*taken // the metadata first, then add.Roots in their order
}

// Add stages an image. The slow part, bringing the files into staging's file
// system and hashing them, happens in a private directory and holds no lock.
// Then, under the staging lock: content goes to its place, by its hash; its
// directories are synced; the catalog and the index are written (see Apply).
// When it returns without an error, the image survives a power cut. Interrupted
// before, staging names what it named; at most a file is there that nothing
// names, which the next Add of the same image takes for its own.
func (s *Stage) Add(ctx context.Context, req AddRequest) (*Added, error) {
	if s.Format.Name() != (simplestreams.Format{}).Name() {
		return nil, usage("copy the files into "+s.Dir, "stage add needs format simplestreams; this repository's is %s", s.Format.Name())
	}
	for _, a := range req.Aliases {
		if a == "" || strings.TrimSpace(a) != a || strings.ContainsFunc(a, func(r rune) bool { return r == ',' || unicode.IsControl(r) }) {
			return nil, usage("", "the alias %q is empty, or has a comma, a control character, or white space at an end", a)
		}
	}
	in, err := resolve(req)
	if err != nil {
		return nil, err
	}
	dir, done, err := s.Upload()
	if err != nil {
		return nil, err
	}
	defer done()
	img, err := s.take(ctx, in, req, dir)
	if err != nil {
		return nil, err
	}
	added, err := s.stage(ctx, img, req.Force)
	if err != nil {
		for _, t := range img.files {
			intake{}.unseal(t)
		}
		return nil, err
	}
	if req.Move {
		for _, t := range img.files {
			if err := t.release(s); err != nil {
				added.Kept = append(added.Kept, err)
			}
		}
	}
	return added, nil
}

// take brings the files into the upload directory and reads the metadata: from
// the copy, so that what is read is what is staged.
func (s *Stage) take(ctx context.Context, in inputs, req AddRequest, dir string) (img *image, err error) {
	var total int64
	for _, p := range append([]string{in.meta}, in.roots...) {
		if fi, err := os.Stat(p); err == nil {
			total += fi.Size()
		}
	}
	intake := intake{dir: dir, move: req.Move, progress: s.progress("add", total)}
	img = &image{files: make([]*taken, 1+len(in.roots))}
	defer func() {
		for _, t := range img.files {
			if err != nil && t != nil {
				intake.unseal(t)
			}
		}
	}()
	// Look before the long part: at the roots' first bytes, and at the metadata.
	types := make([]string, len(in.roots))
	for i, p := range in.roots {
		if types[i], err = rootType(p); err != nil {
			return img, err
		}
		if j := slices.Index(types[:i], types[i]); j >= 0 {
			return img, usage("add them one after the other, with their own metadata", "%s and %s are both a %s", in.roots[j], p, types[i])
		}
	}
	if _, err = metadata(ctx, in.meta, in.meta); err != nil {
		return img, err
	}
	if img.files[0], err = intake.take(ctx, in.meta, "metadata", nil); err != nil {
		return img, err
	}
	m, err := metadata(ctx, img.files[0].file, in.meta)
	if err != nil {
		return img, err
	}
	if img.add, err = describe(m, req, in.meta); err != nil {
		return img, err
	}
	meta := img.files[0]
	ftype := "incus.tar.xz"
	if len(in.roots) == 0 {
		img.add.Unified, img.add.VM, ftype = true, m.VM, "incus_combined.tar.gz"
	}
	img.add.Meta = simplestreams.File{Path: simplestreams.ContentPath(ftype, meta.sha256), SHA256: meta.sha256, Size: meta.stat.Size}

	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i, p := range in.roots {
		g.Go(func() (err error) {
			img.files[1+i], err = intake.take(gctx, p, fmt.Sprint("root", i), meta.state)
			return err
		})
	}
	if err = g.Wait(); err != nil {
		return img, err
	}
	for i, t := range img.files[1:] {
		img.add.Roots = append(img.add.Roots, simplestreams.Root{
			File:     simplestreams.File{Path: simplestreams.ContentPath(types[i], t.sha256), SHA256: t.sha256, Size: t.stat.Size},
			Ftype:    types[i],
			Combined: t.both,
		})
	}
	return img, nil
}

// stage puts an image that is whole into staging.
func (s *Stage) stage(ctx context.Context, img *image, force bool) (*Added, error) {
	unlock, err := s.Exclusive(ctx, "stage add")
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, t := range img.files {
		if err := s.refuseRevoked(tree.Row{Path: t.path, SHA256: t.sha256}); err != nil && !force {
			return nil, err
		}
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	did, err := simplestreams.AddImage(tree.Contents(root), img.add)
	if err != nil {
		return nil, below(s.Dir, err)
	}
	img.add.Version = did.Version
	out := &Added{Replaced: did.Replaced, Unchanged: did.Unchanged}
	places := make(map[string]*taken, len(img.files))
	for i, p := range did.Paths {
		places[p] = img.files[i]
	}
	cache := tree.AppendTo(s.Hashes)
	placed, err := s.placeContent(places, cache)
	if err != nil {
		return nil, err
	}
	if placed {
		out.Unchanged = false
	}
	if err := s.Apply(did.Docs); err != nil {
		return nil, err
	}
	for _, r := range img.add.Roots {
		cache.PutPair(img.add.Meta.SHA256, r.SHA256, r.Combined)
	}
	if err := cache.Save(); err != nil {
		return nil, err
	}
	out.Images = img.images(did.Fingerprints)
	return out, nil
}

// images tells the fingerprints as a client will.
func (img *image) images(fingerprints []string) []AddedImage {
	out := make([]AddedImage, len(fingerprints))
	for i, f := range fingerprints {
		out[i] = AddedImage{Fingerprint: f, Product: img.add.Product, Version: img.add.Version, Type: "container"}
		if img.add.VM || !img.add.Unified && strings.HasSuffix(img.add.Roots[i].Ftype, ".img") {
			out[i].Type = "virtual-machine"
		}
	}
	return out
}

// placeContent moves sealed files to their places, unless the same content is
// known to be there, and makes their names durable. It reports whether it
// moved any. Other bytes under a content's name are replaced: nobody can have
// fetched them by this hash.
func (s *Stage) placeContent(places map[string]*taken, cache *tree.Cache) (placed bool, err error) {
	var known *tree.Cache
	dirs := map[string]bool{}
	for p, t := range places {
		to := join(s.Dir, p)
		t.place = to
		if fi, err := os.Lstat(to); err == nil && fi.Mode().IsRegular() {
			if known == nil {
				known = tree.OpenCache(s.Hashes)
			}
			if sum, _, ok := known.Lookup(p, tree.StatOf(fi)); ok && sum == t.sha256 {
				continue
			}
		}
		fi, err := s.placeFile(t.file, to)
		if err != nil {
			return placed, err
		}
		dirs[filepath.Dir(to)], placed = true, true
		cache.PutSealed(p, tree.StatOf(fi), t.sha256)
	}
	for d := range dirs {
		if err := durable.SyncDir(d); err != nil {
			return placed, err
		}
	}
	return placed, nil
}

// placeFile moves a file of an upload to its place, and returns its state there.
func (s *Stage) placeFile(file, place string) (os.FileInfo, error) {
	to, err := s.makeDir(filepath.Dir(place))
	if err != nil {
		return nil, err
	}
	defer to.Close()
	from, err := s.openDir(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	defer from.Close()
	if err := replace(from, filepath.Base(file), to, filepath.Base(place)); err != nil {
		return nil, err
	}
	return to.Lstat(filepath.Base(place))
}

// metadata reads the metadata from a file that is called name.
func metadata(ctx context.Context, file, name string) (*simplestreams.Metadata, error) {
	f, _, err := openSource(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := simplestreams.ReadMetadata(interruptible{ctx, f})
	if ctx.Err() != nil {
		return nil, ctx.Err() // and not that the tarball is cut
	}
	return m, located(name, err)
}

// located puts the path before an error that does not tell it.
func located(path string, err error) error {
	if err == nil || errors.As(err, new(*os.PathError)) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// below tells in full the path of a document that is named from its tree on.
func below(dir string, err error) error {
	if errors.As(err, new(*catalog.DocumentError)) {
		return fmt.Errorf("%s/%w", dir, err)
	}
	return located(dir, err)
}

func rootType(path string) (string, error) {
	f, _, err := openSource(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", err
	}
	return simplestreams.RootType(head[:n], path)
}

// describe is what the index will say of an image, apart from its files. Names
// are taken as they stand in the metadata, as incus-simplestreams does; a
// missing variant is called default, as distrobuilder does.
func describe(m *simplestreams.Metadata, req AddRequest, path string) (simplestreams.Add, error) {
	arch := m.Properties["architecture"]
	if _, ok := simplestreams.Architecture(arch); !ok {
		arch = m.Architecture
	}
	add := simplestreams.Add{
		Product: req.Product, OS: m.OS, Release: m.Release, Variant: m.Variant, Arch: arch,
		Requirements: req.Requirements, Version: simplestreams.VersionName(m.Created),
	}
	if add.Variant == "" {
		add.Variant = "default"
	}
	if parts := strings.Split(req.Product, ":"); len(parts) == 4 {
		if add.OS == "" {
			add.OS = parts[0]
		}
		if add.Release == "" {
			add.Release = parts[1]
		}
	}
	if add.OS == "" || add.Release == "" {
		return add, fmt.Errorf("%s: metadata.yaml has no property os or none called release; --product OS:RELEASE:VARIANT:ARCH tells them", path)
	}
	if add.Product == "" {
		add.Product = strings.Join([]string{add.OS, add.Release, add.Variant, add.Arch}, ":")
	}
	for _, text := range []string{add.Product, add.OS, add.Release, add.Variant} {
		if strings.ContainsFunc(text, unicode.IsControl) {
			return add, fmt.Errorf("%s: the name %q has a control character", path, text)
		}
	}
	if !req.NoDefaultAlias {
		add.Aliases = append(add.Aliases, add.OS+"/"+add.Release+"/"+add.Variant)
	}
	for _, a := range req.Aliases {
		if !slices.Contains(add.Aliases, a) {
			add.Aliases = append(add.Aliases, a)
		}
	}
	return add, nil
}
