package tree

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"example.com/publish/stage/durable"
)

// immutable sets the attribute until the test ends.
func immutable(t *testing.T, path string) {
	t.Helper()
	asRoot(t)
	if out, err := exec.Command("chattr", "+i", path).CombinedOutput(); err != nil {
		t.Skipf("chattr: %v %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("chattr", "-i", path).Run() })
}

// bind mounts from at the place at.
func bind(t *testing.T, from, at string) {
	t.Helper()
	if err := syscall.Mount(from, at, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(at, syscall.MNT_DETACH) })
}

// grounds are directories on several file systems.
func grounds(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{"here": t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "publish-test-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		out["memory"] = dir
	}
	if os.Getuid() != 0 {
		return out
	}
	base := t.TempDir()
	for _, d := range []string{"lower", "upper", "work", "overlay"} {
		must(t, os.Mkdir(filepath.Join(base, d), 0o755))
	}
	opts := fmt.Sprintf("lowerdir=%s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", base)
	if err := syscall.Mount("overlay", base+"/overlay", "overlay", 0, opts); err == nil {
		t.Cleanup(func() { _ = syscall.Unmount(base+"/overlay", syscall.MNT_DETACH) })
		out["overlay"] = base + "/overlay"
	}
	for _, fs := range []string{"xfs", "btrfs"} {
		image, at := filepath.Join(base, fs+".img"), filepath.Join(base, fs)
		must(t, os.Mkdir(at, 0o755))
		script := fmt.Sprintf("truncate -s 320M %s && mkfs.%s -q %[1]s && mount -o loop %[1]s %[3]s", image, fs, at)
		if exec.Command("sh", "-c", script).Run() == nil {
			t.Cleanup(func() { _ = exec.Command("umount", at).Run() })
			out[fs] = at
		}
	}
	return out
}

// Where a directory's inode numbers are believed they are those of stat, and
// where they are not, a trim comes to the same.
func TestTrimOnFileSystems(t *testing.T) {
	for name, dir := range grounds(t) {
		t.Run(name, func(t *testing.T) {
			old, like := trees(t, dir, []string{"a", "d/x"}, []string{"b", "d/b", "d/c"}, []string{"a", "d/x"})
			list, err := durable.List(filepath.Join(like.Dir, "d"))
			must(t, err)
			defer list.Close()
			if got, want := list.Exact(), name != "overlay"; got != want && name != "here" {
				t.Errorf("exact: %v", got)
			}
			if list.Exact() {
				must(t, list.Each(func(n durable.Name) error {
					if st := lstat(t, filepath.Join(like.Dir, "d", string(n.Text))); st.Ino != n.Ino ||
						n.Kind != durable.Leaf {
						t.Errorf("%s: listed as %+v, is %+v", n.Text, n, st)
					}
					return nil
				}))
			}
			done, err := trimTree(context.Background(), old, like, Common{})
			must(t, err)
			if got := fmt.Sprint(names(t, old), done.Kept); got != "[b d/ d/b d/c] 3" {
				t.Error(got)
			}
		})
	}
}
