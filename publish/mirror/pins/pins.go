// Package pins has the lock file of a mirror: what names of other servers stand for here.
//
// The file belongs into version control. So it is text in a stable order, with one fact a
// line: the same content has the same bytes, and it is written only when bytes change. A
// name has its entry by its canonical form on its own server; under which name the image
// lies in the tree is no part of it.
//
// It is read strictly. A file that is damaged, or half merged, must not count as one that
// locks nothing: then every name could move. Only a missing file locks nothing.
//
// All writers hold a lock of their own, read the file again under it, and replace it in
// one rename. So a kill leaves the old file or the new one, and two processes lose no
// entry. Readers take no lock.
package pins

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.com/publish/stage/catalog"
)

// Entry is what a name stands for: a digest, or versions of products.
type Entry struct {
	Canonical string   // the name on its own server
	Requested string   // as the first requester wrote it
	Digest    string   // of the image; "" for one with Products
	Platforms []string // of the image that came, sorted; nil: all

	// Products are those of a name that stands for several. Of each product it has the
	// versions that the last job selected.
	Products map[string]Versions
	Newest   int      // so many versions of each product were asked for; 0: all
	Filters  []string // that were asked for
}

// Versions are the files of versions, by name of the version and of the file: their
// sha256s in hex.
type Versions map[string]map[string]string

// Version is one version of a product.
type Version struct {
	Product string            `json:"product"`
	Version string            `json:"version"`
	Files   map[string]string `json:"files"` // the sha256 of each file in hex, by its name
}

// Digest is one word for the files of a version: the sha256 of a line "NAME SHA256\n" for
// each, sorted.
func (v Version) Digest() string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(v.Files)) {
		fmt.Fprintf(sum, "%s %s\n", name, v.Files[name])
	}
	return catalog.SHA256 + ":" + hex.EncodeToString(sum.Sum(nil))
}

// Has returns what is locked of a version.
func (e Entry) Has(product, version string) (Version, bool) {
	files, ok := e.Products[product][version]
	return Version{Product: product, Version: version, Files: files}, ok
}

// Moved reports whether a version has other bytes now than v, in a file that both have: a
// job may select some files of a version.
func (v Version) Moved(now Version) bool {
	for name, sum := range v.Files {
		if other, ok := now.Files[name]; ok && other != sum {
			return true
		}
	}
	return false
}

// Base is the name without a digest that was written with it. ByDigest says whether there
// was one: then it always stands for the same.
func (e Entry) Base() (base string, byDigest bool) {
	if e.Digest == "" {
		return e.Canonical, false
	}
	return strings.CutSuffix(e.Canonical, "@"+e.Digest)
}

// Set is what a lock file says.
type Set struct {
	entries []Entry           // by Canonical
	places  map[string]string // the Base at each place in the tree
}

// All returns the entries, sorted. The caller must not change them.
func (s *Set) All() []Entry { return s.entries }

// Find returns the entry of a name.
func (s *Set) Find(canonical string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(s.entries, canonical, func(e Entry, name string) int {
		return strings.Compare(e.Canonical, name)
	})
	if !ok {
		return Entry{}, false
	}
	return s.entries[i], true
}

// At returns the name, without a digest, whose image has a place in the tree; "" for none.
func (s *Set) At(place string) string { return s.places[place] }

// ErrDrift is returned by Put for a name, or a version, that is locked to other bytes.
var ErrDrift = errors.New("the lock file has other bytes for it")

// unite returns what is locked after a job has staged e, where old was locked before.
func (old Entry) unite(e Entry, follow bool) (Entry, error) {
	e.Requested = old.Requested
	if e.Digest != old.Digest && !follow {
		return old, ErrDrift
	}
	if e.Digest == old.Digest && e.Digest != "" {
		if len(e.Platforms) == 0 || len(old.Platforms) == 0 {
			e.Platforms = nil
		} else {
			e.Platforms = append(slices.Clone(e.Platforms), old.Platforms...)
		}
	}
	if e.Digest != "" || old.Digest != "" {
		return e, nil
	}
	products := maps.Clone(old.Products)
	for product, versions := range e.Products {
		united := make(Versions, len(versions))
		for version, files := range versions {
			was, _ := old.Has(product, version)
			now := Version{Product: product, Version: version, Files: files}
			if was.Moved(now) && !follow {
				return old, ErrDrift
			}
			all := maps.Clone(files)
			if !was.Moved(now) {
				maps.Copy(all, was.Files)
			}
			united[version] = all
		}
		products[product] = united
	}
	e.Products = products
	return e, nil
}

// normal returns e with its lists in the order of the file.
func (e Entry) normal() Entry {
	e.Platforms = ordered(e.Platforms)
	e.Filters = slices.Clone(e.Filters)
	if len(e.Filters) == 0 {
		e.Filters = nil
	}
	return e
}

func ordered(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// maxText is the maximum size of one text of the file, in bytes.
const maxText = 16 << 10

// textProblem returns what is wrong with a text; "" for nothing.
func textProblem(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > maxText:
		return fmt.Sprintf("has more than %d bytes", maxText)
	case !utf8.ValidString(s):
		return "is not UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "has a control character"
	}
	return ""
}

// maxKey is the maximum length of a key as the file has it. YAML reads no longer ones.
const maxKey = 1000

// keyProblem is textProblem for a key of the file.
func keyProblem(s string) string {
	if fact := textProblem(s); fact != "" {
		return fact
	}
	if n := len(word(s)); n > maxKey {
		return fmt.Sprintf("has %d characters; YAML takes %d", n, maxKey)
	}
	return ""
}

// problem returns the key whose value is wrong, and what is wrong with it; "" and "" for
// nothing. Who writes an entry, and who reads one, use the same rules: what is written can
// be read.
func (e Entry) problem() (key, fact string) {
	if fact := textProblem(e.Canonical); fact != "" {
		return "canonical", fact
	}
	if fact := textProblem(e.Requested); fact != "" {
		return "requested", fact
	}
	switch {
	case e.Digest == "" && len(e.Products) == 0:
		return "canonical", "has neither a digest nor products"
	case e.Digest != "" && (len(e.Products) > 0 || e.Newest != 0 || len(e.Filters) > 0):
		return "digest", "stands beside products"
	case e.Digest == "" && len(e.Platforms) > 0:
		return "platforms", "stand beside products"
	case e.Newest < 0:
		return "newest", "is negative"
	}
	if e.Digest != "" {
		if _, err := catalog.ParseDigest(e.Digest); err != nil {
			return "digest", catalog.Show(short(e.Digest)) + " " + err.Error()
		}
		_, word, _ := cutLast(e.Canonical, "@")
		if d, err := catalog.ParseDigest(word); err == nil && d.String() != e.Digest {
			return "digest", "is not the one in the name"
		}
	}
	for key, list := range map[string][]string{"platforms": e.Platforms, "filters": e.Filters} {
		for _, text := range list {
			if fact := textProblem(text); fact != "" {
				return key, fact
			}
		}
	}
	for _, product := range slices.Sorted(maps.Keys(e.Products)) {
		if fact := e.Products[product].problem(product); fact != "" {
			return "products", fact
		}
	}
	return "", ""
}

// Problem returns why no lock file can have a version, "" for nothing: its names are those
// that a server chose.
func (v Version) Problem() string {
	return Versions{v.Version: v.Files}.problem(v.Product)
}

// problem returns what is wrong with the versions of a product; "" for nothing.
func (v Versions) problem(product string) string {
	at := catalog.Show(short(product)) + ": "
	if fact := keyProblem(product); fact != "" {
		return at + fact
	}
	if len(v) == 0 {
		return at + "has no version"
	}
	for _, version := range slices.Sorted(maps.Keys(v)) {
		at := at + catalog.Show(short(version)) + ": "
		if fact := keyProblem(version); fact != "" {
			return at + fact
		}
		if len(v[version]) == 0 {
			return at + "has no file"
		}
		for _, name := range slices.Sorted(maps.Keys(v[version])) {
			if fact := keyProblem(name); fact != "" {
				return at + catalog.Show(short(name)) + ": " + fact
			}
			d := catalog.Digest{Algorithm: catalog.SHA256, Hex: v[version][name]}
			if err := d.Check(); err != nil {
				return at + catalog.Show(short(name)) + ": the sha256 " + catalog.Show(short(d.Hex)) + " " + err.Error()
			}
		}
	}
	return ""
}

// short is the beginning of a text, for a message.
func short(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// sort orders entries as the file has them.
func sort(list []Entry) {
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.Canonical, b.Canonical) })
}
