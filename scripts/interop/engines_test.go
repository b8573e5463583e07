package interop_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Engines load what export writes, run it, and give it back; and they pull. Each runs as
// root, in directories of its own and behind a socket of its own.

// daemon starts a program, and waits until the command ready succeeds.
func daemon(t *testing.T, ready []string, name string, args ...string) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s:\n%s", name, log.Bytes())
		}
	})
	for range 600 {
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("%s does not run here: %v\n%s", name, err, log.Bytes())
		case <-time.After(100 * time.Millisecond):
		}
		if exec.Command(ready[0], ready[1:]...).Run() == nil {
			return
		}
	}
	t.Fatalf("%s is not ready after a minute", name)
}

// asRoot skips a test of an engine that ordinary users cannot run.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// shortDir is a directory with a path that is short enough for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pub")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Log(err)
		}
	})
	return dir
}

// startDocker returns a client of a Docker of its own.
func startDocker(t *testing.T) (docker func(args ...string) string) {
	t.Helper()
	root := shortDir(t)
	config := filepath.Join(root, "daemon.json")
	if err := os.WriteFile(config, []byte(`{"bridge": "none", "iptables": false}`), 0o644); err != nil {
		t.Fatal(err)
	}
	host := "unix://" + filepath.Join(root, "s")
	daemon(t, []string{"docker", "-H", host, "info"}, "dockerd", "--data-root", filepath.Join(root, "data"),
		"--exec-root", filepath.Join(root, "exec"), "-p", filepath.Join(root, "pid"), "-H", host, "--config-file", config,
		"--storage-driver", "vfs")
	return func(args ...string) string {
		t.Helper()
		return command(t, "docker", append([]string{"-H", host}, args...)...)
	}
}

func TestExportForDocker(t *testing.T) {
	asRoot(t)
	found(t, "dockerd", "docker", "containerd", "runc")
	r, from, dir := exporting(t)
	docker := startDocker(t)
	name := repository + ":one"
	docker("load", "-i", r.export(dir, name))
	if id := strings.TrimSpace(docker("image", "inspect", "-f", "{{.Id}}", name)); id != from.config {
		t.Errorf("%s is %s in the engine; its config is %s", name, id, from.config)
	}
	if _, err := os.Stat("/bin/busybox"); err == nil {
		if out := docker("run", "--rm", "--network", "none", name); out != "exported\n" {
			t.Errorf("it says %q", out)
		}
	}
	// What the engine saves comes back with the same config.
	saved := filepath.Join(dir, "saved.tar")
	docker("save", "-o", saved, name)
	back := newImages(t, "symlink")
	back.run("stage", "add", saved)
	back.run("promote")
	digest := tagged(t, filepath.Join(back.production(), repository), "one")
	if got := configOf(t, filepath.Join(back.production(), repository), digest); got != from.config {
		t.Errorf("its config is %s, was %s", got, from.config)
	}
	// Of several platforms it loads that of this machine.
	docker("load", "-i", r.export(dir, repository+":v1"))
	docker("image", "inspect", repository+":v1")
}

// startContainerd returns a client of a containerd of its own.
func startContainerd(t *testing.T) (ctr func(args ...string) string) {
	t.Helper()
	root := shortDir(t)
	config := filepath.Join(root, "config.toml")
	if err := os.WriteFile(config, []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(root, "s")
	daemon(t, []string{"ctr", "-a", socket, "version"}, "containerd", "-c", config, "-a", socket, "--root",
		filepath.Join(root, "root"), "--state", filepath.Join(root, "state"))
	return func(args ...string) string {
		t.Helper()
		return command(t, "ctr", append([]string{"-a", socket}, args...)...)
	}
}

func TestExportForContainerd(t *testing.T) {
	asRoot(t)
	found(t, "containerd", "ctr")
	r, from, dir := exporting(t)
	ctr := startContainerd(t)
	for tag, want := range map[string]string{"v1": from.v1, "one": from.one} {
		name := repository + ":" + tag
		ctr("image", "import", "--all-platforms", "--snapshotter", "native", r.export(dir, name))
		line := ""
		for l := range strings.Lines(ctr("image", "ls")) {
			if f := strings.Fields(l); f[0] == name {
				line = f[2]
			}
		}
		if line != want {
			t.Errorf("%s is %q in the engine, was %s", name, line, want)
		}
	}
	// What it exports comes back with the same digest, referrers or not.
	saved := filepath.Join(dir, "saved.tar")
	ctr("image", "export", "--all-platforms", saved, repository+":v1")
	back := newImages(t, "symlink")
	back.run("stage", "add", saved)
	back.run("promote")
	if got := tagged(t, filepath.Join(back.production(), repository), "v1"); got != from.v1 {
		t.Errorf("v1 is %s, was %s", got, from.v1)
	}
}

// ownPodman gives podman a storage of its own until the test ends.
func ownPodman(t *testing.T) {
	t.Helper()
	asRoot(t)
	found(t, "podman")
	root := shortDir(t)
	config := filepath.Join(root, "storage.conf")
	text := "[storage]\ndriver = \"vfs\"\ngraphroot = \"" + root + "/graph\"\nrunroot = \"" + root + "/run\"\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_STORAGE_CONF", config)
}

func TestExportForPodman(t *testing.T) {
	ownPodman(t)
	r, from, dir := exporting(t)
	name := repository + ":one"
	command(t, "podman", "load", "-q", "-i", r.export(dir, name))
	var list []struct{ ID, Digest string }
	if err := json.Unmarshal([]byte(command(t, "podman", "image", "inspect", name)), &list); err != nil || len(list) != 1 {
		t.Fatal(err, len(list))
	}
	if "sha256:"+list[0].ID != from.config {
		t.Errorf("%s is %s in the engine; its config is %s", name, list[0].ID, from.config)
	}
	command(t, "podman", "load", "-q", "-i", r.export(dir, repository+":v1"))
	command(t, "podman", "image", "inspect", repository+":v1")
	// It saves other manifests around the same config.
	saved := filepath.Join(dir, "saved.tar")
	command(t, "podman", "save", "-q", "--format", "oci-archive", "-o", saved, name)
	back := newImages(t, "symlink")
	back.run("stage", "add", saved)
	back.run("promote")
	digest := tagged(t, filepath.Join(back.production(), repository), "one")
	if got := configOf(t, filepath.Join(back.production(), repository), digest); got != from.config {
		t.Errorf("its config is %s, was %s", got, from.config)
	}
}
