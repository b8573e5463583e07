package check

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// repository makes one with generation 3 in production: one image.
func repository(t *testing.T) (repo, tree string) {
	t.Helper()
	repo = t.TempDir()
	tree = filepath.Join(repo, "generations", "000003")
	meta, root := "metadata", "hsqs root"
	write(t, tree, Identity, "3\n")
	write(t, tree, "images/m", meta)
	write(t, tree, "images/r", root)
	write(t, tree, "images/carried", "old")
	write(t, tree, "streams/v1/index.json",
		`{"format":"index:1.0","index":{"images":{"path":"streams/v1/images.json","products":["p"]}}}`)
	write(t, tree, "streams/v1/images.json", fmt.Sprintf(
		`{"products":{"p":{"versions":{"202601010000":{"items":{
		"incus.tar.xz":{"ftype":"incus.tar.xz","path":"images/m","size":%d,"sha256":"%s","combined_squashfs_sha256":"%s"},
		"squashfs":{"ftype":"squashfs","path":"images/r","size":%d,"sha256":"%s"}}}}}}}`,
		len(meta), sum(meta), sum(meta+root), len(root), sum(root)))
	if err := os.Symlink("generations/000003", filepath.Join(repo, "production")); err != nil {
		t.Fatal(err)
	}
	return repo, tree
}

func sum(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, tree, name, old, new string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(tree, name))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		t.Fatalf("%s has no %q", name, old)
	}
	write(t, tree, name, strings.Replace(string(data), old, new, 1))
}

func TestProduction(t *testing.T) {
	const catalog = "streams/v1/images.json"
	for name, c := range map[string]struct {
		spoil func(t *testing.T, repo, tree string)
		want  string
	}{
		"good": {func(t *testing.T, repo, tree string) {}, ""},
		"file missing": {func(t *testing.T, repo, tree string) { os.Remove(filepath.Join(tree, "images/r")) },
			"is missing"},
		"other bytes": {func(t *testing.T, repo, tree string) { write(t, tree, "images/r", "hsqs toor") },
			"sha256"},
		"cut": {func(t *testing.T, repo, tree string) { write(t, tree, "images/r", "hsqs") }, "bytes"},
		"fingerprint": {func(t *testing.T, repo, tree string) {
			replace(t, tree, catalog, sum("metadatahsqs root"), sum("x"))
		}, "fingerprint"},
		"climbs": {func(t *testing.T, repo, tree string) {
			replace(t, tree, catalog, "images/m", "../images/m")
		}, "path"},
		"torn catalog": {func(t *testing.T, repo, tree string) { write(t, tree, catalog, `{"products":{`) },
			"unexpected EOF"},
		"empty catalog": {func(t *testing.T, repo, tree string) { write(t, tree, catalog, "") }, "EOF"},
		"two documents": {func(t *testing.T, repo, tree string) {
			replace(t, tree, catalog, `{"products"`, `{}{"products"`)
		}, "more after"},
		"product not in it": {func(t *testing.T, repo, tree string) {
			replace(t, tree, "streams/v1/index.json", `["p"]`, `["p","q"]`)
		}, "does not have it"},
		"product not named": {func(t *testing.T, repo, tree string) {
			replace(t, tree, "streams/v1/index.json", `["p"]`, `[]`)
		}, "does not name it"},
		"no identity": {func(t *testing.T, repo, tree string) { os.Remove(filepath.Join(tree, Identity)) },
			"identity"},
		"bad identity": {func(t *testing.T, repo, tree string) { write(t, tree, Identity, "3") }, "not a number"},
		"other identity": {func(t *testing.T, repo, tree string) { write(t, tree, Identity, "4\n") },
			"identity is 4"},
		"dangling": {func(t *testing.T, repo, tree string) { os.RemoveAll(tree) }, "resolves to nothing"},
		"unreadable": {func(t *testing.T, repo, tree string) {
			os.Chmod(filepath.Join(tree, "images/r"), 0o600)
		}, "cannot read"},
		"directory shut": {func(t *testing.T, repo, tree string) { os.Chmod(filepath.Join(tree, "images"), 0o700) },
			"cannot enter"},
		"link inside": {func(t *testing.T, repo, tree string) {
			os.Symlink("m", filepath.Join(tree, "images/l"))
		}, "is a L"},
		"no index": {func(t *testing.T, repo, tree string) {
			os.Remove(filepath.Join(tree, "streams/v1/index.json"))
		}, "missing"},
		"production is none": {func(t *testing.T, repo, tree string) { os.Remove(filepath.Join(repo, "production")) },
			""},
	} {
		t.Run(name, func(t *testing.T) {
			repo, tree := repository(t)
			c.spoil(t, repo, tree)
			view, err := Production(repo)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if name == "good" && (view.Generation != 3 || len(view.Named) != 2 || len(view.Files) != 5) {
				t.Errorf("%+v", view)
			}
		})
	}
}

func TestStillServed(t *testing.T) {
	look := func(t *testing.T, repo string) *View {
		t.Helper()
		view, err := Production(repo)
		if err != nil {
			t.Fatal(err)
		}
		return view
	}
	repo, tree := repository(t)
	before := look(t, repo)
	if err := StillServed(before, look(t, repo), true, nil); err != nil {
		t.Error(err)
	}
	if err := StillServed(nil, before, true, nil); err != nil {
		t.Error(err)
	}
	if err := StillServed(before, nil, false, nil); err == nil {
		t.Error("a production that went is no error")
	}
	write(t, tree, "images/carried", "new")
	if err := StillServed(before, look(t, repo), true, nil); err == nil {
		t.Error("a carried file with other bytes is no error")
	}
	if err := StillServed(before, look(t, repo), false, nil); err != nil {
		t.Error(err)
	}
	os.Remove(filepath.Join(tree, "images/carried"))
	if err := StillServed(before, look(t, repo), true, nil); err == nil {
		t.Error("a carried file that went is no error")
	}
	if err := StillServed(before, look(t, repo), true,
		map[File]bool{before.Files["images/carried"]: true}); err != nil {
		t.Error("revoked: ", err)
	}
	// An index may change; what it named may not go.
	write(t, tree, "streams/v1/images.json", `{"products":{"p":{"versions":{}}}}`)
	if diff := SameContent(before, look(t, repo)); diff == "" {
		t.Error("no difference")
	}
	if err := StillServed(before, look(t, repo), false, nil); err != nil {
		t.Error(err)
	}
	os.Remove(filepath.Join(tree, "images/m"))
	if err := StillServed(before, look(t, repo), false, nil); err == nil {
		t.Error("a named file that went is no error")
	}
}

func TestFind(t *testing.T) {
	repo, tree := repository(t)
	secret := File{Size: 4, SHA256: sum("leak")}
	find := func() string {
		t.Helper()
		found, err := Find(repo, map[File]bool{secret: true})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(found, " ")
	}
	if got := find(); got != "" {
		t.Error(got)
	}
	write(t, repo, ".publish/trash/1/x", "leak")
	write(t, repo, "staging/streams/v1/index.json", "leak")
	write(t, repo, "staging/other", "kale") // of the same size
	write(t, tree, ".hidden", "leak")
	if got, want := find(), ".publish/trash/1/x generations/000003/.hidden staging/streams/v1/index.json"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	elsewhere := t.TempDir()
	write(t, elsewhere, "x", "leak")
	os.Remove(filepath.Join(repo, "production"))
	if err := os.Symlink(elsewhere, filepath.Join(repo, "production")); err != nil {
		t.Fatal(err)
	}
	if got := find(); strings.Count(got, " ") != 3 {
		t.Error(got)
	}
}
