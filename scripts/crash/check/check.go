// Package check looks at a repository from outside: it reads production as a
// web server and a client would, and compares two such looks. It shares no
// code with the program that it checks, and opens nothing of the program's own
// records.
package check

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Identity is the file by which a tree names its generation.
const Identity = ".publish-generation"

// Owner is the file by which it names the repository that made it.
const Owner = ".publish-tree"

// View is what a directory serves at one moment.
type View struct {
	Dir        string          // with links resolved
	Generation int             // 0 for a tree that has no identity, such as staging
	Files      map[string]File // every regular file but the identity, by slash-separated path
	Named      map[string]Item // what the index names, by path
	Indexes    map[string]bool // the index and the catalogs it names
	Pulled     map[string]bool // what a registry resolves: repository@digest
}

// File is one file's content.
type File struct {
	Size   int64
	SHA256 string
}

// Item is a file that an index names.
type Item struct {
	File
	Where string // product/version/item
}

var number = regexp.MustCompile(`^[1-9][0-9]*\n$`)

// Production reads the tree that REPO/production resolves to and checks that
// it is one complete generation. A repository that has never been promoted
// to has none: (nil, nil).
func Production(repo string) (*View, error) { return production(repo, false) }

// Adopted reads what Production does, or the tree of others that stands there until it is adopted: that has
// no identity, and is generation 0.
func Adopted(repo string) (*View, error) { return production(repo, true) }

func production(repo string, foreign bool) (*View, error) {
	name := filepath.Join(repo, "production")
	entry, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	dir, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, fmt.Errorf("production resolves to nothing: %w", err)
	}
	identity, err := os.ReadFile(filepath.Join(dir, Identity))
	if foreign && errors.Is(err, fs.ErrNotExist) && entry.IsDir() {
		return read(dir, true)
	}
	if err != nil {
		return nil, fmt.Errorf("production's tree has no identity: %w", err)
	}
	if !number.Match(identity) {
		return nil, fmt.Errorf("%s: %q is not a number and a newline", Identity, identity)
	}
	generation, err := strconv.Atoi(strings.TrimSpace(string(identity)))
	if err != nil {
		return nil, err
	}
	if entry.Mode()&os.ModeSymlink != 0 {
		if base, err := strconv.Atoi(filepath.Base(dir)); err != nil || base != generation {
			return nil, fmt.Errorf("production leads to %s, whose identity is %d", dir, generation)
		}
	}
	view, err := read(dir, true)
	if err != nil {
		return nil, fmt.Errorf("generation %d: %w", generation, err)
	}
	view.Generation = generation
	return view, nil
}

// Staging reads a tree that nobody serves: its modes do not matter, and it may
// have no index yet.
func Staging(dir string) (*View, error) { return read(dir, false) }

// read reads a tree whole, of simplestreams or of OCI layouts, and checks that what its
// indexes name is there, with the size and the hashes that they say.
func read(dir string, served bool) (*View, error) {
	v := &View{Dir: dir, Files: map[string]File{}, Named: map[string]Item{}, Indexes: map[string]bool{},
		Pulled: map[string]bool{}}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		info, err := d.Info()
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if served && info.Mode().Perm()&0o005 != 0o005 {
				return fmt.Errorf("%s: a web server cannot enter a directory of mode %v", rel, info.Mode())
			}
		case rel == Identity, rel == Owner:
			if !d.Type().IsRegular() {
				return fmt.Errorf("%s: is a %v", rel, d.Type())
			}
		case !d.Type().IsRegular():
			return fmt.Errorf("%s: is a %v", rel, d.Type())
		default:
			if served && info.Mode().Perm()&0o004 == 0 {
				return fmt.Errorf("%s: a web server cannot read a file of mode %v", rel, info.Mode())
			}
			if v.Files[rel], err = hash(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if layouts := v.layouts(); len(layouts) > 0 {
		for _, repository := range layouts {
			if err := v.readLayout(repository, served); err != nil {
				return nil, err
			}
		}
		return v, nil
	}
	if _, ok := v.Files[top]; !ok && (!served || len(v.Files) == 0) {
		return v, nil
	}
	return v, v.readIndex()
}

// top is the document at which a client starts.
const top = "streams/v1/index.json"

// Documents is what this package understands of simplestreams.
type (
	index struct {
		Format string
		Index  map[string]struct {
			DataType string
			Path     string
			Products []string
		}
	}
	catalog struct {
		Format   string
		Products map[string]struct {
			Versions map[string]struct {
				Items map[string]item
			}
		}
	}
	item struct {
		FileType string `json:"ftype"`
		Path     string
		Size     json.Number
		SHA256   string
		Squashfs string `json:"combined_squashfs_sha256"`
		Disk     string `json:"combined_disk-kvm-img_sha256"`
		RootTar  string `json:"combined_rootxz_sha256"`
	}
)

func (v *View) readIndex() error {
	var idx index
	if err := v.parse(top, &idx); err != nil {
		return err
	}
	v.Indexes[top] = true
	for stream, entry := range idx.Index {
		var cat catalog
		if err := v.parse(entry.Path, &cat); err != nil {
			return fmt.Errorf("stream %s: %w", stream, err)
		}
		v.Indexes[path.Clean(entry.Path)] = true
		named := map[string]bool{}
		for _, product := range entry.Products {
			if named[product] = true; !has(cat.Products, product) {
				return fmt.Errorf("%s names product %s, %s does not have it", top, product, entry.Path)
			}
		}
		for key, product := range cat.Products {
			if !named[key] {
				return fmt.Errorf("%s has product %s, %s does not name it", entry.Path, key, top)
			}
			for version, v2 := range product.Versions {
				if err := v.items(key+"/"+version, v2.Items); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (v *View) items(where string, items map[string]item) error {
	byType := map[string]string{} // file type to path
	for key, it := range items {
		if !fs.ValidPath(path.Clean(it.Path)) || it.Path == "" {
			return fmt.Errorf("%s/%s: path %q", where, key, it.Path)
		}
		clean := path.Clean(it.Path)
		have, ok := v.Files[clean]
		size, err := it.Size.Int64()
		switch {
		case !ok:
			return fmt.Errorf("%s/%s: %s is missing", where, key, clean)
		case err != nil || have.Size != size:
			return fmt.Errorf("%s/%s: %s has %d bytes, not %s", where, key, clean, have.Size, it.Size)
		case it.SHA256 != "" && have.SHA256 != it.SHA256:
			return fmt.Errorf("%s/%s: %s has sha256 %s, not %s", where, key, clean, have.SHA256, it.SHA256)
		}
		v.Named[clean] = Item{have, where + "/" + key}
		byType[it.FileType] = clean
	}
	for key, it := range items {
		for root, want := range map[string]string{"squashfs": it.Squashfs, "disk-kvm.img": it.Disk,
			"root.tar.xz": it.RootTar} {
			if want == "" || byType[root] == "" {
				continue
			}
			got, err := hash(filepath.Join(v.Dir, it.Path), filepath.Join(v.Dir, byType[root]))
			if err != nil {
				return err
			}
			if got.SHA256 != want {
				return fmt.Errorf("%s/%s: with its %s the fingerprint is %s, not %s", where, key, root, got.SHA256,
					want)
			}
		}
	}
	return nil
}

// parse reads a document strictly: one value and nothing after it.
func (v *View) parse(name string, into any) error {
	clean := path.Clean(name)
	if _, ok := v.Files[clean]; !ok {
		return fmt.Errorf("%s is missing", name)
	}
	data, err := os.ReadFile(filepath.Join(v.Dir, clean))
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("%s: more after the document", name)
	}
	return nil
}

// StillServed checks that every content file that before served reads in
// after with the same bytes, and every other path at all. Content is what its
// index names or, when carried is true, any file but an index. What a registry
// resolved it resolves, when carried is true. What is revoked may go, and signatures.
func StillServed(before, after *View, carried bool, revoked map[File]bool) error {
	if before == nil {
		return nil
	}
	if after == nil {
		return errors.New("production is missing")
	}
	for name, want := range before.Files {
		_, named := before.Named[name]
		if !named && !carried || revoked[want] || signature(name) {
			continue
		}
		got, ok := after.Files[name]
		switch {
		case !ok:
			return fmt.Errorf("%s was served by generation %d, and generation %d does not have it", name,
				before.Generation, after.Generation)
		case (named || !strings.HasPrefix(name, "streams/") && !before.Indexes[name]) && got != want:
			return fmt.Errorf("%s has other bytes in generation %d than in %d", name, after.Generation,
				before.Generation)
		}
	}
	for digest := range before.Pulled {
		if carried && len(revoked) == 0 && !after.Pulled[digest] {
			return fmt.Errorf("%s was resolved in generation %d, and is not in %d", digest, before.Generation,
				after.Generation)
		}
	}
	return nil
}

// signature reports whether a file says of one generation that it is what somebody signed: an old
// one says nothing of the next, and a way back goes on without one that cannot be made.
func signature(name string) bool {
	return strings.HasPrefix(name, "publish-manifest") || strings.HasSuffix(name, ".sjson")
}

// Find returns the paths, relative to the repository, of all regular files that
// have one of the contents: in whatever tree, record or corner they lie, and in
// what production resolves to if that is elsewhere.
func Find(repo string, contents map[File]bool) ([]string, error) {
	if len(contents) == 0 {
		return nil, nil
	}
	sizes := map[int64]bool{}
	for f := range contents {
		sizes[f.Size] = true
	}
	found := map[string]bool{}
	roots := []string{repo}
	if dir, err := filepath.EvalSymlinks(filepath.Join(repo, "production")); err == nil {
		roots = append(roots, dir)
	}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err != nil || !sizes[info.Size()] {
				return err
			}
			f, err := hash(name)
			if err != nil || !contents[f] {
				return err
			}
			rel, err := filepath.Rel(repo, name)
			found[rel] = true
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// SameContent says how the content that two trees' indexes name differs; "" when it does
// not.
func SameContent(a, b *View) string {
	if a == nil || b == nil {
		if a == b {
			return ""
		}
		return "one of the two is missing"
	}
	for _, pair := range [][2]*View{{a, b}, {b, a}} {
		for name, it := range pair[0].Named {
			if other, ok := pair[1].Named[name]; !ok || other.File != it.File {
				return fmt.Sprintf("%s (%s)", name, it.Where)
			}
		}
	}
	return ""
}

// Content reads one file.
func Content(name string) (File, error) { return hash(name) }

func sumOf(data string) string {
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:])
}

func hash(names ...string) (File, error) {
	h := sha256.New()
	var size int64
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return File{}, err
		}
		n, err := io.Copy(h, f)
		f.Close()
		if err != nil {
			return File{}, err
		}
		size += n
	}
	return File{size, hex.EncodeToString(h.Sum(nil))}, nil
}

func has[V any](m map[string]V, key string) bool { _, ok := m[key]; return ok }
