package stage

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
	"example.com/publish/stage/plain"
	"example.com/publish/stage/tree"
)

// A shop is a store that has the content of trees, and counts what is read of it.
type shop struct {
	mu   sync.Mutex
	has  map[string][]byte // by digest
	read []string          // paths
	rows []tree.Row
	err  error
}

func (o *shop) open(_ context.Context, row tree.Row) (io.ReadCloser, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.read = append(o.read, row.Path)
	data, ok := o.has[row.SHA256]
	if o.err != nil || !ok {
		return nil, &fs.PathError{Op: "get", Path: row.Path, Err: fs.ErrInvalid}
	}
	return io.NopCloser(strings.NewReader(string(data))), nil
}

// sell moves the content of staging to the shop, and makes that the base of staging.
func (o *shop) sell(t *testing.T, s *Stage) {
	t.Helper()
	v, _ := promoted(t, s, &Base{})
	o.keep(t, s, v)
}

// keep makes the shop have a tree that was promoted, and takes its content out of staging.
func (o *shop) keep(t *testing.T, s *Stage, v *Valid) {
	t.Helper()
	if o.has == nil {
		o.has = map[string][]byte{}
	}
	o.rows = v.Rows
	for _, r := range v.Rows {
		local := filepath.Join(v.Dir, r.Path)
		if r.Role == catalog.Link {
			text, err := os.Readlink(local)
			must(t, err)
			o.has[r.SHA256] = []byte(text)
			continue
		}
		if !exists(local) {
			continue
		}
		o.has[r.SHA256] = read(t, local)
		if r.Role == catalog.Content || s.Format.Class(r.Path) == catalog.Whole {
			must(t, os.Remove(filepath.Join(s.Dir, r.Path)))
		}
	}
	s.Facts = filepath.Join(filepath.Dir(s.Hashes), "facts")
	s.Elsewhere = func() (*Elsewhere, error) { return &Elsewhere{Rows: o.rows, Open: o.open}, nil }
}

// image adds an image with one layer to a repository of layouts.
func image(t *testing.T, s *Stage, repository, tag, layer string) {
	t.Helper()
	dir := filepath.Join(s.Dir, filepath.FromSlash(repository))
	blob := func(mediaType, data string) string {
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(data)))
		must(t, os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "blobs/sha256", sum), []byte(data), 0o644))
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%d}`, mediaType, sum,
			len(data))
	}
	manifest := blob("manifest.v1+json", fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s]}`,
		blob("config.v1+json", fmt.Sprintf(`{"os":"linux","architecture":"amd64","x":%q,"rootfs":{"type":"layers",`+
			`"diff_ids":["sha256:%064x"]}}`, layer, sha256.Sum256([]byte(layer)))), blob("layer.v1.tar", layer)))
	entry := fmt.Sprintf(`%s,"annotations":{"org.opencontainers.image.ref.name":%q}}`, manifest[:len(manifest)-1], tag)
	index := filepath.Join(dir, "index.json")
	if data, err := os.ReadFile(index); err == nil {
		var had struct{ Manifests []json.RawMessage }
		must(t, json.Unmarshal(data, &had))
		for _, m := range had.Manifests {
			entry += "," + string(m)
		}
	}
	must(t, os.WriteFile(index, []byte(`{"schemaVersion":2,"manifests":[`+entry+"]}"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

// stores are staging trees of each format with two versions in each.
func stores(t *testing.T) map[string]*Stage {
	t.Helper()
	streams := newStage(t)
	add(t, streams, built(t, "debian", "1"))
	add(t, streams, built(t, "ubuntu", "1"))
	put(t, streams, "index.html", "a page")
	layouts := newStage(t)
	layouts.Format = oci.Format{}
	image(t, layouts, "acme/app", "v1", "one")
	image(t, layouts, "acme/app", "v2", "two")
	whole := newStage(t)
	whole.Format = plain.Format{}
	put(t, whole, "a/one", "1", "a/two", "2", "z", "3")
	must(t, os.Symlink("one", filepath.Join(whole.Dir, "a/link")))
	return map[string]*Stage{"simplestreams": streams, "oci": layouts, "plain": whole}
}

// Staging without the content that is elsewhere is the same tree, to every command.
func TestElsewhere(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			whole, err := s.Validate(ctx, Checks{Now: time.Now()})
			must(t, err)
			images, err := s.List(ctx)
			must(t, err)
			o := &shop{}
			o.sell(t, s)

			got, err := s.Validate(ctx, Checks{Now: time.Now()})
			must(t, err)
			if diff := cmp.Diff(whole.Rows, got.Rows); diff != "" || len(got.Report.Errors()) > 0 {
				t.Fatalf("%s %+v", diff, got.Report.Findings)
			}
			full, err := s.Validate(ctx, Checks{Now: time.Now(), Full: true})
			must(t, err)
			peeked, err := s.Peek(ctx)
			must(t, err)
			settled, unlock, err := s.Settle(ctx, "test", Checks{Now: time.Now()})
			must(t, err)
			must(t, s.Compact(settled))
			unlock()
			for _, c := range []*Checked{full, peeked, settled} {
				if diff := cmp.Diff(whole.Rows, c.Rows); diff != "" || len(c.Report.Errors()) > 0 {
					t.Errorf("%s %+v", diff, c.Report.Findings)
				}
			}
			listed, err := s.List(ctx)
			must(t, err)
			for i := range images {
				if name == "plain" {
					images[i].Created = time.Time{} // nobody knows it
				}
			}
			slices.SortFunc(images, func(a, b catalog.Image) int { return strings.Compare(a.Called(), b.Called()) })
			slices.SortFunc(listed, func(a, b catalog.Image) int { return strings.Compare(a.Called(), b.Called()) })
			for i := range listed {
				if s.Format.Class(listed[i].Product) == catalog.Whole {
					listed[i].Created = time.Time{}
				}
			}
			if diff := cmp.Diff(images, listed); name != "simplestreams" && diff != "" {
				t.Error(diff)
			}
			if stray, sure, err := s.Orphans(ctx, got.Catalog); err != nil || len(stray) > 0 || !sure && name != "plain" {
				t.Errorf("%v %v %v", stray, sure, err)
			}

			// A snapshot has the rows and not the files. What is read of the store is read once.
			o.read = nil
			snap := snapshot(t, s, &Base{})
			v, r := validate(t, snap)
			if v == nil || tree.ID(whole.Rows) != v.TreeID || len(o.read) > 0 {
				t.Fatalf("%+v, read again: %v", r.Findings, o.read)
			}
			for _, row := range v.Rows {
				if exists(filepath.Join(v.Dir, row.Path)) != exists(filepath.Join(s.Dir, row.Path)) {
					t.Errorf("%s is in one of them", row.Path)
				}
			}
			// If the generation is known, nothing has changed.
			same := snapshot(t, s, &Base{Rows: tree.NewRows(o.rows), TreeID: v.TreeID, Named: func(p string) bool {
				row, ok := tree.Find(o.rows, p)
				return ok && row.Role == catalog.Content
			}})
			if v, _ := validate(t, same); !same.Same || v == nil || len(v.Rows) != len(o.rows) {
				t.Errorf("%v %v", same.Same, v)
			}
		})
	}
}

// A file in staging wins. What no document names does not count.
func TestElsewhereOnlyFillsIn(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			o := &shop{}
			o.sell(t, s)
			row := o.rows[slices.IndexFunc(o.rows, func(r tree.Row) bool {
				return r.Role == catalog.Content || name == "plain" && r.Role != catalog.Link
			})]
			put(t, s, row.Path, "other bytes")
			got, err := s.Validate(ctx, Checks{Now: time.Now()})
			must(t, err)
			if r, _ := got.Row(row.Path); r.SHA256 != sum([]byte("other bytes")) {
				t.Errorf("%+v", r)
			}
			if bad := len(got.Report.Errors()) > 0; bad != (name != "plain") {
				t.Errorf("%+v", got.Report.Findings)
			}
			must(t, os.Remove(filepath.Join(s.Dir, row.Path)))

			stranger := tree.Row{Path: "zz.tar.xz", Size: 1, SHA256: sum([]byte("1")), Role: catalog.Content}
			o.rows = append(slices.Clone(o.rows), stranger)
			got, err = s.Validate(ctx, Checks{Now: time.Now()})
			must(t, err)
			if _, ok := got.Row(stranger.Path); ok != (name == "plain") {
				t.Errorf("what nothing names counts: %v", ok)
			}
			// The other way round, what the store has not is missing.
			o.rows = slices.DeleteFunc(slices.Clone(o.rows), func(r tree.Row) bool { return r.Path == row.Path })
			got, err = s.Validate(ctx, Checks{Now: time.Now()})
			must(t, err)
			if missing := len(found(got.Report, "missing")) > 0; missing != (name != "plain") {
				t.Errorf("%+v", got.Report.Findings)
			}
		})
	}
}

// A removed version takes its names along, and nothing that is elsewhere comes back.
func TestElsewhereRemove(t *testing.T) {
	what := map[string]string{"simplestreams": "debian:one:default:amd64", "oci": "acme/app:v1", "plain": "a/two"}
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			o := &shop{}
			o.sell(t, s)
			trash := filepath.Join(filepath.Dir(s.Dir), ".publish/trash")
			if name == "plain" {
				put(t, s, "z", "a new one") // it is here and elsewhere
				_, err := s.Remove(ctx, trash, "z")
				must(t, err)
			}
			gone, err := s.Remove(ctx, trash, what[name])
			must(t, err)
			got, err := s.Validate(ctx, Checks{Now: time.Now()})
			must(t, err)
			for _, image := range gone {
				for _, p := range image.Paths {
					_, there := got.Row(p)
					shared := slices.ContainsFunc(got.Catalog.Items, func(i catalog.Item) bool { return i.Path == p })
					if there != shared {
						t.Errorf("%s is still there", p)
					}
				}
			}
			if _, ok := got.Row("z"); ok || len(got.Report.Errors()) > 0 || len(got.Rows) == 0 {
				t.Errorf("%+v", got.Report.Findings)
			}
			if v, r := validate(t, snapshot(t, s, &Base{})); v == nil || tree.ID(got.Rows) != v.TreeID {
				t.Errorf("%+v", r.Findings)
			}
			if _, err := s.Remove(ctx, trash, what[name]); err == nil {
				t.Error("it was removed twice")
			}
			if name == "plain" { // what comes again is there again
				put(t, s, "z", "back")
				got, err := s.Validate(ctx, Checks{Now: time.Now()})
				must(t, err)
				if _, ok := got.Row("z"); !ok {
					t.Error("z is not there")
				}
			}
		})
	}
}

// New content beside old: a combined hash over both is checked, and needs what is elsewhere.
func TestElsewherePair(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "debian", "1"))
	o := &shop{}
	o.sell(t, s)
	meta := metadataFor(t, "debian", "1")
	add(t, s, filepath.Join(files(t, map[string][]byte{"incus.tar.xz": meta}), "incus.tar.xz"),
		filepath.Join(files(t, map[string][]byte{"disk.qcow2": qcow2("vm")}), "disk.qcow2"))
	for _, r := range o.rows { // the metadata is elsewhere, the disk is new
		if r.SHA256 == sum(meta) {
			must(t, os.Remove(filepath.Join(s.Dir, r.Path)))
		}
	}
	s.Hashes = "" // another machine
	got, err := s.Validate(t.Context(), Checks{Now: time.Now()})
	must(t, err)
	if len(got.Report.Errors()) > 0 || len(o.read) == 0 {
		t.Fatalf("%+v, read %v", got.Report.Findings, o.read)
	}
	o.has[sum(meta)] = append(slices.Clone(meta), 'x')
	if got, err = s.Validate(t.Context(), Checks{Now: time.Now()}); err != nil || len(got.Report.Errors()) == 0 {
		t.Errorf("other bytes are taken: %v", err)
	}
}

// Bytes of the store that are not the row's, and a store that does not answer, are errors.
func TestElsewhereHostile(t *testing.T) {
	row := tree.Row{Path: "x", Size: 3, SHA256: sum([]byte("abc")), Role: catalog.Content}
	for _, data := range []string{"", "ab", "abd", "abcd", strings.Repeat("abc", 1000)} {
		o := &shop{has: map[string][]byte{row.SHA256: []byte(data)}}
		sp := &sparse{Elsewhere: &Elsewhere{Rows: []tree.Row{row}, Open: o.open}, ctx: t.Context()}
		_, err := sp.source(textTree{}).Blob("x", bySHA256("abc"), 10)
		if err == nil {
			t.Errorf("%q is taken for abc", data)
		}
	}
	o := &shop{has: map[string][]byte{row.SHA256: []byte("abc")}}
	sp := &sparse{Elsewhere: &Elsewhere{Rows: []tree.Row{row}, Open: o.open}, ctx: t.Context()}
	if data, err := sp.source(textTree{}).Blob("x", bySHA256("abc"), 10); err != nil || string(data) != "abc" {
		t.Error(err)
	}
	if _, err := sp.source(textTree{}).Blob("x", bySHA256("abc"), 0); err == nil || len(o.read) != 1 {
		t.Errorf("%v, %v", err, o.read)
	}
	// A layout cannot be read without its manifests: an error, and not a tree that lacks them.
	s := stores(t)["oci"]
	o = &shop{}
	o.sell(t, s)
	o.err = fs.ErrInvalid
	if got, err := s.Validate(t.Context(), Checks{Now: time.Now()}); err == nil && len(got.Report.Errors()) == 0 {
		t.Error("it is valid, and nobody could read it")
	}
	for _, bad := range []string{"", "{", `{"removed":["a"]} x`, `{"other":1}`, "\x00"} {
		s := stores(t)["plain"]
		o := &shop{}
		o.sell(t, s)
		put(t, s, RemovedList, bad)
		if _, err := s.Validate(t.Context(), Checks{Now: time.Now()}); err == nil {
			t.Errorf("%q is taken for a list", bad)
		}
	}
}

// A store may have a path and one below it; a tree may not.
func TestElsewhereInTheWay(t *testing.T) {
	for _, path := range []string{"a", "z/below"} {
		s := stores(t)["plain"]
		o := &shop{}
		o.sell(t, s)
		must(t, os.RemoveAll(filepath.Join(s.Dir, "a")))
		put(t, s, path, "in the way")
		got, err := s.Validate(t.Context(), Checks{Now: time.Now()})
		must(t, err)
		v, r := validate(t, snapshot(t, s, &Base{}))
		if len(found(got.Report, "path-conflict")) == 0 || v != nil || len(found(r, "path-conflict")) == 0 {
			t.Errorf("%s: %+v", path, got.Report.Findings)
		}
	}
}

// What the store has is in no snapshot, though staging still has it: a promote costs what changed.
func TestElsewhereHeld(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			o := &shop{}
			v, _ := promoted(t, s, &Base{})
			for _, r := range v.Rows {
				if r.Role == catalog.Content {
					must(t, os.Chmod(filepath.Join(s.Dir, r.Path), 0o444)) // so its hash is known
				}
			}
			whole, err := s.Validate(t.Context(), Checks{Now: time.Now()})
			must(t, err)
			o.rows = v.Rows
			s.Elsewhere = func() (*Elsewhere, error) { return &Elsewhere{Rows: o.rows, Open: o.open}, nil }

			snap := snapshot(t, s, &Base{})
			got, r := validate(t, snap)
			if got == nil || got.TreeID != tree.ID(whole.Rows) || len(o.read) > 0 {
				t.Fatalf("%+v, read %v", r.Findings, o.read)
			}
			made := 0
			for _, row := range got.Rows {
				if row.Role == catalog.Content && s.Format.Class(row.Path) != catalog.Whole &&
					exists(filepath.Join(got.Dir, row.Path)) {
					t.Errorf("%s was made", row.Path)
				}
				if row.Role == catalog.Content {
					made++
				}
			}
			if name != "plain" && made == 0 {
				t.Error("nothing to hold")
			}
		})
	}
}

// The half of a pair that the store has is read here, if the other half is new.
func TestElsewhereHeldPair(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "debian", "1"))
	o := &shop{}
	v, _ := promoted(t, s, &Base{})
	o.rows = v.Rows
	s.Elsewhere = func() (*Elsewhere, error) { return &Elsewhere{Rows: o.rows, Open: o.open}, nil }
	add(t, s, filepath.Join(files(t, map[string][]byte{"incus.tar.xz": metadataFor(t, "debian", "1")}), "incus.tar.xz"),
		filepath.Join(files(t, map[string][]byte{"disk.qcow2": qcow2("vm")}), "disk.qcow2"))
	got, r := validate(t, snapshot(t, s, &Base{}))
	if got == nil || len(o.read) > 0 {
		t.Fatalf("%+v, read %v", r.Findings, o.read)
	}
}
