//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/publish/scripts/crash/trace"
)

// unflushed follows what was written and not flushed yet below some directory.
type unflushed map[string]bool

// see takes one call. A name that came or went makes its directory dirty; a file
// is dirty from the moment at which it is opened for writing.
func (u unflushed) see(c trace.Call) {
	last := c.Targets[len(c.Targets)-1]
	switch c.Name {
	case "fsync", "fdatasync":
		delete(u, last)
	case "sync_file_range": // promises nothing
	case "linkat", "link", "symlinkat", "symlink":
		u[filepath.Dir(last)] = true
	case "unlinkat", "unlink", "rmdir":
		delete(u, last)
		u[filepath.Dir(last)] = true
	case "renameat", "renameat2", "rename":
		old := c.Targets[0]
		if u[old] {
			u[last] = true
		}
		delete(u, old)
		u[filepath.Dir(old)], u[filepath.Dir(last)] = true, true
	case "mkdirat", "mkdir", "openat":
		u[filepath.Dir(last)] = true
		u[last] = true
	default: // write, fchmod, utimensat…
		u[last] = true
	}
}

// below lists what is dirty at dir and below it.
func (u unflushed) below(dir string) (out []string) {
	for p := range u {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// A promote that writes little flushes what it writes, all of it before the tree
// gets its name, and nothing of what others have written: no syncfs, however
// many directories the tree has.
func TestPromoteFlushesItsOwn(t *testing.T) {
	bin, repo := program(t), filepath.Join(t.TempDir(), "repo")
	publish := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	write := func(i int, text string) {
		t.Helper()
		dir := filepath.Join(repo, "staging", fmt.Sprint("a", i%4), fmt.Sprint("b", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	publish("init", "--format", "plain", repo)
	for i := range 200 {
		write(i, "one")
	}
	publish("--repo", repo, "promote")
	for i := range 20 {
		write(10*i, "another")
	}
	write(1000, "new")

	result, err := trace.Run(context.Background(), trace.List(), []string{bin, "--repo", repo, "promote"}, nil, "")
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("%v\n%s", err, result.Stderr)
	}
	dirty, named := unflushed{}, false
	for _, c := range result.Calls {
		if c.Name == "syncfs" || c.Name == "sync" {
			t.Errorf("%v: waits for all that anybody wrote", c)
		}
		if strings.HasPrefix(c.Name, "rename") && filepath.Base(c.Targets[1]) == ".next-000002" {
			named = true
			if left := dirty.below(c.Targets[0]); len(left) > 0 {
				t.Errorf("the tree gets its name, and not flushed are %q", left)
			}
		}
		dirty.see(c)
	}
	if !named {
		t.Errorf("no tree was seen to get its name: %v", result.Calls)
	}
	for _, p := range []string{".publish/history", ".publish/manifests/000002"} {
		if left := dirty.below(filepath.Join(repo, p)); len(left) > 0 {
			t.Errorf("at the end, not flushed are %q", left)
		}
	}
}
