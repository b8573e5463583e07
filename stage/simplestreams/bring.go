package simplestreams

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
)

// forms is the usage text for the files that Bring accepts.
const forms = "METADATA [ROOTFS...]"

// Bring accepts METADATA [ROOTFS...], where METADATA alone is a unified image; or
// one output directory of distrobuilder.
func (Format) Bring(ctx context.Context, in catalog.Input, to catalog.Sink, opt catalog.Addition) (
	catalog.Edit, error) {
	for _, a := range opt.Aliases {
		odd := func(r rune) bool { return r == ',' || unicode.IsControl(r) }
		if a == "" || strings.TrimSpace(a) != a || strings.ContainsFunc(a, odd) {
			return nil, catalog.Usage("",
				"the alias %q is empty, or has a comma, a control character, or white space at an end", a)
		}
	}
	if opt.Repository != "" || len(opt.Only)+len(opt.Platforms) > 0 {
		return nil, catalog.Usage("leave out --repository, --only and --platform",
			"an image of this format has no tags and one platform")
	}
	files, err := resolve(in)
	if err != nil {
		return nil, err
	}
	b := &bringing{in: in, to: to, files: files}
	if err := b.look(ctx); err != nil {
		return nil, err
	}
	if err := b.take(ctx, opt); err != nil {
		return nil, err
	}
	return b.edit, nil
}

// bringing is the state of one call of Bring.
type bringing struct {
	in    catalog.Input
	to    catalog.Sink
	files inputs
	types []string // ftypes of the root files
	add   Add
}

// look checks the first bytes of the root files, and the metadata, so that errors
// are reported before anything is copied.
func (b *bringing) look(ctx context.Context) error {
	for i, name := range b.files.roots {
		f, err := b.in.Open(name)
		if err != nil {
			return err
		}
		head := make([]byte, 512)
		n, err := io.ReadFull(f, head)
		if err = errors.Join(unlessShort(err), f.Close()); err != nil {
			return err
		}
		ftype, err := RootType(head[:n], name)
		if err != nil {
			return err
		}
		if j := slices.Index(b.types, ftype); j >= 0 {
			return catalog.Usage("add them one after the other, with their own metadata",
				"%s and %s are both a %s", b.files.roots[j], b.files.roots[i], ftype)
		}
		b.types = append(b.types, ftype)
	}
	f, err := b.in.Open(b.files.meta)
	if err != nil {
		return err
	}
	_, err = metadata(ctx, f, b.files.meta)
	return err
}

func unlessShort(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// metadata reads the metadata from a file that is called name, and closes it.
func metadata(ctx context.Context, f io.ReadCloser, name string) (*Metadata, error) {
	defer f.Close()
	m, err := ReadMetadata(catalog.Interruptible(ctx, f))
	if ctx.Err() != nil {
		return nil, ctx.Err() // not err, which would say that the tarball is damaged
	}
	if err != nil && !errors.As(err, new(*fs.PathError)) {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return m, err
}

// The names of the files in the sink. Their paths in the tree are decided later,
// by their hashes and by what the tree already has.
const partMeta = "metadata"

func partRoot(i int) string { return fmt.Sprint("root", i) }

// take puts the files into the sink. It reads the metadata from there, so that it
// describes exactly the bytes that are staged. The fingerprint of a split image is
// the hash of the metadata followed by the root. So the hash state after the
// metadata is cloned for each root, and no byte is hashed twice.
func (b *bringing) take(ctx context.Context, opt catalog.Addition) error {
	before := sha256.New()
	also := []io.Writer{}
	if len(b.files.roots) > 0 {
		also = append(also, before)
	}
	meta, err := b.put(ctx, b.files.meta, partMeta, also...)
	if err != nil {
		return err
	}
	f, err := b.to.Open(partMeta)
	if err != nil {
		return err
	}
	m, err := metadata(ctx, f, b.files.meta)
	if err != nil {
		return err
	}
	if b.add, err = describe(m, opt, b.files.meta); err != nil {
		return err
	}
	ftype := metaIncus
	if len(b.files.roots) == 0 {
		b.add.Unified, b.add.VM, ftype = true, m.VM, unifiedIncus
	}
	b.add.Meta = meta.named(ftype)

	b.add.Roots = make([]Root, len(b.files.roots))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i, name := range b.files.roots {
		g.Go(func() error {
			both, err := before.(hash.Cloner).Clone()
			if err != nil {
				return err
			}
			f, err := b.put(gctx, name, partRoot(i), both)
			b.add.Roots[i] = Root{File: f.named(b.types[i]), Ftype: b.types[i],
				Combined: hex.EncodeToString(both.Sum(nil))}
			return err
		})
	}
	return g.Wait()
}

func (b *bringing) put(ctx context.Context, name, part string, also ...io.Writer) (File, error) {
	f, err := b.in.Open(name)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	for _, w := range also {
		f.Also(w)
	}
	sum, size, err := b.to.Put(ctx, part, f)
	return File{SHA256: sum.Hex, Size: size}, err
}

// named returns the file with the path that follows from its content.
func (f File) named(ftype string) File {
	f.Path = ContentPath(ftype, f.SHA256)
	return f
}

// edit is the Edit that Bring returns.
func (b *bringing) edit(_ context.Context, tree catalog.Source) (*catalog.Change, error) {
	did, err := AddImage(tree, b.add)
	if err != nil {
		return nil, err
	}
	c := &catalog.Change{Documents: did.Docs, Replaced: did.Replaced, Places: map[string]string{partMeta: did.Paths[0]}}
	for i, fingerprint := range did.Fingerprints {
		image := catalog.Image{Product: b.add.Product, Version: did.Version, Fingerprint: fingerprint, Type: container}
		if b.add.VM || !b.add.Unified && imageType(b.add.Roots[i].Ftype) == virtualMachine {
			image.Type = virtualMachine
		}
		c.Images = append(c.Images, image)
	}
	for i, r := range b.add.Roots {
		c.Places[partRoot(i)] = did.Paths[1+i]
		c.Combined = append(c.Combined, catalog.Combined{First: did.Paths[0], Second: did.Paths[1+i],
			SHA256: r.Combined})
	}
	return c, nil
}

// describe returns what the index will say about an image, without its files. It
// takes names unchanged from the metadata, as incus-simplestreams does. A missing
// variant becomes default, as in distrobuilder.
func describe(m *Metadata, opt catalog.Addition, name string) (Add, error) {
	arch := m.Properties["architecture"]
	if _, ok := Architecture(arch); !ok {
		arch = m.Architecture
	}
	add := Add{
		Product: opt.Name, OS: m.OS, Release: m.Release, Variant: m.Variant, Arch: arch,
		Requirements: opt.Requirements, Version: VersionName(m.Created),
	}
	if add.Variant == "" {
		add.Variant = "default"
	}
	if parts := strings.Split(opt.Name, ":"); len(parts) == 4 {
		if add.OS == "" {
			add.OS = parts[0]
		}
		if add.Release == "" {
			add.Release = parts[1]
		}
	}
	if add.OS == "" || add.Release == "" {
		return add, fmt.Errorf("%s: metadata.yaml lacks the property os or release; "+
			"give them with --product OS:RELEASE:VARIANT:ARCH", name)
	}
	if add.Product == "" {
		add.Product = strings.Join([]string{add.OS, add.Release, add.Variant, add.Arch}, ":")
	}
	for _, text := range []string{add.Product, add.OS, add.Release, add.Variant} {
		if strings.ContainsFunc(text, unicode.IsControl) {
			return add, fmt.Errorf("%s: the name %q has a control character", name, text)
		}
	}
	if !opt.NoDefaultAlias {
		add.Aliases = append(add.Aliases, add.OS+"/"+add.Release+"/"+add.Variant)
	}
	for _, a := range opt.Aliases {
		if !slices.Contains(add.Aliases, a) {
			add.Aliases = append(add.Aliases, a)
		}
	}
	return add, nil
}

// inputs are the files of an Input.
type inputs struct {
	meta  string
	roots []string // none: meta is a unified image
}

// The file names that distrobuilder and related tools use for an image.
// build-incus and build-lxd write incus.tar.xz or lxd.tar.xz (with another ending
// after --compression) with rootfs.squashfs or disk.qcow2, or one unified tarball.
// lxc-ci renames the root files.
var (
	metaNames    = []string{"incus", "lxd"}
	unifiedNames = []string{"incus_combined", "lxd_combined"}
	tarEndings   = []string{".tar.xz", ".tar.gz", ".tar.zst", ".tar.bz2", ".tar"}
	rootNames    = [][]string{ // names of one kind of root
		{"rootfs.squashfs", "root.squashfs"},
		{"disk.qcow2"},
		{"rootfs.tar.xz", "root.tar.xz"},
	}
)

// resolve returns the files to add.
func resolve(in catalog.Input) (inputs, error) {
	switch {
	case len(in.Files) > 0:
		return inputs{meta: in.Files[0], roots: in.Files[1:]}, nil
	case in.Dir != "":
		return inDir(in)
	}
	return inputs{}, catalog.Usage("give "+forms+", or a directory with an image", "no file to add")
}

// inDir finds the image in a directory. If there are two, it returns an error,
// because it cannot know which one is meant.
func inDir(in catalog.Input) (inputs, error) {
	there := map[string]bool{}
	for name, err := range in.List(in.Dir) {
		if err != nil {
			return inputs{}, err
		}
		there[name] = true // the name of a directory ends with a slash
	}
	find := func(stems []string) (found []string) {
		for _, stem := range stems {
			for _, ending := range tarEndings {
				if there[stem+ending] {
					found = append(found, stem+ending)
				}
			}
		}
		return found
	}
	metas, unified := find(metaNames), find(unifiedNames)
	var roots []string
	for _, names := range rootNames {
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !there[n] })
		if len(names) > 1 {
			return inputs{}, ambiguous(in.Dir, names)
		}
		roots = append(roots, names...)
	}
	if len(unified) > 0 {
		metas, roots = append(metas, unified...), nil
	}
	switch {
	case len(metas) > 1:
		return inputs{}, ambiguous(in.Dir, metas)
	case len(metas) == 0:
		return inputs{}, catalog.Usage("name the files: "+forms,
			"%s: is not an output directory of distrobuilder: it has no "+
				"incus.tar.xz, lxd.tar.xz or incus_combined.tar.gz", in.Dir)
	}
	out := inputs{meta: path.Join(in.Dir, metas[0])}
	for _, r := range roots {
		out.roots = append(out.roots, path.Join(in.Dir, r))
	}
	return out, nil
}

func ambiguous(dir string, names []string) error {
	return catalog.Usage("name the files: "+forms,
		"%s: has several files that could be the same part of an image: %s", dir, strings.Join(names, ", "))
}
