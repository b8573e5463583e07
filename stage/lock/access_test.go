package lock

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What older versions made is mended, and the group that may write to staging
// is the only one that may take staging's lock.
func TestMend(t *testing.T) {
	dir := t.TempDir()
	private, group := filepath.Join(dir, "private"), filepath.Join(dir, "group")
	must(t, os.Mkdir(private, 0o755))
	must(t, os.Mkdir(group, 0o700))
	must(t, os.Chmod(group, 0o775|fs.ModeSetgid))
	for name, c := range map[string]struct {
		was    fs.FileMode
		access Access
		want   fs.FileMode
	}{
		"old":                 {0o644, Private(), 0o600},
		"for all":             {0o666, Private(), 0o600},
		"right":               {0o600, Private(), 0o600},
		"old, of a group":     {0o664, Shared(group), 0o660},
		"of no group":         {0o664, Shared(private), 0o600},
		"of no directory":     {0o664, Shared(filepath.Join(dir, "gone")), 0o600},
		"a group came later":  {0o600, Shared(group), 0o660},
		"set-uid, and so on":  {0o755 | fs.ModeSetuid, Private(), 0o600},
		"closed to its owner": {0o000, Private(), 0o600},
	} {
		if c.was == 0 && os.Geteuid() != 0 {
			continue // its owner has to give himself a right first
		}
		p := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		must(t, os.WriteFile(p, nil, 0o600))
		must(t, os.Chmod(p, c.was))
		must(t, Repair(p, c.access))
		fi, err := os.Stat(p)
		must(t, err)
		if fi.Mode() != c.want {
			t.Errorf("%s: mode %v, want %v", name, fi.Mode(), c.want)
		}
	}
	if err := Repair(filepath.Join(dir, "none"), Private()); err != nil {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing file was made")
	}
}

// Root gives what it repairs to the owner of the directory; another user changes
// nothing; and a file of root's that the owner linked there stays root's.
func TestMendByRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	must(t, os.Chown(dir, 1234, 1234))
	p := filepath.Join(dir, "lock")
	owner := func(path string) [2]uint32 {
		t.Helper()
		var st syscall.Stat_t
		must(t, syscall.Stat(path, &st))
		return [2]uint32{st.Uid, st.Mode & 0o777}
	}
	must(t, Create(p, Private()))
	if got := owner(p); got != [2]uint32{1234, 0o600} {
		t.Errorf("made by root: %o", got)
	}
	must(t, os.Chown(p, 0, 0))
	must(t, os.Chmod(p, 0o644))
	must(t, Repair(p, Private()))
	if got := owner(p); got != [2]uint32{1234, 0o600} {
		t.Errorf("mended by root: %o", got)
	}
	roots := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(roots, nil, 0o640))
	linked := filepath.Join(dir, "linked")
	must(t, os.Link(roots, linked))
	if err := Repair(linked, Private()); err == nil {
		t.Error("root gave a file of its own away")
	}
	if got := owner(roots); got != [2]uint32{0, 0o640} {
		t.Errorf("the file of root's: %o", got)
	}
}

// TestAnyUser checks the kernel: a user who may not open the file can neither
// lock it nor ask.
func TestAnyUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	flock, err := exec.LookPath("flock")
	if err != nil {
		t.Skip("needs flock(1)")
	}
	p := newLock(t)
	for d := filepath.Dir(p); d != "/"; d = filepath.Dir(d) {
		if fi, err := os.Stat(d); err != nil || fi.Mode().Perm()&0o001 == 0 {
			must(t, os.Chmod(d, 0o755))
		}
	}
	c := exec.Command(flock, "-n", p, "true")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "denied") {
		t.Errorf("another user locked it: %v, %s", err, out)
	}
}
