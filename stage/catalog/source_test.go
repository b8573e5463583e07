package catalog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const (
	sumA    = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
	sum512A = "1f40fc92da241694750979ee6cf582f2d5d7d28e18335de05abc54d0560e0f53" +
		"02860c652bf08d560252aa5e74210546f369fbbbce8c12cfc7957b2652fe9a75"
)

func TestFiles(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(p, text string) {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(dir+"/a", "a")
	write(dir+"/d/b", "b")
	write(dir+"/d/.publish-x", "x")
	write(dir+"/.publish-generation", "1\n")
	write(outside+"/a", "a")
	for name, to := range map[string]string{"link": "a", "out": outside, "d/up": "../a", "within": "d"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(dir+"/pipe", 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	src := Files(root.FS())

	if data, err := src.Document("d/b"); err != nil || string(data) != "b" {
		t.Errorf("%q, %v", data, err)
	}
	for p, code := range map[string]string{
		"link": "through-link", "out/a": "through-link", "within/b": "through-link", "d/up": "through-link",
		"d/none": "missing", "none": "missing", "a/b": "missing", "d": "not-a-file", "pipe": "not-a-file",
	} {
		bad := new(DocumentError)
		_, err := src.Document(p)
		if !errors.As(err, &bad) || bad.Code != code {
			t.Errorf("%s: %v, want %s", p, err, code)
		}
		if Missing(err) != (code == "missing") || errors.Is(err, fs.ErrNotExist) != Missing(err) {
			t.Errorf("%s: %v, want %s", p, err, code)
		}
	}
	if _, err := src.Document("../a"); err == nil {
		t.Error("../a was read")
	}

	for _, d := range []Digest{{SHA256, sumA}, {SHA512, sum512A}} {
		if data, err := src.Blob("a", d, 1); err != nil || string(data) != "a" {
			t.Errorf("%v: %q, %v", d, data, err)
		}
		if _, err := src.Blob("d/b", d, 1); !errors.Is(err, ErrDigest) {
			t.Errorf("%v of other bytes: %v", d, err)
		}
		if _, err := src.Blob("a", d, 0); !errors.Is(err, ErrDigest) {
			t.Errorf("%v of one byte, where none may be: %v", d, err)
		}
		if _, err := src.Blob("link", d, 1); err == nil {
			t.Errorf("%v through a link", d)
		}
	}
	if _, err := src.Blob("none", Digest{SHA256, sumA}, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := src.Blob("a", Digest{"md5", sumA}, 1); err == nil {
		t.Error("an unknown algorithm was compared")
	}

	list := func(dir string) string {
		var names []string
		for name, err := range src.List(dir) {
			if err != nil {
				t.Errorf("%s: %v", dir, err)
			}
			names = append(names, name)
		}
		if !slices.IsSorted(names) {
			t.Errorf("%s: not sorted: %q", dir, names)
		}
		return strings.Join(names, " ")
	}
	lists := map[string]string{".": "a d/", "d": ".publish-x b", "within": "", "none": "", "a": "", "out": ""}
	for dir, want := range lists {
		if got := list(dir); got != want {
			t.Errorf("%s: %q, want %q", dir, got, want)
		}
	}
}

func TestDigest(t *testing.T) {
	for _, s := range []string{"sha256:" + sumA, "sha512:" + sum512A} {
		algorithm, digits, _ := strings.Cut(s, ":")
		if d := (Digest{algorithm, digits}); d.Check() != nil || d.String() != s {
			t.Errorf("%s: %v, %v", s, d, d.Check())
		}
	}
	for _, s := range []string{
		"", "sha256", "sha256:", sumA, "sha256:" + strings.ToUpper(sumA), "sha256:" + sumA[1:],
		"sha512:" + sumA, "md5:" + sumA[:32],
		"sha256:../../" + sumA[6:], "sha256:" + sumA + "\n", "sha256:" + sumA[:63] + "/",
	} {
		algorithm, digits, _ := strings.Cut(s, ":")
		if d := (Digest{algorithm, digits}); d.Check() == nil {
			t.Errorf("%q is %v", s, d)
		}
	}
	if s := (Digest{}).String(); s != "" {
		t.Errorf("the zero digest is %q", s)
	}
}

func TestName(t *testing.T) {
	if s := (Name{"p", "v"}).String(); s != "p/v" {
		t.Error(s)
	}
	if s := (Name{"p", ""}).String(); s != "p" {
		t.Error(s)
	}
}

// Seen is told of content with the right digest, and of nothing else.
func TestWatched(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a": "a", "b": "b", "long": "aa"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	src := Watched(os.DirFS(dir), func(path string, d Digest, before, after fs.FileInfo) {
		seen = append(seen, path+" "+d.Algorithm)
		if !os.SameFile(before, after) || after.Size() != 1 {
			t.Errorf("%s: %v, %v", path, before, after)
		}
	})
	for _, d := range []Digest{{SHA256, sumA}, {SHA512, sum512A}} {
		for _, name := range []string{"a", "b", "long", "none"} {
			_, _ = src.Blob(name, d, 1)
		}
	}
	if _, err := src.Document("a"); err != nil || !slices.Equal(seen, []string{"a sha256", "a sha512"}) {
		t.Errorf("%v, %v", seen, err)
	}
}
