package publish

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site"
	"example.com/publish/stage/catalog"
)

// listed is a minimal format with indexes: index.json lists the items, and files that
// end in .bin are item-like. Tests of this package need a format but must not depend
// on a real one.
type listed struct{}

// noContent stands for the content of a version that has none.
const noContent = "(none)"

type listedItem struct {
	Product, Version, Path, SHA256 string
	Size                           int64
	Mark                           string `json:",omitempty"` // see naming
}

// parseItems reads an index, without what was added to it for clients.
func parseItems(data []byte) (items []listedItem, err error) {
	err = json.Unmarshal(data, &items)
	return slices.DeleteFunc(items, func(i listedItem) bool { return i.Mark != "" }), err
}

func (listed) Name() string { return "simplestreams" }

func (listed) Ref(n catalog.Name) string { return n.String() }

func (listed) ParseRef(ref string) catalog.Name { return catalog.ParseName(ref) }

func (listed) Class(p string) catalog.Class {
	switch {
	case p == "index.json":
		return catalog.Index
	case strings.HasSuffix(p, ".bin"):
		return catalog.ItemLike
	case strings.HasSuffix(p, ".part"):
		return catalog.InProgress
	}
	return catalog.Other
}

func (listed) Documents(catalog.Source) ([]string, error) { return []string{"index.json"}, nil }

func (listed) Clearsigned(string) string { return "" }

func (listed) Setup(catalog.Address) []catalog.Command { return nil }

func (listed) Commands(catalog.Address, catalog.Image, bool) []catalog.Command { return nil }

func (listed) Read(_ context.Context, src catalog.Source) (*catalog.Catalog, error) {
	c := &catalog.Catalog{Documents: []string{"index.json"}}
	data, err := src.Document("index.json")
	if err != nil {
		c.Findings = append(c.Findings, catalog.Finding{Severity: catalog.Error, Code: "no-index", Path: "index.json",
			Message: "is missing"})
		return c, nil
	}
	items, err := parseItems(data)
	if err != nil {
		c.Findings = append(c.Findings, catalog.Finding{Severity: catalog.Error, Code: "bad-json", Path: "index.json",
			Message: err.Error()})
		return c, nil
	}
	for _, i := range items {
		if i.Path != "" {
			c.Items = append(c.Items, catalog.Item{Path: i.Path, Size: i.Size, SHA256: i.SHA256, Product: i.Product,
				Version: i.Version, Name: "item", Index: "index.json"})
		}
		c.Units = append(c.Units, catalog.Unit{Key: i.Product + "/" + i.Version, Digest: cmp.Or(i.SHA256, noContent)})
		built, _ := time.Parse("20060102", i.Version[:min(8, len(i.Version))])
		if !i.skipped() {
			c.Versions = append(c.Versions, catalog.Version{Product: i.Product, Name: i.Version, Time: built})
		} else if n := len(c.Versions); n == 0 || c.Versions[n-1].Product != i.Product ||
			c.Versions[n-1].Name != i.Version {
			c.Versions = append(c.Versions, catalog.Version{Product: i.Product, Name: i.Version, Time: built,
				Skipped: "odd"})
		}
	}
	slices.SortFunc(c.Items, func(a, b catalog.Item) int { return cmp.Compare(a.Path, b.Path) })
	c.Images = images(items)
	return c, nil
}

// skipped reports whether clients skip a version, which they do if it has an odd name.
// Its items, which may have no file, form no image.
func (i listedItem) skipped() bool { return strings.Contains(i.Version, "odd") }

// images returns the images of an index, in which the items of a version follow each
// other.
func images(items []listedItem) (out []catalog.Image) {
	for _, i := range items {
		img := catalog.Image{Product: i.Product, Version: i.Version, Fingerprint: i.SHA256, Paths: []string{i.Path},
			Aliases: []string{}}
		if i.skipped() {
			if img.Fingerprint, img.Skipped = "", "odd"; i.Path == "" {
				img.Paths = []string{}
			}
			if n := len(out) - 1; n >= 0 && out[n].Product == i.Product && out[n].Version == i.Version {
				out[n].Paths = append(out[n].Paths, img.Paths...)
				continue
			}
		}
		out = append(out, img)
	}
	return out
}

func (f listed) WithoutVersions(
	ctx context.Context, src catalog.Source, drop func(catalog.Name) bool,
) ([]catalog.Document, error) {
	return f.Without(ctx, src, func(i catalog.Image) bool { return drop(i.Of()) })
}

func (listed) Bring(context.Context, catalog.Input, catalog.Sink, catalog.Addition) (catalog.Edit, error) {
	return nil, catalog.ErrByHand
}

func (listed) Merge(context.Context, catalog.Source) (catalog.Edit, error) {
	return func(context.Context, catalog.Source) (*catalog.Change, error) { return &catalog.Change{}, nil }, nil
}

func (listed) Without(
	_ context.Context, src catalog.Source, drop func(catalog.Image) bool,
) ([]catalog.Document, error) {
	data, err := src.Document("index.json")
	if catalog.Missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	items, err := parseItems(data)
	if err != nil {
		return nil, err
	}
	n := len(items)
	gone := map[string]bool{}
	for _, img := range images(items) {
		if drop(img) {
			gone[fmt.Sprint(img.Product, img.Version, img.Fingerprint)] = true
		}
	}
	items = slices.DeleteFunc(items, func(i listedItem) bool {
		if i.skipped() {
			return gone[fmt.Sprint(i.Product, i.Version, "")]
		}
		return gone[fmt.Sprint(i.Product, i.Version, i.SHA256)]
	})
	if len(items) == n {
		return nil, nil
	}
	if data, err = json.Marshal(items); err != nil {
		return nil, err
	}
	return []catalog.Document{{Path: "index.json", Data: data}}, nil
}

// failer is the part of testing.TB that a world needs. A rapid.T is not a testing.TB.
type failer interface {
	Helper()
	Log(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// world is a repository with a clock that the test sets.
type world struct {
	t    failer
	dir  string
	now  time.Time
	step func(string) error
	cfg  func(*Config)
	// stuck are the contents of files that gc and recover cannot delete.
	stuck map[string]bool

	format catalog.Format // nil: listed
	config *Config        // nil: read it from the repository each time
	// closeBytes is the size at which the history's file is closed; 0: as outside of
	// tests.
	closeBytes int64
}

var epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

var sites = site.Kinds{site.Symlink, site.Exchange}

// choices are the formats and sites that a program would have.
var choices = Choices{Sites: sites, Formats: []string{"simplestreams", "oci", "plain"}}

// newWorld makes a repository; mode is symlink or rename.
func newWorld(t testing.TB, mode string) *world {
	t.Helper()
	return newWorldIn(t, t.TempDir(), mode)
}

// twoGenerations makes a repository in which a/1 was promoted and then replaced by
// a/2.
func twoGenerations(t testing.TB, mode string) *world {
	t.Helper()
	w := newWorld(t, mode)
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.put(map[string]string{"a/2": "two"})
	w.promote()
	return w
}

// newWorldIn makes a repository below base.
func newWorldIn(t testing.TB, base, mode string) *world {
	t.Helper()
	dir := filepath.Join(base, "repo")
	if err := Init(dir, choices, InitOptions{Switch: mode}); err != nil {
		t.Fatal(err)
	}
	return &world{t: t, dir: dir, now: epoch}
}

func (w *world) repo() *Repo {
	w.t.Helper()
	c, err := new(Config), error(nil)
	if w.config != nil {
		*c = *w.config
	} else if c, err = LoadConfig(w.dir, choices); err != nil {
		w.t.Fatal(err)
	}
	if w.cfg != nil {
		w.cfg(c)
	}
	r, err := Open(w.dir, c, cmp.Or(w.format, catalog.Format(listed{})), sites, Options{
		Now: func() time.Time { return w.now }, Who: "tester",
		HookOutput: onStderr,
		Warn:       func(s string) { w.t.Log("warning:", s) }})
	if err != nil {
		w.t.Fatal(err)
	}
	r.step, r.remove = w.step, stuckFiles(w.stuck)
	if w.closeBytes > 0 {
		r.closeBytes = w.closeBytes
	}
	if len(w.stuck) > 0 { // a spare would be trimmed, which removes what r.remove cannot
		r.step = func(name string) error {
			if w.step != nil {
				if err := w.step(name); err != nil {
					return err
				}
			}
			if name == "before-trim" {
				return errors.New("there are files that cannot be removed")
			}
			return nil
		}
	}
	return r
}

// put writes staging: items by "product/version" with their bytes. File names depend
// on the content, as those of a correct builder do.
func (w *world) put(items map[string]string) {
	w.t.Helper()
	if err := stageItems(filepath.Join(w.dir, "staging"), items); err != nil {
		w.t.Fatal(err)
	}
}

func stageItems(dir string, items map[string]string) error {
	list := []listedItem{}
	for key, data := range items {
		product, version, _ := strings.Cut(key, "/")
		if data == noContent {
			list = append(list, listedItem{Product: product, Version: version})
			continue
		}
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(data)))
		path := "images/" + sum[:16] + ".bin"
		list = append(list, listedItem{Product: product, Version: version, Path: path, SHA256: sum,
			Size: int64(len(data))})
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if have, err := os.ReadFile(full); err == nil && string(have) == data {
			continue
		}
		if err := os.WriteFile(full, []byte(data), 0o644); err != nil {
			return err
		}
	}
	slices.SortFunc(list, func(a, b listedItem) int {
		return strings.Compare(a.Product+"/"+a.Version, b.Product+"/"+b.Version)
	})
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "index.json"), text, 0o644)
}

func (w *world) promote() *Result {
	w.t.Helper()
	res, err := w.repo().Promote(context.Background(), PromoteOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) revert(to int) *Result {
	w.t.Helper()
	res, err := w.repo().Revert(context.Background(), RevertOptions{To: to})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) gc() *GCResult {
	w.t.Helper()
	res, err := w.repo().GC(context.Background(), false)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) production() string { return filepath.Join(w.dir, "production") }

// served returns the bytes of all files that a web server would serve, by path, except
// the identity file.
func (w *world) served() map[string]string {
	w.t.Helper()
	return w.filesIn(w.production())
}

// filesIn returns the bytes of all files of a tree, by path, except the identity file.
func (w *world) filesIn(dir string) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	root := dir + "/"
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if rel := strings.TrimPrefix(p, root); !catalog.Reserved(rel) {
			out[rel] = string(data)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// items returns what production's index names, and checks that every named file has
// the right bytes.
func (w *world) items() map[string]string {
	w.t.Helper()
	return w.itemsIn(w.production())
}

// itemsIn is items for any tree.
func (w *world) itemsIn(dir string) map[string]string {
	w.t.Helper()
	items, missing := w.index(dir)
	if len(missing) > 0 {
		w.t.Fatalf("%s: the index names what is not there: %v", dir, missing)
	}
	return items
}

// index returns what a tree's index names, by "product/version", and which of it is
// missing. It checks the bytes of the rest.
func (w *world) index(dir string) (items map[string]string, missing []string) {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := parseItems(data)
	if err != nil {
		w.t.Fatalf("half an index: %v", err)
	}
	items = map[string]string{}
	for _, i := range list {
		key := i.Product + "/" + i.Version
		if i.Path == "" {
			items[key] = noContent
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, i.Path))
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, key)
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if sumOf(string(data)) != i.SHA256 {
			w.t.Fatalf("%s: has other bytes than the index says", i.Path)
		}
		items[key] = string(data)
	}
	return items, missing
}

func both(t *testing.T, f func(t *testing.T, mode string)) {
	for _, mode := range sites.Names() {
		t.Run(mode, func(t *testing.T) { f(t, mode) })
	}
}

// onStderr prints the output of hooks together with the test's own output.
func onStderr() io.WriteCloser {
	return struct {
		io.Writer
		io.Closer
	}{os.Stderr, io.NopCloser(nil)}
}

// checkSpare fails if the spare has a file that is not the same inode at the same path
// in production, or if it names a generation.
func checkSpare(t failer, w *world) {
	t.Helper()
	spare := filepath.Join(w.dir, "generations", generation.SpareName)
	if gone(spare) {
		return
	}
	err := filepath.WalkDir(spare+"/", func(p string, d fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(p, spare+"/")
		switch {
		case err != nil:
			return err
		case rel == "":
			return nil
		case catalog.Reserved(rel):
			return fmt.Errorf("%s is left", rel)
		}
		in, err := os.Lstat(p)
		if err != nil {
			return err
		}
		live, err := os.Lstat(filepath.Join(w.production(), rel))
		switch {
		case err != nil:
			return err
		case !d.IsDir() && !os.SameFile(in, live):
			return fmt.Errorf("%s is not production's", rel)
		case d.IsDir() && in.Mode() != live.Mode():
			return fmt.Errorf("%s has the mode %s", rel, in.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatalf("the spare: %v", err)
	}
}
