package publish

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/tree"
)

// bundle is that of a generation.
func (w *world) bundle(name, base string) []byte {
	w.t.Helper()
	var buf bytes.Buffer
	if _, err := w.repo().Bundle(context.Background(), &buf, name, base); err != nil {
		w.t.Fatal(err)
	}
	return buf.Bytes()
}

// bundled is an entry of a bundle.
type bundledEntry struct {
	tar.Header
	data []byte
}

func entriesOf(t *testing.T, data []byte) (out []bundledEntry) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, bundledEntry{*h, text})
	}
}

func tarOf(t *testing.T, list []bundledEntry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range list {
		if e.Typeflag == tar.TypeReg {
			e.Size = int64(len(e.data))
		}
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// What was exported and imported is the same tree, whatever the site had.
func TestBundle(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		from, to := newWorld(t, mode), newWorld(t, mode)
		from.put(map[string]string{"a/20260101": "one", "b/20260101": "two"})
		from.promote()
		from.put(map[string]string{"a/20260101": "one", "b/20260101": "three"})
		from.promote()
		to.put(map[string]string{"x/20260101": "other"})
		for _, name := range []string{"1", "production"} {
			data := from.bundle(name, "")
			if again := from.bundle(name, ""); !bytes.Equal(again, data) {
				t.Error("other bytes the second time")
			}
			did, err := to.repo().ImportBundle(t.Context(), bytes.NewReader(data), false, false)
			if err != nil {
				t.Fatal(err)
			}
			if got := to.promote(); got.TreeID != did.TreeID {
				t.Errorf("the tree is %s, was %s", got.TreeID, did.TreeID)
			}
		}
		trash := filepath.Join(to.dir, ".publish", "trash", "*", "images", "*.bin")
		if list, err := filepath.Glob(trash); err != nil || len(list) == 0 {
			t.Errorf("what was staged is gone: %v", err)
		}
		// What the other site has stays out.
		did, err := to.repo().ImportBundle(t.Context(), bytes.NewReader(from.bundle("2", "1")), false, false)
		if err != nil || did.Received != 2 || len(entriesOf(t, from.bundle("2", ""))) != 4 {
			t.Errorf("%+v %v", did, err)
		}
	})
}

// What came into a private directory is moved on, not copied again.
func TestBundleMergeCopiesOnce(t *testing.T) {
	from, to := newWorld(t, "symlink"), newWorld(t, "symlink")
	const size = 1 << 20
	from.put(map[string]string{"a/20260101": strings.Repeat("one ", size/4)})
	from.promote()
	to.put(map[string]string{"x/20260101": "other"})
	r := to.repo()
	var written atomic.Int64
	r.Stage.Progress = func(step string, _ int64) func(int64) {
		return func(n int64) {
			if step == "import" {
				written.Add(n)
			}
		}
	}
	did, err := r.ImportBundle(t.Context(), bytes.NewReader(from.bundle("1", "")), true, false)
	if err != nil || did.Merged.Bytes != size {
		t.Fatalf("%+v %v", did, err)
	}
	if n := written.Load(); n < size || n > size+size/2 {
		t.Errorf("%d bytes were written", n)
	}
	if rep, err := to.repo().Validate(t.Context(), "staging", true); err != nil || len(rep.Findings) != 0 {
		t.Errorf("%+v %v", rep, err)
	}
	files, err := filepath.Glob(filepath.Join(to.dir, "staging", "images", "*.bin"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if fi, err := os.Stat(name); err != nil || fi.Size() == size && fi.Mode() != 0o444 {
			t.Errorf("%v %v", fi, err)
		}
	}
}

// Content that is here is read before it is taken: a damaged file is none.
func TestBundleDamagedBase(t *testing.T) {
	from, to := newWorld(t, "symlink"), newWorld(t, "symlink")
	from.put(map[string]string{"a/20260101": "one", "b/20260101": "two"})
	from.promote()
	if _, err := to.repo().ImportBundle(t.Context(), bytes.NewReader(from.bundle("1", "")), false, false); err != nil {
		t.Fatal(err)
	}
	to.promote()
	from.put(map[string]string{"a/20260101": "one", "b/20260101": "three"})
	from.promote()
	for _, dir := range []string{"generations/000001", "staging"} {
		files, err := filepath.Glob(filepath.Join(to.dir, dir, "images", "*.bin"))
		if err != nil || len(files) != 2 {
			t.Fatal(files, err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err == nil {
				err = errors.Join(os.Chmod(name, 0o644), os.WriteFile(name, bytes.Repeat([]byte("x"), len(data)), 0o644),
					os.Chmod(name, 0o444))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	before := to.filesIn(filepath.Join(to.dir, "staging"))
	_, err := to.repo().ImportBundle(t.Context(), bytes.NewReader(from.bundle("2", "1")), false, false)
	if invalid := new(FindingsError); !errors.As(err, &invalid) {
		t.Errorf("%v", err)
	}
	if after := to.filesIn(filepath.Join(to.dir, "staging")); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("staging has %v", after)
	}
}

// An archive whose generation is deleted meanwhile has no end, and says why.
func TestBundleDeleted(t *testing.T) {
	w := twoGenerations(t, "symlink")
	var buf bytes.Buffer
	_, err := w.repo().Bundle(t.Context(), writerFunc(func(p []byte) (int, error) {
		if err := os.RemoveAll(filepath.Join(w.dir, "generations", "000001")); err != nil {
			t.Error(err)
		}
		return buf.Write(p)
	}), "1", "")
	var e *Error
	if !errors.As(err, &e) || e.Kind != Failed || !strings.Contains(e.Fact, "was deleted while it was exported") {
		t.Errorf("%v", err)
	}
	if _, err := w.repo().ImportBundle(t.Context(), &buf, false, false); !errors.As(err, &e) || e.Kind != Invalid {
		t.Errorf("what was written is taken for a bundle: %v", err)
	}
}

// endless is a bomb.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// What is wrong with a bundle is told, and changes nothing.
func TestBundleRefused(t *testing.T) {
	from := newWorld(t, "symlink")
	from.put(map[string]string{"a/20260101": "one", "b/20260101": "two", "c/20260101": "two"})
	from.promote()
	list := entriesOf(t, from.bundle("1", ""))
	file := slices.IndexFunc(list, func(e bundledEntry) bool {
		return strings.HasSuffix(e.Name, ".bin") && e.Typeflag == tar.TypeReg
	})
	sealed := func(change func(m *generation.Manifest)) func([]bundledEntry) []bundledEntry {
		return func(l []bundledEntry) []bundledEntry {
			m, err := generation.Decode(string(l[0].data))
			if err != nil {
				t.Fatal(err)
			}
			m.Own = slices.Clone(m.Own)
			change(m)
			var buf bytes.Buffer
			if err := m.Encode(&buf); err != nil {
				t.Fatal(err)
			}
			l[0].data = buf.Bytes()
			return l
		}
	}
	renamed := func(name string) func([]bundledEntry) []bundledEntry {
		return func(l []bundledEntry) []bundledEntry { l[file].Name = name; return l }
	}
	kind := func(flag byte, link string) func([]bundledEntry) []bundledEntry {
		return func(l []bundledEntry) []bundledEntry {
			l[file].Typeflag, l[file].Linkname, l[file].Size, l[file].data = flag, link, 0, nil
			return l
		}
	}
	own := func(change func(rows []tree.Row) []tree.Row) func([]bundledEntry) []bundledEntry {
		return sealed(func(m *generation.Manifest) {
			m.Own = change(m.Own)
			m.TreeID = tree.ID(m.Own)
		})
	}
	for name, c := range map[string]struct {
		change func([]bundledEntry) []bundledEntry
		want   string
		kind   Kind
	}{
		"nothing":         {func(l []bundledEntry) []bundledEntry { return nil }, "is no bundle", Invalid},
		"no manifest":     {func(l []bundledEntry) []bundledEntry { return l[1:] }, "is no bundle", Invalid},
		"twice":           {func(l []bundledEntry) []bundledEntry { return append(l, l[file]) }, "is there twice", Invalid},
		"manifest twice":  {func(l []bundledEntry) []bundledEntry { return append(l, l[0]) }, "not in the manifest", Invalid},
		"outside":         {renamed("../x"), "not in the manifest", Invalid},
		"absolute":        {renamed("/x.bin"), "not in the manifest", Invalid},
		"unknown":         {renamed("x.bin"), "not in the manifest", Invalid},
		"a link":          {kind(tar.TypeSymlink, "/etc/passwd"), "a link that the manifest does not have", Invalid},
		"a hard link":     {kind(tar.TypeLink, "/etc/passwd"), "a link to something else", Invalid},
		"to another file": {kind(tar.TypeLink, list[file].Name), "a link to something else", Invalid},
		"a device":        {kind(tar.TypeChar, ""), "neither a file nor a link", Invalid},
		"a folder":        {kind(tar.TypeDir, ""), "neither a file nor a link", Invalid},
		"other bytes": {func(l []bundledEntry) []bundledEntry {
			l[file].data = bytes.ToUpper(l[file].data)
			return l
		}, "digest", Invalid},
		"other size": {func(l []bundledEntry) []bundledEntry {
			l[file].data = append(l[file].data, 'x')
			return l
		}, "bytes, and", Invalid},
		"a damaged manifest": {func(l []bundledEntry) []bundledEntry {
			l[0].data = bytes.Replace(l[0].data, []byte("own "), []byte("OWN "), 1)
			return l
		}, "damaged", Invalid},
		"a newer manifest": {func(l []bundledEntry) []bundledEntry {
			l[0].data = bytes.Replace(l[0].data, []byte("publish-manifest 1"), []byte("publish-manifest 9"), 1)
			return l
		}, "newer", Invalid},
		"not its tree": {sealed(func(m *generation.Manifest) { m.Own = m.Own[1:] }), "tree id", Invalid},
		"rows twice": {own(func(rows []tree.Row) []tree.Row {
			return append([]tree.Row{rows[0]}, rows...)
		}), "twice", Invalid},
		"our names": {own(func(rows []tree.Row) []tree.Row {
			rows[0].Path = ".publish-generation"
			return rows
		}), "belongs to publish", Invalid},
		"a file below a file": {own(func(rows []tree.Row) []tree.Row {
			rows = append(rows, tree.Row{Path: rows[len(rows)-1].Path + "/x", SHA256: rows[0].SHA256, Role: rows[0].Role})
			tree.SortRows(rows)
			return rows
		}), "as a file and as a folder", Invalid},
		"an odd role": {own(func(rows []tree.Row) []tree.Row {
			rows[0].Role = "odd"
			return rows
		}), "unknown role", Invalid},
		"content is missing": {func(l []bundledEntry) []bundledEntry {
			return slices.Delete(l, file, file+1)
		}, "neither in it nor here", NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "symlink")
			w.put(map[string]string{"x/20260101": "mine"})
			before := w.filesIn(filepath.Join(w.dir, "staging"))
			l := slices.Clone(list)
			if name == "content is missing" { // and no link leads to it
				l = slices.DeleteFunc(l, func(e bundledEntry) bool { return e.Typeflag == tar.TypeLink })
			}
			_, err := w.repo().ImportBundle(t.Context(), bytes.NewReader(tarOf(t, c.change(l))), false, false)
			var e *Error
			if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if after := w.filesIn(filepath.Join(w.dir, "staging")); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("staging has %v", after)
			}
		})
	}
	// A manifest without end is not read.
	var buf bytes.Buffer
	if err := tar.NewWriter(&buf).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: generation.BundleManifest,
		Size: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	_, err := newWorld(t, "symlink").repo().ImportBundle(t.Context(), io.MultiReader(&buf, endless{}), false, false)
	if err == nil || !strings.Contains(err.Error(), "it may have") {
		t.Errorf("%v", err)
	}
	// Cut anywhere, it is none.
	data := from.bundle("1", "")
	for n := 0; n < len(data); n += 300 {
		w := newWorld(t, "symlink")
		if _, err := w.repo().ImportBundle(t.Context(), bytes.NewReader(data[:n]), false, false); err == nil {
			t.Errorf("%d of %d bytes are a bundle", n, len(data))
		}
	}
}

// cancelling is an input that is interrupted while it is awaited.
type cancelling struct{ cancel func() }

func (c cancelling) Read([]byte) (int, error) {
	c.cancel()
	return 0, context.Canceled
}

// An interrupt while a bundle is awaited is no fault of the bundle.
func TestImportBundleInterrupted(t *testing.T) {
	w := newWorld(t, "symlink")
	ctx, cancel := context.WithCancel(context.Background())
	_, err := w.repo().ImportBundle(ctx, cancelling{cancel}, false, false)
	if e := new(Error); !errors.As(err, &e) || e.Kind != Interrupted {
		t.Errorf("%v", err)
	}
}
