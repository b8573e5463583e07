package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	out := []string{}
	for _, d := range list {
		out = append(out, d.Name())
	}
	return out
}

// masked runs the test under another umask.
func masked(t *testing.T, mask int) {
	old := syscall.Umask(mask)
	t.Cleanup(func() { syscall.Umask(old) })
}

func TestWriteFile(t *testing.T) {
	masked(t, 0o077)
	dir := t.TempDir()
	p := filepath.Join(dir, "f")
	for i, mode := range []fs.FileMode{0o644, 0o664, 0o600, 0o444, 0o640} { // the old file may be read-only
		text := fmt.Sprint(i)
		must(t, WriteFile(p, []byte(text), mode))
		fi, err := os.Stat(p)
		must(t, err)
		data, err := os.ReadFile(p)
		must(t, err)
		if fi.Mode() != mode || string(data) != text {
			t.Errorf("%v: mode %v, %q", mode, fi.Mode(), data)
		}
	}
	if diff := cmp.Diff([]string{"f"}, names(t, dir)); diff != "" {
		t.Errorf("left behind: %s", diff)
	}
	// A failure leaves what was there, and nothing else.
	must(t, os.MkdirAll(filepath.Join(dir, "d/x"), 0o755))
	if WriteFile(filepath.Join(dir, "d"), nil, 0o644) == nil || WriteFile(filepath.Join(dir, "gone/f"), nil,
		0o644) == nil {
		t.Error("no error")
	}
	if diff := cmp.Diff([]string{"d", "f"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
	// A link is replaced, not followed.
	must(t, os.Symlink(p, filepath.Join(dir, "link")))
	must(t, WriteFile(filepath.Join(dir, "link"), []byte("new"), 0o644))
	if data, err := os.ReadFile(p); err != nil || string(data) != "4" {
		t.Errorf("the link was followed: %q %v", data, err)
	}
}

func TestSweepPending(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"f", ".f", ".f12", ".f4567890123456789012", ".fx", ".f1x", "f1", ".g1"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	must(t, os.Mkdir(filepath.Join(dir, ".f3"), 0o755))
	must(t, SweepPending(filepath.Join(dir, "f")))
	if diff := cmp.Diff([]string{".f", ".f1x", ".f3", ".fx", ".g1", "f", "f1"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestAppendAndTruncate(t *testing.T) {
	p := filepath.Join(t.TempDir(), "log")
	if err := AppendLine(p, []byte("x\n")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a log that is not there: %v", err)
	}
	must(t, os.WriteFile(p, []byte("one\n"), 0o644))
	must(t, AppendLine(p, []byte("two\n")))
	must(t, AppendLine(p, []byte("torn")))
	data, err := os.ReadFile(p)
	must(t, err)
	whole, torn := SplitTorn(data)
	if string(whole) != "one\ntwo\n" || string(torn) != "torn" {
		t.Errorf("%q %q", whole, torn)
	}
	must(t, Truncate(p, int64(len(whole))))
	if data, err := os.ReadFile(p); err != nil || string(data) != "one\ntwo\n" {
		t.Errorf("%q %v", data, err)
	}
	if whole, torn := SplitTorn(nil); len(whole)+len(torn) > 0 {
		t.Error("something of nothing")
	}
}

func TestMkdirAll(t *testing.T) {
	masked(t, 0o077)
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "there"), 0o700))
	must(t, MkdirAll(filepath.Join(dir, "there/a/b"), 0o775|fs.ModeSetgid))
	must(t, MkdirAll(filepath.Join(dir, "there/a/b"), 0o700))
	for p, want := range map[string]fs.FileMode{"there": 0o700, "there/a": 0o775 | fs.ModeSetgid,
		"there/a/b": 0o775 | fs.ModeSetgid} {
		fi, err := os.Stat(filepath.Join(dir, p))
		must(t, err)
		if got := fi.Mode() &^ fs.ModeDir; got != want {
			t.Errorf("%s: mode %v, want %v", p, got, want)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	must(t, os.Symlink("gone", filepath.Join(dir, "dangling")))
	for _, p := range []string{"file", "file/x", "dangling", "dangling/x"} {
		if err := MkdirAll(filepath.Join(dir, p), 0o755); err == nil {
			t.Errorf("%s: no error", p)
		}
	}
}

func TestRemoveAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	must(t, os.MkdirAll(filepath.Join(dir, "locked/x"), 0o755))
	must(t, os.Chmod(filepath.Join(dir, "locked"), 0o500))
	must(t, RemoveAll(dir))
	must(t, RemoveAll(dir))
}

func TestExchange(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	must(t, os.MkdirAll(filepath.Join(a, "in-a"), 0o755))
	must(t, os.WriteFile(b, []byte("b"), 0o644))
	err := Exchange(a, b)
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	must(t, err)
	if data, err := os.ReadFile(a); err != nil || string(data) != "b" || names(t, b)[0] != "in-a" {
		t.Errorf("%q %v", data, err)
	}
	if err := Exchange(a, filepath.Join(dir, "gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err %v", err)
	}
	must(t, ProbeExchange(dir, b, ".publish-probe-"))
	if diff := cmp.Diff([]string{"a", "b"}, names(t, dir)); diff != "" || len(names(t, b)) != 1 {
		t.Errorf("the probe left %s", diff)
	}
	other, err := os.MkdirTemp("/dev/shm", "publish-test-")
	if err != nil {
		return
	}
	defer os.RemoveAll(other)
	if err := ProbeExchange(dir, other, ".publish-probe-"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("between two file systems: %v", err)
	}
	if len(names(t, dir)) != 2 || len(names(t, other)) != 0 {
		t.Error("the probe left something")
	}
}

func TestRenameNew(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(in("a"), []byte("a"), 0o644))
	must(t, os.Symlink("gone", in("dangling")))
	must(t, os.Mkdir(in("empty"), 0o755))
	for _, p := range []string{"dangling", "empty"} {
		if err := RenameNew(in("a"), in(p)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", p, err)
		}
	}
	must(t, RenameNew(in("a"), in("b")))
	if diff := cmp.Diff([]string{"b", "dangling", "empty"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestCloneOrSayNo(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "src"), []byte("data"), 0o644))
	src, err := os.Open(filepath.Join(dir, "src"))
	must(t, err)
	defer src.Close()
	dst, err := os.Create(filepath.Join(dir, "dst"))
	must(t, err)
	defer dst.Close()
	switch err := Clone(dst, src); {
	case err == nil:
		if data, err := os.ReadFile(dst.Name()); err != nil || string(data) != "data" {
			t.Errorf("%q %v", data, err)
		}
	case !errors.Is(err, ErrUnsupported):
		t.Error(err)
	}
}

// A file that is read through its copy: several pieces, an odd end, and nothing.
func TestThrough(t *testing.T) {
	for _, size := range []int{0, 1, streamStep, 2*streamStep + 12345} {
		want := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
		dir := t.TempDir()
		from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
		must(t, os.WriteFile(from, want, 0o644))
		src, err := os.Open(from)
		must(t, err)
		defer src.Close()
		dst, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		must(t, err)
		defer dst.Close()
		got, err := io.ReadAll(&Through{Dst: dst, Src: src})
		must(t, err)
		copied, err := os.ReadFile(to)
		must(t, err)
		if !bytes.Equal(got, want) || !bytes.Equal(copied, want) {
			t.Errorf("%d bytes: read %d, copied %d", size, len(got), len(copied))
		}
	}
}

func TestFree(t *testing.T) {
	if n, err := Free(t.TempDir()); !errors.Is(err, ErrUnsupported) && (err != nil || n <= 0) {
		t.Errorf("%d %v", n, err)
	}
}

func TestLine(t *testing.T) {
	const golden = "e3069283 123456789\n" // the check value of CRC-32C
	if got := string(Line([]byte("123456789"))); got != golden {
		t.Errorf("%q", got)
	}
	for _, bad := range []string{"", "e3069283", "e3069283 12345678", "e306928 123456789", "E306928x 123456789",
		"e3069283\t123456789", "00000001 "} {
		if text, ok := Unline([]byte(bad)); ok {
			t.Errorf("%q: is %q", bad, text)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add([]byte("text"), 3)
	f.Add([]byte(""), 0)
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		Unline(text)
		line := Line(text)
		got, ok := Unline(bytes.TrimSuffix(line, []byte("\n")))
		if !ok || !bytes.Equal(got, text) {
			t.Fatalf("%q became %q", text, got)
		}
		if at < 0 || at >= len(line)-1 || strings.ContainsRune("ABCDEFabcdef", rune(line[at]^0x20)) && at < 8 {
			return // out of it, or the same hex digit in another case
		}
		line[at] ^= 0x20
		if _, ok := Unline(bytes.TrimSuffix(line, []byte("\n"))); ok {
			t.Fatalf("%q: one bit is wrong", line)
		}
	})
}
