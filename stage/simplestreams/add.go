package simplestreams

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"example.com/publish/stage/catalog"
)

// Add is an image to add to the index, or several that share one metadata file.
type Add struct {
	Product      string // os:release:variant:arch
	OS, Release  string
	ReleaseTitle string // "" means the same as Release
	Variant      string
	Arch         string            // a name that clients know: see Architecture
	Aliases      []string          // added to those of the product
	Requirements map[string]string // set in addition to those of the product
	Version      string            // YYYYMMDD_HH:MM, UTC: see VersionName
	Unified      bool              // Meta is the whole image; Roots is empty
	VM           bool              // a unified image is a virtual machine
	Meta         File
	Roots        []Root // at most one of each ftype
}

// File is a file that will be at Path when the documents are written.
type File struct {
	Path   string // relative to the tree: see ContentPath
	SHA256 string // lower-case hex
	Size   int64  // bytes
}

// Root is a root file together with the metadata.
type Root struct {
	File
	Ftype    string // see RootType
	Combined string // sha256 over the metadata's bytes, then the root's
}

// Added is the result of AddImage.
type Added struct {
	Docs         []catalog.Document // the catalog first, the index last
	Fingerprints []string           // in the order of Roots
	Paths        []string           // the paths of Meta, then of Roots, in the version
	Version      string             // its name, which may be in the style of the product's other versions
	Unchanged    bool               // the tree already names all this; Docs is empty
	Replaced     []string           // paths that the version named before and that no item names now; sorted
}

// AddImage returns documents that name an image in addition to all that the tree
// names. If the version has an image of the same kind already, the new one
// replaces it. Images are of the same kind if their roots have the same ftype, or
// if both are unified and of the same type. Everything else in the version stays,
// and keeps its own metadata item if its metadata file is a different one.
//
// The product goes into the stream that has it, else into "images", else into the
// first stream. An image that the tree already names keeps its paths.
//
// It returns a *[DocumentError] for a document that clients cannot read, and
// wraps [ErrBadAdd] if the input is not an image.
func AddImage(src catalog.Source, add Add) (*Added, error) {
	if err := add.check(); err != nil {
		return nil, err
	}
	t, err := load(src)
	if err != nil {
		return nil, err
	}
	shop, err := t.shopFor(add.Product)
	if err != nil {
		return nil, err
	}
	product := shop.product(add.Product)
	add.Version = inStyle(product, add.Version)
	added := &Added{Fingerprints: add.fingerprints(), Version: add.Version}
	raw, removed, changed := add.into(product)
	added.Paths = add.paths(raw)
	if changed {
		shop.put(add.Product, raw)
	}
	added.Docs = t.documents()
	added.Unchanged = len(added.Docs) == 0
	added.Replaced = t.unnamed(removed)
	return added, nil
}

// paths returns the paths of the image's files in the product, which has the
// image. An image that was there before may have other paths than those in add.
func (add Add) paths(product []byte) []string {
	var v version
	versions := split(split(product).get("versions"))
	newDecoder(versions[versions.key(add.Version)].raw, ignore).version(add.Version, &v)
	files := []File{add.Meta}
	for _, r := range add.Roots {
		files = append(files, r.File)
	}
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.Path
		named := func(p string) bool {
			return slices.ContainsFunc(v.items, func(it item) bool { return it.file == p })
		}
		for n := 0; n < len(v.items) && !named(f.Path); n++ {
			if it := v.items[n]; strings.EqualFold(it.sha256, f.SHA256) && it.file != "" {
				out[i] = it.file
				break
			}
		}
	}
	return out
}

// inStyle returns the name of the version in the style of the product's other
// versions: if they are all of the form YYYYMMDDHHMM, which incus-simplestreams
// writes, the new one is too. There are two reasons. Clients take the greatest name
// for the newest, which is wrong if styles are mixed. And the same image must get
// the same version name, whichever tool added it first.
func inStyle(product []byte, name string) string {
	plain := strings.NewReplacer("_", "", ":", "").Replace(name)
	found := false
	for _, v := range split(split(product).get("versions")) {
		if key := v.name; len(key) != len(plain) || strings.Trim(key, "0123456789") != "" {
			return name
		}
		found = true
	}
	if found {
		return plain
	}
	return name
}

// shopFor returns the shop that a product belongs to.
func (t *tree) shopFor(product string) (*shop, error) {
	if s := t.selling(product); s != nil {
		return s, nil
	}
	if s := t.named(defaultStream); s != nil {
		return s, nil
	}
	if len(t.streams) > 0 {
		return t.streams[0], nil
	}
	key := defaultStream
	for t.entries.key(key) >= 0 { // it is a stream of another datatype
		key += "-images"
	}
	// The catalog may exist without an index: an interrupted first add leaves that.
	return t.add(key, defaultCatalog, nil)
}

// unnamed returns those of the paths that no item names, sorted.
func (t *tree) unnamed(paths map[string]bool) []string {
	if len(paths) > 0 {
		t.versions(func(v *version) {
			for i := range v.items {
				if path := v.items[i].file; path != "" {
					delete(paths, path)
				}
			}
		})
	}
	return slices.Sorted(maps.Keys(paths))
}

// into returns the product with the image, the paths that its version no longer
// names, and whether the product changed.
func (add Add) into(raw []byte) (with []byte, removed map[string]bool, changed bool) {
	p, c := add.describe(raw)
	changed = c
	versions := split(p.get("versions"))
	i := versions.key(add.Version)
	if i < 0 {
		v := object{}.set("items", add.items().join())
		p = p.set("versions", versions.insert(add.Version, v.join()).join())
		return p.join(), nil, true
	}
	var v version
	newDecoder(versions[i].raw, ignore).version(add.Version, &v)
	united, removed, c := uniteVersion(versions[i].raw, add.version(), &v, true)
	if c {
		versions[i].raw = united
		p, changed = p.set("versions", versions.join()), true
	}
	return p.join(), removed, changed
}

func ignore(_, _ string, _ ...any) {}

// uniteVersion returns the bytes of a version with the items of another version,
// and the paths that it no longer names.
func uniteVersion(
	raw []byte, from, to *version, keepPaths bool,
) (united []byte, removed map[string]bool, changed bool) {
	v := split(raw)
	items, changed := uniteItems(split(v.get("items")), from, to, keepPaths)
	if !changed {
		return raw, nil, false
	}
	removed = map[string]bool{}
	for i := range to.items {
		if path := to.items[i].file; path != "" {
			removed[path] = true
		}
	}
	united = v.set("items", items.join()).join()
	var now version
	newDecoder(united, ignore).version(to.key, &now)
	for i := range now.items {
		if path := now.items[i].file; path != "" {
			delete(removed, path)
		}
	}
	return united, removed, true
}

// describe returns the product with the fields that the image has for it. Fields
// that are set already stay; only new aliases and requirements are added.
func (add Add) describe(raw []byte) (p object, changed bool) {
	p = split(raw)
	set := func(name, value string) {
		if !says(p.value(name)) && value != "" {
			p, changed = p.set(name, quote(value)), true
		}
	}
	was := newDecoder(raw, ignore).product(add.Product)
	aliases := aliasList(&was)
	for _, alias := range add.Aliases {
		if !slices.Contains(aliases, alias) {
			aliases = append(aliases, alias)
		}
	}
	if joined := strings.Join(aliases, ","); joined != was.aliases || p.field("aliases") < 0 {
		p, changed = p.set("aliases", quote(joined)), true
	}
	set("arch", add.Arch)
	set("os", add.OS)
	if requirements, more := add.requirements(p.get("requirements")); more {
		p, changed = p.set("requirements", requirements), true
	}
	set("release", add.Release)
	set("release_title", add.title())
	if p.field("versions") < 0 {
		p, changed = p.set("versions", []byte("{}")), true
	}
	set("variant", add.Variant)
	return p, changed
}

func (add Add) title() string {
	if add.ReleaseTitle != "" {
		return add.ReleaseTitle
	}
	return add.Release
}

// requirements returns the product's requirements with those of the image.
func (add Add) requirements(raw []byte) (with []byte, changed bool) {
	o := split(raw)
	for _, key := range slices.Sorted(maps.Keys(add.Requirements)) {
		value := quote(add.Requirements[key])
		switch i := o.key(key); {
		case i < 0:
			o, changed = o.insert(key, value), true
		case !equal(o[i].raw, value):
			o[i].raw, changed = value, true
		}
	}
	return o.join(), changed
}

// items returns the items of the image, for a new version.
func (add Add) items() object {
	ftype := metaIncus
	if add.Unified {
		ftype = unifiedIncus
	}
	meta := add.Meta.object(ftype)
	if add.VM {
		meta = meta.set("combined_type", quote(virtualMachine))
	}
	var items object
	for _, r := range add.Roots {
		meta = meta.set(combinedFields[fieldsFor(r.Ftype)[0]], quote(r.Combined))
		items = items.insert(r.Ftype, r.object(r.Ftype).join())
	}
	return items.insert(ftype, meta.join())
}

func (f File) object(ftype string) object {
	return object{}.set("ftype", quote(ftype)).
		set("path", quote(f.Path)).
		set("sha256", quote(f.SHA256)).
		set("size", strconv.AppendInt(nil, f.Size, 10))
}

// version returns a version that has only this image.
func (add Add) version() *version {
	var v version
	newDecoder(object{}.set("items", add.items().join()).join(), ignore).version(add.Version, &v)
	return &v
}

func (add Add) fingerprints() []string {
	if add.Unified {
		return []string{add.Meta.SHA256}
	}
	out := make([]string, len(add.Roots))
	for i, r := range add.Roots {
		out[i] = r.Combined
	}
	return out
}

// ErrBadAdd is wrapped by the error for an Add that is not an image that clients
// can read.
var ErrBadAdd = errors.New("not an image that can be added")

// check returns an error for an Add for which Read would report findings.
func (add Add) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrBadAdd, fmt.Sprintf(format, args...))
	}
	if _, ok := Architecture(add.Arch); !ok {
		return bad("clients know no architecture %q", add.Arch)
	}
	if !dated(add.Version) {
		return bad("the version %q does not start with a date, YYYYMMDD", add.Version)
	}
	switch {
	case add.Product == "":
		return bad("it has no product")
	case add.Unified && len(add.Roots) > 0:
		return bad("a unified image has no root file")
	case !add.Unified && add.VM:
		return bad("only a unified image can be marked as a virtual machine; for a split image the root file decides")
	case !add.Unified && len(add.Roots) == 0:
		return bad("a split image needs a root file")
	}
	for _, alias := range add.Aliases {
		if alias == "" || strings.TrimSpace(alias) != alias || strings.Contains(alias, ",") {
			return bad("the alias %q is empty, or has a comma or white space at an end", alias)
		}
	}
	files, ftypes := []File{add.Meta}, map[string]bool{}
	for _, r := range add.Roots {
		if !isRoot(r.Ftype) || ftypes[r.Ftype] {
			return bad("the root's type %q is unknown to clients, or given twice", r.Ftype)
		}
		if !isHex(r.Combined, sha256.Size) {
			return bad("the combined hash %q is not a sha256", r.Combined)
		}
		ftypes[r.Ftype] = true
		files = append(files, r.File)
	}
	for _, f := range files {
		if follow(f.Path, nil) != f.Path || f.Path == "" {
			return bad("the path %q is not a path in the tree", f.Path)
		}
		if !isHex(f.SHA256, sha256.Size) || f.Size < 0 {
			return bad("%s: the sha256 %q or the size %d is not valid", f.Path, f.SHA256, f.Size)
		}
	}
	return nil
}
