package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
	"example.com/publish/stage/tree"
)

func bySHA256(data string) catalog.Digest {
	return catalog.Digest{Algorithm: catalog.SHA256, Hex: sum([]byte(data))}
}

// delivered puts contents into staging, in one delivery, under their paths.
func delivered(t *testing.T, s *Stage, change *catalog.Change, contents ...string) {
	t.Helper()
	d := receive(t, s)
	for i := 0; i < len(contents); i += 2 {
		deliver(t, d, contents[i], contents[i+1], bySHA256(contents[i+1]))
	}
	_, err := d.Commit(context.Background(), makes(change))
	must(t, err)
	d.Close()
}

func oneFile(t *testing.T, s *Stage, paths ...string) bool {
	t.Helper()
	for _, p := range paths[1:] {
		if !os.SameFile(stat(t, s.Dir, paths[0]), stat(t, s.Dir, p)) {
			return false
		}
	}
	return true
}

// A content that comes again becomes a link, whatever the share of production is, and
// whether or not its digest was known before.
func TestTwins(t *testing.T) {
	s := newStage(t)
	s.Share = false
	delivered(t, s, &catalog.Change{}, "a/1", "one", "b/1", "one", "c/2", "two")
	delivered(t, s, &catalog.Change{}, "d/1", "one")
	d := receive(t, s)
	deliver(t, d, "i/1", "one", bySHA256("one"))
	if !os.SameFile(stat(t, s.Dir, "a/1"), stat(t, d.up.path(), d.parts["i/1"].file)) {
		t.Error("a content that is here was written again")
	}
	deliver(t, d, "e/1", "one")
	dir := files(t, map[string][]byte{"1": []byte("one")})
	_, _, err := d.Take(context.Background(), "f/1", filepath.Join(dir, "1"), false, nil, bySHA256("one"))
	must(t, err)
	if _, _, err = d.Take(context.Background(), "g/1", filepath.Join(dir, "1"), true, nil, bySHA256("one")); err != nil {
		t.Fatal(err)
	}
	_, err = d.Commit(context.Background(), makes(&catalog.Change{}))
	must(t, err)
	if !oneFile(t, s, "a/1", "b/1", "d/1", "e/1", "f/1", "g/1", "i/1") || oneFile(t, s, "a/1", "c/2") {
		t.Error("not one file")
	}
	if got := stat(t, s.Dir, "a/1"); got.Mode().Perm() != 0o444 || tree.StatOf(got).Links != 7 {
		t.Errorf("%s, %d links", got.Mode(), tree.StatOf(got).Links)
	}
	if _, err := os.Lstat(filepath.Join(dir, "1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file that was to be moved is there: %v", err)
	}
	// All are known, also to later processes.
	cache := tree.ReadCache(s.Hashes)
	for _, p := range []string{"a/1", "b/1", "d/1", "e/1", "f/1", "g/1"} {
		if got, sealed, ok := cache.Lookup(p, tree.StatOf(stat(t, s.Dir, p))); !ok || !sealed || got != sum([]byte("one")) {
			t.Errorf("%s: %s, %v, %v", p, got, sealed, ok)
		}
	}
	must(t, os.Remove(filepath.Join(s.Dir, "a/1")))
	delivered(t, s, &catalog.Change{}, "h/1", "one")
	if !oneFile(t, s, "b/1", "h/1") {
		t.Error("a name that went hides the others")
	}
}

// A source that lies is refused although staging has what it claims.
func TestTwinOfALie(t *testing.T) {
	s := newStage(t)
	delivered(t, s, &catalog.Change{}, "a/1", "one")
	d := receive(t, s)
	for _, lie := range []string{"two", "on", "one and more", ""} {
		_, _, err := d.Put(context.Background(), "b/1", strings.NewReader(lie), bySHA256("one"))
		if !errors.Is(err, catalog.ErrDigest) {
			t.Errorf("%q: %v", lie, err)
		}
		dir := files(t, map[string][]byte{"1": []byte(lie)})
		_, _, err = d.Take(context.Background(), "b/1", filepath.Join(dir, "1"), true, nil, bySHA256("one"))
		if !errors.Is(err, catalog.ErrDigest) {
			t.Errorf("%q: %v", lie, err)
		}
	}
	if got := string(read(t, filepath.Join(s.Dir, "a/1"))); got != "one" || tree.StatOf(stat(t, s.Dir, "a/1")).Links != 1 {
		t.Errorf("%q", got)
	}
}

// What somebody may write to, or has replaced, is nobody's twin.
func TestNoTwin(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, p string){
		"writable":   func(t *testing.T, p string) { must(t, os.Chmod(p, 0o644)) },
		"unreadable": func(t *testing.T, p string) { must(t, os.Chmod(p, 0o400)) },
		"replaced": func(t *testing.T, p string) {
			must(t, os.Rename(p, p+".old"))
			must(t, os.WriteFile(p, []byte("two"), 0o444))
		},
		"rewritten": func(t *testing.T, p string) {
			must(t, os.Chmod(p, 0o644))
			must(t, os.WriteFile(p, []byte("two"), 0o644))
			must(t, os.Chmod(p, 0o444))
		},
		"link": func(t *testing.T, p string) {
			must(t, os.Rename(p, p+".old"))
			must(t, os.Symlink("1.old", p))
		},
		"folder": func(t *testing.T, p string) {
			must(t, os.Remove(p))
			must(t, os.Mkdir(p, 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			delivered(t, s, &catalog.Change{}, "a/1", "one")
			spoil(t, filepath.Join(s.Dir, "a/1"))
			delivered(t, s, &catalog.Change{}, "b/1", "one")
			if got := string(read(t, filepath.Join(s.Dir, "b/1"))); got != "one" || oneFile(t, s, "a/1", "b/1") {
				t.Errorf("%q", got)
			}
		})
	}
}

// Files apart are writable, and nothing shares them, in one delivery or over several.
func TestTwinsApart(t *testing.T) {
	s := newStage(t)
	delivered(t, s, &catalog.Change{Apart: map[string]bool{"b/1": true, "c/1": true}}, "a/1", "one", "b/1", "one",
		"c/1", "one", "d/1", "one")
	delivered(t, s, &catalog.Change{Apart: map[string]bool{"e/1": true}}, "e/1", "one")
	if !oneFile(t, s, "a/1", "d/1") || stat(t, s.Dir, "a/1").Mode().Perm() != 0o444 {
		t.Error("the layers are not one sealed file")
	}
	for _, p := range []string{"b/1", "c/1", "e/1"} {
		if fi := stat(t, s.Dir, p); tree.StatOf(fi).Links != 1 || fi.Mode().Perm() != 0o644 {
			t.Errorf("%s: %s, %d links", p, fi.Mode(), tree.StatOf(fi).Links)
		}
	}
}

// writeRepository makes an image with a layer, as another tool does.
func writeRepository(t *testing.T, s *Stage, repository, layer, config string) {
	t.Helper()
	dir := filepath.Join(s.Dir, repository)
	write := func(path, data string) {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, path), []byte(data), 0o644))
	}
	blob := func(mediaType, data string) string {
		write("blobs/sha256/"+sum([]byte(data)), data)
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%d}`, mediaType,
			sum([]byte(data)), len(data))
	}
	manifest := blob("manifest.v1+json", fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s]}`,
		blob("config.v1+json", config), blob("layer.v1.tar", layer)))
	write("oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	write("index.json", fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s,"annotations":`+
		`{"org.opencontainers.image.ref.name":"v1"}}]}`, manifest[:len(manifest)-1]))
}

// A tree stores once what others wrote twice: whether they wrote it just now or long ago,
// at once or one after the other.
func TestSnapshotTwins(t *testing.T) {
	s := newStage(t)
	s.Format = oci.Format{}
	blob := func(repository, data string) string { return repository + "/blobs/sha256/" + sum([]byte(data)) }
	same := func(v *Valid, paths ...string) bool {
		t.Helper()
		for _, p := range paths[1:] {
			if !os.SameFile(stat(t, v.Dir, paths[0]), stat(t, v.Dir, p)) {
				return false
			}
		}
		return true
	}
	writeRepository(t, s, "acme/a", "one", "{}")
	writeRepository(t, s, "acme/b", "one", "{}")
	v, base := promoted(t, s, &Base{})
	if !same(v, blob("acme/a", "one"), blob("acme/b", "one")) {
		t.Error("a new content has two files")
	}
	if same(v, blob("acme/a", "{}"), blob("acme/b", "{}")) {
		t.Error("a config is shared")
	}
	if oneFile(t, s, blob("acme/a", "one"), blob("acme/b", "one")) {
		t.Error("a promote changed staging")
	}
	writeRepository(t, s, "acme/c", "one", "{}")
	writeRepository(t, s, "acme/d", "{}", "[]")
	v, base = promoted(t, s, base)
	if !same(v, blob("acme/a", "one"), blob("acme/b", "one"), blob("acme/c", "one")) {
		t.Error("a content that the base has got another file")
	}
	if same(v, blob("acme/a", "{}"), blob("acme/d", "{}")) {
		t.Error("a layer is the config of another repository")
	}
	// Those whose name lies are no twins: the finding is about the file that is wrong.
	writeRepository(t, s, "acme/e", "one", "{}")
	must(t, os.WriteFile(filepath.Join(s.Dir, blob("acme/e", "one")), []byte("eno"), 0o644))
	if v, report := validate(t, snapshot(t, s, base)); v != nil || len(report.Errors()) != 1 ||
		report.Errors()[0].Path != blob("acme/e", "one") {
		t.Errorf("%+v", report.Findings)
	}
}

// A twin of a file that was rewritten after it was read gets its own bytes.
func TestParted(t *testing.T) {
	admitted := []tree.Entry{{Path: "a"}, {Path: "b"}}
	twin := tree.Op{Path: "b", Name: "a", How: tree.Twin, SHA256: "1"}
	for _, c := range []struct {
		op   tree.Op
		done tree.Cloned
		want bool
	}{
		{twin, tree.Cloned{SHA256: "1"}, false},
		{twin, tree.Cloned{SHA256: "2"}, true},
		{twin, tree.Cloned{Err: tree.ErrChanged}, true},
		{tree.Op{Path: "b", How: tree.Copy}, tree.Cloned{SHA256: "2"}, false},
	} {
		p := &shaping{admitted: admitted, of: []int32{0, 1}}
		if got := p.parted(c.op, []tree.Cloned{c.done, {}}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
