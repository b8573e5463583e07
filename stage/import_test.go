package stage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// foreignTree is a tree that another stage made, and then others changed.
func foreignTree(t *testing.T, names ...string) (dir string) {
	t.Helper()
	s := newStage(t)
	for _, n := range names {
		add(t, s, built(t, n, ""))
	}
	must(t, os.RemoveAll(filepath.Join(s.Dir, Incoming)))
	return s.Dir
}

func findings(t *testing.T, err error) []string {
	t.Helper()
	f := (*FindingsError)(nil)
	if !errors.As(err, &f) {
		t.Fatalf("%T %v", err, err)
	}
	return codes(f.Report)
}

func TestImport(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "own", ""))
	dir := foreignTree(t, "alpha", "beta")
	for name, text := range map[string]string{"index.html": "page", "streams/v1/images.json.gpg": "signature",
		"images/orphan.squashfs": "x", "images/y.squashfs.part": "x", ".publish-generation": "7\n",
		"streams/v1/images.json.gz": "stale"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	before := contents(t, dir)
	got, err := s.Import(context.Background(), dir)
	must(t, err)
	if got.Unchanged || got.Images != 2 || got.Files != 4+1 || len(got.Replaced) > 0 {
		t.Errorf("%+v", got)
	}
	if images := valid(t, s); len(images) != 3 {
		t.Errorf("%d images", len(images))
	}
	for name, there := range map[string]bool{"index.html": true, "streams/v1/images.json.gpg": false,
		"images/orphan.squashfs": false, "images/y.squashfs.part": false, ".publish-generation": false,
		"streams/v1/images.json.gz": false} {
		if exists(filepath.Join(s.Dir, name)) != there {
			t.Errorf("%s: there %v", name, !there)
		}
	}
	root := "images/" + sum(squashfs("alpha")) + ".squashfs"
	fi, err := os.Lstat(filepath.Join(s.Dir, root))
	must(t, err)
	theirs, err := os.Lstat(filepath.Join(dir, root))
	must(t, err)
	if fi.Mode() != 0o444 || os.SameFile(fi, theirs) {
		t.Errorf("not sealed, or the file of others itself: %v", fi.Mode())
	}
	if _, sealed, ok := tree.OpenCache(s.Hashes).Lookup(root, tree.StatOf(fi)); !ok || !sealed {
		t.Error("the cache does not know it as sealed")
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("the source was changed: %s", diff)
	}
	clean(t, s)

	staged := contents(t, s.Dir)
	got, err = s.Import(context.Background(), dir)
	must(t, err)
	if !got.Unchanged || got.Files != 0 {
		t.Errorf("again: %+v", got)
	}
	must(t, os.Remove(filepath.Join(s.Dir, "index.html")))
	got, err = s.Import(context.Background(), dir)
	must(t, err)
	if got.Unchanged || got.Files != 1 {
		t.Errorf("a page came back: %+v", got)
	}
	if diff := cmp.Diff(staged, contents(t, s.Dir)); diff != "" {
		t.Error(diff)
	}
}

// What is wrong with a tree is reported in full, and nothing of it is imported.
func TestImportRefuses(t *testing.T) {
	root := "images/" + sum(squashfs("alpha")) + ".squashfs"
	index := func(old, new string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			p := filepath.Join(dir, "streams/v1/images.json")
			text := string(read(t, p))
			if !strings.Contains(text, old) {
				t.Fatalf("%s: no %s", p, old)
			}
			must(t, os.WriteFile(p, []byte(strings.ReplaceAll(text, old, new)), 0o644))
		}
	}
	for name, c := range map[string]struct {
		harm func(t *testing.T, dir string)
		want string
	}{
		"missing": {func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, root))) },
			"error missing " + root},
		"etc/passwd": {index(root, "/etc/passwd"), "error unsafe-path streams/v1/images.json"},
		"climbs out": {index(root, "../../x.squashfs"), "error unsafe-path streams/v1/images.json"},
		"no index": {func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "streams"))) },
			"error no-index streams/v1/index.json"},
		"cut index": {func(t *testing.T, dir string) {
			must(t, os.Truncate(filepath.Join(dir, "streams/v1/images.json"), 40))
		}, "error bad-json streams/v1/images.json"},
		"other bytes": {func(t *testing.T, dir string) {
			must(t, os.Chmod(filepath.Join(dir, root), 0o644))
			must(t, os.WriteFile(filepath.Join(dir, root), squashfs("alphx"), 0o644))
		}, "error hash-mismatch " + root},
		"other size": {func(t *testing.T, dir string) {
			must(t, os.Chmod(filepath.Join(dir, root), 0o644))
			must(t, os.WriteFile(filepath.Join(dir, root), squashfs(""), 0o644))
		}, "error size-mismatch " + root},
		"wrong fingerprint": {index(sum(metadataFor(t, "alpha", ""), squashfs("alpha")), strings.Repeat("0", 64)),
			"error combined-mismatch streams/v1/images.json"},
		"through a folder that is a link": {func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "images"), filepath.Join(dir, "real")))
			must(t, os.Symlink("real", filepath.Join(dir, "images")))
		}, "error missing " + root},
		"a link as content": {func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, root), filepath.Join(dir, "x")))
			must(t, os.Symlink("../x", filepath.Join(dir, root)))
		}, "error link " + root},
		"a link elsewhere": {func(t *testing.T, dir string) {
			must(t, os.Symlink("index.json", filepath.Join(dir, "l")))
		}, "error link l"},
		"a pipe": {func(t *testing.T, dir string) { must(t, syscall.Mkfifo(filepath.Join(dir, "p"), 0o644)) },
			"error special-file p"},
		"a pipe as content": {func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, root)))
			must(t, syscall.Mkfifo(filepath.Join(dir, root), 0o644))
		}, "error special-file " + root},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			add(t, s, built(t, "own", ""))
			before := contents(t, s.Dir)
			dir := foreignTree(t, "alpha", "beta")
			c.harm(t, dir)
			_, err := s.Import(context.Background(), dir)
			if got := findings(t, err); !strings.Contains(strings.Join(got, "\n")+"\n", c.want+"\n") {
				t.Errorf("findings %q, want %q", got, c.want)
			}
			if diff := cmp.Diff(before, contents(t, s.Dir)); diff != "" {
				t.Errorf("staging has changed: %s", diff)
			}
			clean(t, s)
		})
	}
}

// A path that staging names for something else is not given other bytes.
func TestImportConflict(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "own", ""))
	theirs := "images/" + sum(squashfs("alpha")) + ".squashfs"
	ours := "images/" + sum(squashfs("own")) + ".squashfs"
	dir := foreignTree(t, "alpha")
	must(t, os.Rename(filepath.Join(dir, theirs), filepath.Join(dir, ours)))
	p := filepath.Join(dir, "streams/v1/images.json")
	must(t, os.WriteFile(p, []byte(strings.ReplaceAll(string(read(t, p)), theirs, ours)), 0o644))
	before := contents(t, s.Dir)
	_, err := s.Import(context.Background(), dir)
	if got := findings(t, err); len(got) == 0 || !strings.HasSuffix(got[0], ours) {
		t.Errorf("findings %q", got)
	}
	if diff := cmp.Diff(before, contents(t, s.Dir)); diff != "" {
		t.Error(diff)
	}
}

func TestImportFolderInTheWay(t *testing.T) {
	s := newPlain(t)
	must(t, os.MkdirAll(filepath.Join(s.Dir, "a/b"), 0o755))
	must(t, os.WriteFile(filepath.Join(s.Dir, "c"), nil, 0o644))
	_, err := s.Import(context.Background(), files(t, map[string][]byte{"a/b": []byte("x"), "c/d": []byte("x"),
		"e": nil}))
	if diff := cmp.Diff([]string{"error path-conflict a/b", "error path-conflict c/d"}, findings(t, err)); diff != "" {
		t.Error(diff)
	}
	if exists(filepath.Join(s.Dir, "e")) {
		t.Error("some of it came")
	}
}

func TestImportRefusesItself(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "own", ""))
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(s.Dir, link))
	for _, dir := range []string{s.Dir, link, filepath.Join(link, "images"), filepath.Dir(s.Dir)} {
		if _, err := s.Import(context.Background(), dir); !errors.As(err, new(*UsageError)) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if _, err := s.Import(context.Background(), filepath.Join(s.Dir, "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
}

func TestImportPlain(t *testing.T) {
	s := newPlain(t)
	must(t, os.WriteFile(filepath.Join(s.Dir, "same"), []byte("same"), 0o644))
	must(t, os.WriteFile(filepath.Join(s.Dir, "other"), []byte("mine"), 0o644))
	dir := files(t, map[string][]byte{"same": []byte("same"), "other": []byte("your"), "a/new": []byte("new"),
		"a/x.part": nil})
	must(t, os.Chmod(filepath.Join(dir, "a/new"), 0o755))
	must(t, os.Symlink("new", filepath.Join(dir, "a/link")))
	same, err := os.Lstat(filepath.Join(s.Dir, "same"))
	must(t, err)
	got, err := s.Import(context.Background(), dir)
	must(t, err)
	if got.Files != 3 || !cmp.Equal(got.Replaced, []string{"other"}) {
		t.Errorf("%+v", got)
	}
	want := map[string]string{"same": sum([]byte("same")), "other": sum([]byte("your")), "a/new": sum([]byte("new")),
		"a/link": "-> new"}
	if diff := cmp.Diff(want, contents(t, s.Dir)); diff != "" {
		t.Error(diff)
	}
	if now, err := os.Lstat(filepath.Join(s.Dir, "same")); err != nil || !os.SameFile(same, now) {
		t.Error("the same file was copied")
	}
	if fi, err := os.Lstat(filepath.Join(s.Dir, "a/new")); err != nil || fi.Mode() != 0o755 {
		t.Errorf("mode %v", fi.Mode())
	}
	if got, err = s.Import(context.Background(), dir); err != nil || !got.Unchanged {
		t.Errorf("again: %+v %v", got, err)
	}
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "bad")))
	must(t, os.Symlink("../../x", filepath.Join(dir, "a/bad")))
	_, err = s.Import(context.Background(), dir)
	if diff := cmp.Diff([]string{"warning left-out ", "error link-outside a/bad", "error link-outside bad"},
		findings(t, err)); diff != "" {
		t.Error(diff)
	}
}

// Staging that changes between the look and the lock is reported, not overwritten.
func TestImportMeetsAWriter(t *testing.T) {
	s := newPlain(t)
	must(t, os.WriteFile(filepath.Join(s.Dir, "same"), []byte("same"), 0o644))
	dir := files(t, map[string][]byte{"same": []byte("same")})
	unlock, err := s.Exclusive(context.Background(), "test")
	must(t, err)
	failed := make(chan error)
	other := openStage(filepath.Dir(s.Dir))
	other.Format = s.Format
	waiting := make(chan struct{})
	other.Waiting = waitingCloses(waiting)
	go func() {
		_, err := other.Import(context.Background(), dir)
		failed <- err
	}()
	<-waiting
	must(t, os.WriteFile(filepath.Join(s.Dir, "same"), []byte("new!"), 0o644))
	must(t, os.Chtimes(filepath.Join(s.Dir, "same"), time.Time{}, time.Now().Add(time.Hour)))
	unlock()
	if err := <-failed; !errors.Is(err, tree.ErrChanged) {
		t.Errorf("err %v", err)
	}
}

// A format may read content of a tree after it was moved out of the tree.
func TestImportSourceFindsMoved(t *testing.T) {
	none, moved := catalog.Files(fstest.MapFS{}), catalog.Files(fstest.MapFS{"a": {Data: []byte("content")}})
	want := catalog.Digest{Algorithm: catalog.SHA256, Hex: fmt.Sprintf("%x", sha256.Sum256([]byte("content")))}
	data, err := importSource{Source: none, content: none, moved: moved}.Blob("a", want, 100)
	if err != nil || string(data) != "content" {
		t.Errorf("%q %v", data, err)
	}
}
