package stage

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
	"example.com/publish/stage/tree"
)

// asNobody runs the test again as another user when root runs it, since root reads
// everything. It reports whether the caller is that other user.
func asNobody(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	dir, err := os.MkdirTemp("", "publish-test-")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o777))
	self, err := os.Executable()
	must(t, err)
	binary := filepath.Join(dir, "test")
	must(t, os.WriteFile(binary, read(t, self), 0o755))
	c := exec.Command(binary, "-test.run", "^"+t.Name()+"$", "-test.v")
	c.Dir, c.Env = dir, append(os.Environ(), "TMPDIR="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as another user: %v\n%s", err, out)
	}
	return false
}

// A staging tree that others write to may hold anything. All of it is reported,
// nothing blocks, and nothing outside is touched.
func TestHostileTree(t *testing.T) {
	s := newPlain(t)
	in := func(name string) string { return filepath.Join(s.Dir, name) }
	must(t, os.Mkdir(in("dir"), 0o755))
	must(t, os.WriteFile(in("good"), []byte("x"), 0o644))
	must(t, syscall.Mkfifo(in("dir/fifo"), 0o644))
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(t, err)
	defer syscall.Close(fd)
	// A socket's name is short, and a test's directory is not.
	wd, err := os.Getwd()
	must(t, err)
	must(t, os.Chdir(s.Dir))
	err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: "socket"})
	must(t, os.Chdir(wd))
	must(t, err)
	must(t, os.Symlink("/etc/passwd", in("absolute")))
	must(t, os.Symlink("../../out", in("dir/out")))
	must(t, os.Symlink("dir", in("through")))
	must(t, os.Symlink("through/../../out", in("sly")))
	must(t, os.Symlink("loop", in("loop")))
	must(t, os.Symlink("gone", in("dangling")))
	must(t, os.WriteFile(in("new\nline"), nil, 0o644))
	must(t, os.WriteFile(in("bad\xffutf8"), nil, 0o644))
	want := []string{
		"error link-outside absolute",
		"error bad-name bad\xffutf8",
		"warning link-dangling dangling",
		"error special-file dir/fifo",
		"error link-outside dir/out",
		"error link-outside loop",
		"error bad-name new\nline",
		"error link-outside sly",
		"error special-file socket",
	}
	if syscall.Mknod(in("null"), syscall.S_IFCHR|0o666, 1<<8|3) == nil {
		want = append(want[:7:7], append([]string{"error special-file null"}, want[7:]...)...)
	}
	c, err := s.Validate(context.Background(), Checks{Now: time.Now()})
	must(t, err)
	if diff := cmp.Diff(want, codes(c.Report)); diff != "" {
		t.Errorf("validate: %s", diff)
	}
	peeked, err := s.Peek(context.Background())
	must(t, err)
	if diff := cmp.Diff(want, codes(peeked.Report)); diff != "" {
		t.Errorf("peek: %s", diff)
	}
	v, r := validate(t, snapshot(t, s, &Base{}))
	if diff := cmp.Diff(want, codes(r)); diff != "" || v != nil {
		t.Errorf("snapshot: %s", diff)
	}
	for _, f := range r.Findings {
		if strings.ContainsRune(f.Message, '\n') {
			t.Errorf("a message with a line break: %q", f.Message)
		}
	}
	if _, err := json.Marshal(r.Findings); err != nil {
		t.Error(err)
	}
}

func TestIndexNamesOutside(t *testing.T) {
	for _, path := range []string{"/etc/passwd", "../../x", "images/../../x", "linked/passwd", "images/\\u0000x",
		".publish-incoming/x", "streams/v1/index.json"} {
		s := newStage(t)
		add(t, s, built(t, "alpha", ""))
		must(t, os.Symlink("/etc", filepath.Join(s.Dir, "linked")))
		p := filepath.Join(s.Dir, "streams/v1/images.json")
		old := "images/" + sum(squashfs("alpha")) + ".squashfs"
		must(t, os.WriteFile(p, []byte(strings.ReplaceAll(string(read(t, p)), old, path)), 0o644))
		v, r := validate(t, snapshot(t, s, &Base{}))
		if v != nil || len(r.Errors()) == 0 {
			t.Errorf("%s: findings %v", path, codes(r))
		}
		must(t, os.Remove(filepath.Join(s.Dir, "linked")))
		c, err := s.Validate(context.Background(), Checks{Full: true, Now: time.Now()})
		must(t, err)
		if len(c.Report.Errors()) == 0 {
			t.Errorf("%s: without the link: findings %v", path, codes(c.Report))
		}
	}
}

func TestUnreadable(t *testing.T) {
	if !asNobody(t) {
		return
	}
	s := newPlain(t)
	must(t, os.WriteFile(filepath.Join(s.Dir, "file"), []byte("x"), 0))
	must(t, os.Mkdir(filepath.Join(s.Dir, "dir"), 0))
	_, r := validate(t, snapshot(t, s, &Base{}))
	if diff := cmp.Diff([]string{"error unreadable dir", "error unreadable file"}, codes(r)); diff != "" {
		t.Error(diff)
	}
	c, err := s.Validate(context.Background(), Checks{Now: time.Now()})
	must(t, err)
	if diff := cmp.Diff([]string{"error unreadable dir", "error unreadable file"}, codes(c.Report)); diff != "" {
		t.Error(diff)
	}
	must(t, os.Chmod(filepath.Join(s.Dir, "dir"), 0o755))
}

// Two files of which each comes first in one pair and second in the other:
// every fingerprint is computed all the same.
func TestPairsInAChain(t *testing.T) {
	dir := files(t, map[string][]byte{"a": []byte("a"), "b": []byte("b"), "c": []byte("c")})
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	list, _, err := readAll(context.Background(), root, []*need{
		{path: "b", odd: &odd{after: []string{"a"}}}, {path: "c", odd: &odd{after: []string{"b"}}},
		{path: "a", odd: &odd{after: []string{"b", "a"}}}}, func(int64) {})
	must(t, err)
	got := map[string][]pairSum{}
	for _, n := range list {
		got[n.path] = n.got.more.pairs
	}
	for second, firsts := range map[string]string{"b": "a", "c": "b", "a": "ab"} {
		for _, first := range strings.Split(firsts, "") {
			if want := (pairSum{first, sum([]byte(first), []byte(second))}); !slices.Contains(got[second], want) {
				t.Errorf("%s then %s: %v", first, second, got[second])
			}
		}
	}
}

func TestRacyFileIsNotTrusted(t *testing.T) {
	s := newPlain(t)
	p := filepath.Join(s.Dir, "f")
	must(t, os.WriteFile(p, []byte("one"), 0o644))
	changed := stat(t, p).ModTime()
	check := func(now time.Time) int64 {
		t.Helper()
		c, err := s.Validate(context.Background(), Checks{Now: now})
		must(t, err)
		return c.Report.HashedBytes
	}
	for _, c := range []struct {
		age  time.Duration
		want int64
	}{{time.Millisecond, 3}, {time.Millisecond, 3}, {3 * time.Second, 3}, {3 * time.Second, 0}} {
		if got := check(changed.Add(c.age)); got != c.want {
			t.Errorf("%v after it was changed, %d bytes were read", c.age, got)
		}
	}
	before := tree.StatOf(stat(t, p))
	after := before
	for after.Ctime == before.Ctime { // until the kernel's clock has ticked
		must(t, os.WriteFile(p, []byte("two"), 0o644))
		must(t, os.Chtimes(p, time.Time{}, changed))
		after = tree.StatOf(stat(t, p))
	}
	if check(time.Unix(0, after.Ctime).Add(3*time.Second)) != 3 {
		t.Error("other bytes of the same size and time are believed")
	}
}

// A document that is too large is said once.
func TestTooLargeIsSaidOnce(t *testing.T) {
	s := newStage(t)
	s.Format = oci.Format{}
	dir := filepath.Join(s.Dir, "acme", "app")
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "index.json"), nil, 0o644))
	must(t, os.Truncate(filepath.Join(dir, "index.json"), catalog.MaxDocument+1))
	got, err := s.Validate(t.Context(), Checks{Now: time.Now()})
	must(t, err)
	if f := got.Report.Findings; len(f) != 1 || f[0].Code != "too-large" {
		t.Errorf("%v", f)
	}
}
