package interop_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
)

// Registries of others are mirrored, and what is published then has the digests that it
// had there, for a client of others again.

// upstreams are registries that a test can push to.
var upstreams = map[string]func(*testing.T) (host string){"distribution": startDistribution, "olareg": startOlareg}

// startDistribution starts the registry of the distribution project.
func startDistribution(t *testing.T) string { return startRegistry(t, "") }

// startRegistry starts the same with more lines of configuration.
func startRegistry(t *testing.T, more string) string {
	t.Helper()
	found(t, "registry")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	dir := t.TempDir()
	conf := filepath.Join(dir, "config.yml")
	err = os.WriteFile(conf, fmt.Appendf(nil, "version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\n"+
		"http: {addr: %q}\n%s", filepath.Join(dir, "data"), host, more), 0o644)
	if err == nil {
		err = listener.Close() // its port is very likely still free
	}
	if err != nil {
		t.Fatal(err)
	}
	daemon(t, []string{"curl", "-sS", "http://" + host + "/v2/"}, "registry", "serve", conf)
	return host
}

func startOlareg(t *testing.T) string {
	t.Helper()
	yes := true
	server := olareg.New(config.Config{
		Storage: config.ConfigStorage{StoreType: config.StoreDir, RootDir: t.TempDir()},
		API:     config.ConfigAPI{PushEnabled: &yes},
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	http := httptest.NewServer(server)
	t.Cleanup(func() {
		http.Close()
		_ = server.Close() // it complains of repositories that somebody asked for and that it lacks
	})
	return strings.TrimPrefix(http.URL, "http://")
}

func TestMirror(t *testing.T) {
	need(t, "skopeo")
	for name, start := range upstreams {
		t.Run(name, func(t *testing.T) {
			host, from := start(t), newSource(t, "mirrored")
			for _, tag := range []string{"v1", "one"} {
				command(t, "skopeo", "copy", "--all", "--dest-tls-verify=false", "oci:"+from.dir+":"+tag,
					"docker://"+host+"/acme/app:"+tag)
			}
			r := newImages(t, "symlink")
			r.configure("format: oci\nmirror: {registries: {hub.example.com: {endpoints: [\"http://" + host + "\"]}}}\n")
			r.run("mirror", "add", "hub.example.com/acme/app:v1", "hub.example.com/acme/app:one")
			r.run("mirror", "run", "--once")
			r.run("promote")
			at := strings.Fields(r.run("mirror", "address", "hub.example.com/acme/app:v1", "hub.example.com/acme/app:one"))
			want := []string{"hub.example.com/acme/app@" + from.v1, "hub.example.com/acme/app@" + from.one}
			if strings.Join(at, " ") != strings.Join(want, " ") {
				t.Errorf("published as %s, not as %s", at, want)
			}
			server := strings.TrimPrefix(servePublish(t, r).url, "http://")
			for _, name := range at {
				dir := t.TempDir()
				command(t, "skopeo", "copy", "--all", "--src-tls-verify=false", "docker://"+server+"/"+name, "dir:"+dir)
				data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
				if err != nil || !strings.HasSuffix(name, "@"+digestOf(string(data))) {
					t.Errorf("%s: %v, %s", name, err, digestOf(string(data)))
				}
			}
			// A tag that moves there: what it stood for before stays, unless somebody accepts
			// the new one.
			newer := newSource(t, "newer")
			command(t, "skopeo", "copy", "--all", "--dest-tls-verify=false", "oci:"+newer.dir+":one",
				"docker://"+host+"/acme/app:one")
			r.run("mirror", "add", "hub.example.com/acme/app:one")
			r.run("mirror", "run", "--once")
			if got := r.run("resolve", "hub.example.com/acme/app:one", "--in", "staging"); !strings.Contains(got, from.one) {
				t.Errorf("the tag stands for %s, and was not to be followed", got)
			}
			r.runIn(r.dir, 3, "mirror", "update")
			r.run("mirror", "update", "--accept-drift")
			r.run("mirror", "run", "--once")
			if got := r.run("resolve", "hub.example.com/acme/app:one", "--in", "staging"); !strings.Contains(got, newer.one) {
				t.Errorf("the tag stands for %s", got)
			}
			if got := r.run("resolve", "hub.example.com/acme/app:one"); !strings.Contains(got, from.one) {
				t.Errorf("production has %s before the promote", got)
			}
			// What is not there fails at once, and says so.
			id := strings.TrimSpace(r.run("mirror", "add", "hub.example.com/acme/none:v1"))
			r.runIn(r.dir, 1, "mirror", "run", "--once")
			if got := r.run("mirror", "status", id); !regexp.MustCompile(`(?m)^state: +failed \(not-found\)$`).MatchString(got) {
				t.Error(got)
			}
		})
	}
}

// What was mirrored is pulled by a Docker engine, by its tag and by its digest.
func TestMirrorDocker(t *testing.T) {
	need(t, "skopeo")
	found(t, "dockerd", "docker", "containerd", "runc")
	host, from := startOlareg(t), newSource(t, "pulled")
	command(t, "skopeo", "copy", "--all", "--dest-tls-verify=false", "oci:"+from.dir+":v1", "docker://"+host+"/acme/app:v1")
	r := newImages(t, "symlink")
	r.configure("format: oci\nmirror: {registries: {hub.example.com: {endpoints: [\"http://" + host + "\"]}}, promote: drained}\n")
	r.run("mirror", "add", "hub.example.com/acme/app:v1")
	r.run("mirror", "run", "--once")
	server := strings.TrimPrefix(servePublish(t, r).url, "http://")
	docker := startDocker(t)
	for _, name := range []string{"hub.example.com/acme/app:v1", strings.TrimSpace(r.run("mirror", "address",
		"hub.example.com/acme/app:v1"))} {
		docker("pull", "-q", server+"/"+name)
		got := docker("image", "inspect", "-f", "{{json .RepoDigests}}", server+"/"+name)
		if !strings.Contains(got, from.v1) {
			t.Errorf("%s: is pulled as %s, and not as %s", name, got, from.v1)
		}
	}
}
