//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Short forms of make crash and make powercut. They take minutes on a busy
// machine, so only make check, which sets PUBLISH_TEST_LONG, runs them.

func long(t *testing.T) {
	t.Helper()
	if os.Getenv("PUBLISH_TEST_LONG") == "" {
		t.Skip("takes long: make check runs it")
	}
}

func program(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "publish")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/publish")
	cmd.Dir, cmd.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

func TestCrashShort(t *testing.T) {
	long(t)
	publish := program(t)
	for only, step := range map[string]string{"^(promote-with-gc|gc-layouts|revert|stage-add|prune)/": "19", "^revoke/": "43"} {
		code, err := matrix(context.Background(), []string{"-publish", publish, "-run", only, "-faults", "kill,EIO",
			"-step", step})
		if code != 0 || err != nil {
			t.Fatalf("%s: exit %d, %v", only, code, err)
		}
	}
}

// Some requests and some writing calls of commands whose production is in a store.
func TestCrashBucketShort(t *testing.T) {
	long(t)
	publish := program(t)
	for _, c := range [][3]string{{"^bucket-rebase/", "request,answer", "7"}, {"^bucket-(revert|gc)/", "answer", "5"},
		{"^bucket-(promote|reset)/", "kill", "61"}} {
		code, err := matrix(context.Background(), []string{"-publish", publish, "-run", c[0], "-faults", c[1], "-step", c[2]})
		if code != 0 || err != nil {
			t.Fatalf("%s: exit %d, %v", c[0], code, err)
		}
	}
}

// Only btrfs shows a directory that was not synced.
func TestPowerCutShort(t *testing.T) {
	long(t)
	if os.Getuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	for _, tool := range []string{"mkfs.btrfs", "losetup"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	if out, err := exec.Command("losetup", "--find").CombinedOutput(); err != nil {
		t.Skipf("this machine has no loop devices: %s", out)
	}
	code, err := powercut(context.Background(), []string{"-publish", program(t), "-fs", "btrfs", "-run",
		"^(promote|revert|stage-add|prune|revoke-kept)$", "-rounds", "1"})
	if code != 0 || err != nil {
		t.Fatalf("exit %d, %v", code, err)
	}
}
