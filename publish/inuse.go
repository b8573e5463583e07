package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// maxInventory is the maximum size of an inventory, in bytes: enough for half a
// million references.
const maxInventory = 64 << 20

// InventoryRead is an inventory of images in use as a prune read it.
type InventoryRead struct {
	File       string `json:"file"`       // as in publish.yaml
	References int    `json:"references"` // different ones
	Matched    int    `json:"matched"`    // those that name something in staging
}

// uses are the images that inventories name.
type uses struct {
	files []InventoryRead
	names map[catalog.Name][]*using
	heads map[string][]*using // by the first twelve digits
}

// using is one reference.
type using struct {
	hex     string
	file    int // place in files
	line    int
	matched bool
}

// hexHead is how many digits of a digest an inventory gives at least.
const hexHead = 12

// inventories reads all files that list images in use. A file that is missing, empty
// or too old, or that cannot be read to its end, is an error of kind Usage: a prune
// would take what it does not list for unused.
func (r *Repo) inventories(tagger catalog.Tagger, now time.Time) (*uses, error) {
	u := newUses()
	for _, v := range r.Config.InUse {
		list, err := r.inventory(tagger, v, now)
		if err != nil {
			return nil, err
		}
		u.add(v.File, list)
	}
	return u, nil
}

func newUses() *uses {
	return &uses{names: map[catalog.Name][]*using{}, heads: map[string][]*using{}}
}

// add adds the references of a file.
func (u *uses) add(file string, list []catalog.Use) {
	at := len(u.files)
	u.files = append(u.files, InventoryRead{File: file, References: len(list)})
	for _, one := range list {
		x := &using{hex: one.Hex, file: at, line: one.Line}
		for _, n := range one.Names {
			u.names[n] = append(u.names[n], x)
		}
		if len(one.Hex) >= hexHead {
			u.heads[one.Hex[:hexHead]] = append(u.heads[one.Hex[:hexHead]], x)
		}
	}
}

// inventory reads one file.
func (r *Repo) inventory(tagger catalog.Tagger, v Inventory, now time.Time) ([]catalog.Use, error) {
	const hint = "nothing was pruned: what it does not list would count as unused; write it again, or correct in_use"
	path := v.File
	if !filepath.IsAbs(path) {
		path = r.path(filepath.FromSlash(path))
	}
	bad := func(hint, format string, args ...any) error {
		return &Error{Kind: Usage, Path: path, Fact: fmt.Sprintf(format, args...), Hint: hint}
	}
	f, err := durable.OpenNamed(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, bad(hint, "there is no such inventory of images in use")
	}
	if err != nil {
		return nil, bad(hint, "the inventory of images in use cannot be read: %v", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if age := now.Sub(fi.ModTime()).Abs(); v.MaxAge > 0 && age > time.Duration(v.MaxAge) {
		return nil, bad(hint, "the inventory of images in use is of %s: max_age is %s",
			fi.ModTime().UTC().Format(time.RFC3339), v.MaxAge)
	}
	text, err := durable.ReadBounded(f, maxInventory)
	if err != nil {
		return nil, bad(hint, "the inventory of images in use cannot be read: %v", err)
	}
	list, err := tagger.Uses(text, r.Config.ServedAs)
	if wrong := new(catalog.UseError); errors.As(err, &wrong) {
		if wrong.Line > 0 {
			path = fmt.Sprintf("%s:%d", path, wrong.Line)
		}
		return nil, bad(hint, "%s", wrong.Fact)
	}
	if err != nil {
		return nil, err
	}
	if len(list) == 0 && !v.AllowEmpty {
		return nil, bad("a pipeline that failed leaves an empty file; where nothing is in use, write allow_empty: true",
			"the inventory of images in use is empty")
	}
	return list, nil
}

// find returns where inventories say that images are in use.
func (u *uses) find(images []catalog.Image) map[catalog.Name]string {
	out := map[catalog.Name]string{}
	for _, i := range images {
		var first *using
		take := func(x *using) {
			x.matched = true
			if first == nil {
				first = x
			}
		}
		for _, x := range u.names[i.Of()] {
			take(x)
		}
		for _, d := range i.Digests {
			_, hex, _ := strings.Cut(d, ":")
			for _, x := range u.heads[hex[:min(hexHead, len(hex))]] {
				if strings.HasPrefix(hex, x.hex) {
					take(x)
				}
			}
		}
		if first != nil {
			out[i.Of()] = fmt.Sprintf("%s:%d", u.files[first.file].File, first.line)
		}
	}
	return out
}

// summary returns what the files have. Each reference counts once, however many images
// it means.
func (u *uses) summary() []InventoryRead {
	out := slices.Clone(u.files)
	seen := map[*using]bool{}
	count := func(x *using) {
		if x.matched && !seen[x] {
			seen[x] = true
			out[x.file].Matched++
		}
	}
	for _, list := range u.names {
		for _, x := range list {
			count(x)
		}
	}
	for _, list := range u.heads {
		for _, x := range list {
			count(x)
		}
	}
	return out
}
