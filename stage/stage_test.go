package stage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lock"
	"example.com/publish/stage/plain"
	"example.com/publish/stage/simplestreams"
	"example.com/publish/stage/tree"
)

// newStage makes an empty staging tree of a repository.
func newStage(t testing.TB) *Stage {
	t.Helper()
	repo := t.TempDir()
	for _, d := range []string{"staging", ".publish"} {
		must(t, os.Mkdir(filepath.Join(repo, d), 0o755))
	}
	must(t, lock.Create(filepath.Join(repo, ".publish/staging.lock"), lock.Private()))
	must(t, os.WriteFile(filepath.Join(repo, ".publish/hashes"), nil, 0o644))
	return openStage(repo)
}

func openStage(repo string) *Stage {
	return &Stage{
		Dir:    filepath.Join(repo, "staging"),
		Lock:   filepath.Join(repo, ".publish/staging.lock"),
		Hashes: filepath.Join(repo, ".publish/hashes"),
		Format: simplestreams.Format{},
		Share:  true,
		Now:    time.Now,
		Wait:   -1,
	}
}

func newPlain(t testing.TB) *Stage {
	s := newStage(t)
	s.Format = plain.Format{}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// created is when the images of these tests were made: 2026-01-02 03:04 UTC.
const created = 1767323040

const version = "20260102_03:04"

// metadataFor is a metadata tarball for an os. salt changes its bytes and
// nothing that an index says.
func metadataFor(t testing.TB, os, salt string) []byte {
	t.Helper()
	body := fmt.Sprintf("architecture: x86_64\ncreation_date: %d\nproperties:\n  os: %s\n  release: one\n  variant: "+
		"default\n  architecture: amd64\n  description: %s %s\n", created, os, os, salt)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	must(t, w.WriteHeader(&tar.Header{Name: "metadata.yaml", Mode: 0o644, Size: int64(len(body)),
		Typeflag: tar.TypeReg}))
	_, err := w.Write([]byte(body))
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}

func squashfs(content string) []byte { return []byte("hsqs" + content) }
func qcow2(content string) []byte    { return []byte("QFI\xfb" + content) }

// files writes files by name to a new directory.
func files(t testing.TB, contents map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range contents {
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	return dir
}

func built(t testing.TB, os, salt string) string {
	t.Helper()
	return files(t, map[string][]byte{"incus.tar.xz": metadataFor(t, os, salt), "rootfs.squashfs": squashfs(os + salt)})
}

func add(t testing.TB, s *Stage, files ...string) *Added {
	t.Helper()
	out, err := s.Add(context.Background(), AddRequest{Files: files})
	must(t, err)
	return out
}

func sum(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return data
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// valid fails the test unless staging validates without a finding, but for what
// was left behind, and returns
// what its index names.
func valid(t testing.TB, s *Stage) []catalog.Image {
	t.Helper()
	c, err := s.Validate(context.Background(), Checks{Full: true, Now: time.Now()})
	must(t, err)
	findings := slices.DeleteFunc(c.Report.Findings, func(f catalog.Finding) bool { return f.Code == "left-out" })
	if len(findings) > 0 {
		t.Fatalf("findings: %+v", findings)
	}
	return c.Catalog.Images
}

// clean fails the test when a finished command has left anything of its own.
func clean(t testing.TB, s *Stage) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(s.Dir, Incoming))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, d := range list {
		t.Errorf("left behind: %s", d.Name())
	}
}

// contents is every file of staging with its hash.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	entries, err := tree.Walk(context.Background(), dir)
	must(t, err)
	out := map[string]string{}
	for _, e := range entries {
		if e.Kind == tree.Symlink {
			out[e.Path] = "-> " + e.Target()
		} else {
			out[e.Path] = sum(read(t, filepath.Join(dir, e.Path)))
		}
	}
	return out
}

func codes(r *Report) []string {
	out := []string{}
	for _, f := range r.Findings {
		out = append(out, string(f.Severity)+" "+f.Code+" "+f.Path)
	}
	return out
}

func packed(t testing.TB, data []byte) map[string][]byte {
	t.Helper()
	var gz, xzed bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, err := g.Write(data)
	must(t, err)
	must(t, g.Close())
	x, err := xz.NewWriter(&xzed)
	must(t, err)
	_, err = x.Write(data)
	must(t, err)
	must(t, x.Close())
	z, err := zstd.NewWriter(nil)
	must(t, err)
	return map[string][]byte{".tar": data, ".tar.gz": gz.Bytes(), ".tar.xz": xzed.Bytes(),
		".tar.zst": z.EncodeAll(data, nil)}
}

func TestWaitEndsWithTheHolder(t *testing.T) {
	s := newStage(t)
	unlock, err := s.Exclusive(context.Background(), "test")
	must(t, err)
	other := openStage(filepath.Dir(s.Dir))
	other.Wait = 0
	_, err = other.Exclusive(context.Background(), "stage add")
	held := (*lock.HeldError)(nil)
	if !errors.As(err, &held) || held.Holder.Verb != "test" || held.Holder.PID != os.Getpid() {
		t.Errorf("err %v", err)
	}
	unlock()
	unlock, err = other.Exclusive(context.Background(), "stage add")
	must(t, err)
	unlock()
}

func TestSweep(t *testing.T) {
	s := newStage(t)
	mine, err := s.upload()
	must(t, err)
	defer mine.close()
	parent, name := filepath.Dir(mine.path()), mine.name
	pid := fmt.Sprintf("%s%d.", here(), os.Getpid())
	if !strings.HasPrefix(name, pid) {
		t.Fatalf("%s: does not start with %s", name, pid)
	}
	reused := filepath.Join(parent, pid+"1.123")            // this pid, another process
	dead := filepath.Join(parent, here()+"999999999.5.123") // above any pid_max
	foreign := filepath.Join(parent, "elsewhere.7.1.1.123")
	old := filepath.Join(parent, "elsewhere.7.1.1.456")
	for _, d := range []string{reused, dead, foreign, old} {
		must(t, os.Mkdir(d, 0o700))
	}
	must(t, os.Chtimes(old, time.Time{}, time.Now().Add(-8*24*time.Hour)))
	unlock, err := s.Exclusive(context.Background(), "test")
	must(t, err)
	unlock()
	list, err := os.ReadDir(parent)
	must(t, err)
	var got []string
	for _, d := range list {
		got = append(got, d.Name())
	}
	want := []string{name, filepath.Base(foreign)}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestIncomingIsNoLink(t *testing.T) {
	s := newStage(t)
	elsewhere := t.TempDir()
	must(t, os.Mkdir(filepath.Join(elsewhere, here()+"999999999.5.123"), 0o700))
	must(t, os.Symlink(elsewhere, filepath.Join(s.Dir, Incoming)))
	if _, err := s.Add(context.Background(), AddRequest{Files: []string{built(t, "alpha", "")}}); err != nil {
		t.Errorf("a link has the name of the directory of uploads, and no other name was taken: %v", err)
	}
	list, err := os.ReadDir(elsewhere)
	must(t, err)
	if len(list) != 1 {
		t.Errorf("%d entries where the link leads", len(list))
	}
}

func waitingCloses(c chan struct{}) func(lock.Holder) { return func(lock.Holder) { close(c) } }
