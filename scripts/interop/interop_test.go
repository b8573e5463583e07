// Package interop_test runs the publish program beside the programs that its
// users have: the Incus client library, incus-simplestreams, nginx.
//
// The program is $PUBLISH_BIN, or else is built. A peer that is missing skips
// a test, and with CI set fails it.
package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/scripts/interop/fixture"
	"example.com/publish/scripts/interop/oracle"
)

var shared struct {
	dir     string // for what all tests use
	publish func() (string, error)
	tool    func() (oracle.Tool, error)
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "publish-interop-")
	if err != nil {
		panic(err)
	}
	shared.dir = dir
	shared.publish = sync.OnceValues(func() (string, error) {
		if name := os.Getenv("PUBLISH_BIN"); name != "" {
			return filepath.Abs(name)
		}
		name := filepath.Join(dir, "publish")
		cmd := exec.Command("go", "build", "-o", name, "./cmd/publish")
		cmd.Dir = filepath.Join("..", "..")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", errors.New("build publish: " + string(out))
		}
		return name, nil
	})
	shared.tool = sync.OnceValues(func() (oracle.Tool, error) { return oracle.BuildTool(dir) })
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// need skips or fails a test for which a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if _, err := exec.LookPath("/usr/sbin/" + name); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing", name)
		}
		t.Skipf("%s is missing: `make deps` installs it on Debian", name)
	}
}

func tool(t *testing.T) oracle.Tool {
	t.Helper()
	tool, err := shared.tool()
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

// openDir is a temporary directory that other users can enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// repo is a repository and the program that works on it.
type repo struct {
	t       *testing.T
	dir     string
	program string
	umask   string
}

// newRepo runs init.
func newRepo(t *testing.T, mode string) *repo {
	t.Helper()
	program, err := shared.publish()
	if err != nil {
		t.Fatal(err)
	}
	r := &repo{t: t, dir: filepath.Join(openDir(t), "repo"), program: program, umask: "022"}
	r.runIn("", 0, "init", "--switch", mode, r.dir)
	return r
}

// run runs the program in the repository and returns its standard output.
func (r *repo) run(args ...string) string {
	r.t.Helper()
	return r.runIn(r.dir, 0, args...)
}

func (r *repo) runIn(dir string, want int, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", `umask "$0"; exec "$@"`, r.umask, r.program}, args...)...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		r.t.Fatalf("publish %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, want, stdout.Bytes(),
			stderr.Bytes())
	}
	return stdout.String()
}

func (r *repo) production() string { return filepath.Join(r.dir, "production") }

// configure replaces publish.yaml.
func (r *repo) configure(text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, "publish.yaml"), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// split makes an image and stages it as a container and a virtual machine.
func (r *repo) split(image fixture.Image, flags ...string) {
	r.t.Helper()
	dir := filepath.Join(r.t.TempDir(), "image")
	if err := image.Split(dir); err != nil {
		r.t.Fatal(err)
	}
	args := append([]string{"stage", "add"}, flags...)
	r.run(append(args, dir)...)
}

// container stages the container alone: the smallest image.
func (r *repo) container(image fixture.Image) {
	r.t.Helper()
	dir := r.t.TempDir()
	meta, root := filepath.Join(dir, "incus.tar.xz"), filepath.Join(dir, "rootfs.squashfs")
	if err := errors.Join(image.Metadata(meta), image.Squashfs(root)); err != nil {
		r.t.Fatal(err)
	}
	r.run("stage", "add", meta, root)
}

// staged are the fingerprints of `stage list`, each with its aliases.
func (r *repo) staged() map[string][]string {
	r.t.Helper()
	list := map[string][]string{}
	dec := json.NewDecoder(strings.NewReader(r.run("stage", "list", "--json")))
	for {
		var line struct {
			Fingerprint string
			Aliases     []string
		}
		if err := dec.Decode(&line); err == io.EOF {
			return list
		} else if err != nil {
			r.t.Fatal(err)
		}
		list[line.Fingerprint] = line.Aliases
	}
}

// generation is what `status` says is live.
func (r *repo) generation() int {
	r.t.Helper()
	var status struct{ Production struct{ Generation int } }
	if err := json.Unmarshal([]byte(r.run("status", "--json")), &status); err != nil {
		r.t.Fatal(err)
	}
	return status.Production.Generation
}

// serveGo serves a directory by Go's file server.
func serveGo(t *testing.T, root string) string {
	t.Helper()
	server := httptest.NewServer(http.FileServer(http.Dir(root)))
	t.Cleanup(server.Close)
	return server.URL
}

func serveNginx(t *testing.T, root string) string {
	t.Helper()
	need(t, "nginx")
	server, err := oracle.StartNginx(openDir(t), root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Errorf("nginx: %v", err)
		}
	})
	return server.URL
}

func connect(t *testing.T, server string) *oracle.Incus {
	t.Helper()
	client, err := oracle.Connect(server, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func take(t *testing.T, server string) *oracle.Snapshot {
	t.Helper()
	snapshot, err := oracle.Take(context.Background(), http.DefaultClient, server)
	if err != nil {
		t.Fatal(err)
	}
	if len(snapshot.Items) == 0 {
		t.Fatal("the index names nothing")
	}
	return snapshot
}

// count reads a number from the environment, for longer runs.
func count(name string, usual int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return usual
}

// peerTree is a tree of n containers that incus-simplestreams made.
func peerTree(t *testing.T, n int) string {
	t.Helper()
	need(t, "mksquashfs", "xz")
	peer, tree, files := tool(t), openDir(t), t.TempDir()
	meta, root := filepath.Join(files, "incus.tar.xz"), filepath.Join(files, "rootfs.squashfs")
	for _, image := range fixture.Numbered(n) {
		if err := errors.Join(image.Metadata(meta), image.Squashfs(root)); err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Run(tree, "add", meta, root); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// The oracle itself, on a tree that the peer made: what it says of a good tree
// and of one that was spoilt.
func TestOracleOnPeersTree(t *testing.T) {
	tree := peerTree(t, 5)
	for name, serve := range map[string]func(*testing.T, string) string{"go": serveGo, "nginx": serveNginx} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, tree)
			images, err := connect(t, server).DownloadAll()
			if err != nil || len(images) != 5 {
				t.Fatalf("%d images: %v", len(images), err)
			}
			snapshot := take(t, server)
			if err := snapshot.Fetch(t.Context(), http.DefaultClient); err != nil || len(snapshot.Items) != 10 {
				t.Fatalf("%d items: %v", len(snapshot.Items), err)
			}
			client := connect(t, server)
			if _, err := client.Images(); err != nil {
				t.Fatal(err)
			}
			lost := filepath.Join(tree, snapshot.Items[0].Path)
			if err := os.Rename(lost, lost+".away"); err != nil {
				t.Fatal(err)
			}
			if err := snapshot.Fetch(t.Context(), http.DefaultClient); err == nil || !oracle.Lost(err) {
				t.Errorf("a lost file: %v", err)
			}
			if _, err := client.DownloadAll(); err == nil {
				t.Error("a client that lacks a file is content")
			}
			if err := os.WriteFile(lost, []byte("other"), 0o644); err != nil {
				t.Fatal(err)
			}
			var wrong oracle.BytesError
			if err := snapshot.Fetch(t.Context(), http.DefaultClient); !errors.As(err, &wrong) || oracle.Lost(err) {
				t.Errorf("a replaced file: %v", err)
			}
			if err := os.Rename(lost+".away", lost); err != nil {
				t.Fatal(err)
			}
			if err := snapshot.Items[0].Resume(t.Context(), http.DefaultClient, server, func() {}); err != nil {
				t.Errorf("a file in two parts: %v", err)
			}
			cached := oracle.Cached{URL: server + "/streams/v1/images.json"}
			for _, want := range []int{200, 304} {
				if status, err := cached.Refresh(t.Context(), http.DefaultClient); err != nil || status != want ||
					len(cached.Body) == 0 {
					t.Errorf("status %d, want %d: %v", status, want, err)
				}
			}

			proxy := &oracle.Proxy{To: http.DefaultTransport, ByTag: name == "nginx"} // Go has no tags
			for _, want := range []int{0, 2} {
				s, err := oracle.Take(t.Context(), &http.Client{Transport: proxy}, server)
				if err != nil || proxy.Unchanged != want || s.Torn != "" || len(s.Items) != 10 {
					t.Errorf("a proxy: %d documents by 304, want %d: %v %s", proxy.Unchanged, want, err, s.Torn)
				}
			}
			index := filepath.Join(tree, "streams/v1/index.json")
			whole, err := os.ReadFile(index)
			if err != nil {
				t.Fatal(err)
			}
			defer os.WriteFile(index, whole, 0o644)
			if err := os.WriteFile(index, bytes.Replace(whole, []byte("os004"), []byte("os005"), 1),
				0o644); err != nil {
				t.Fatal(err)
			}
			if s := take(t, server); s.Torn == "" {
				t.Error("an index that names another product than the catalog is taken for whole")
			}
		})
	}
}

// until polls for ten minutes at most, which no machine needs: what never
// comes fails the test, and does not hold up the gate.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for start := time.Now(); !done() && !t.Failed(); time.Sleep(100 * time.Millisecond) {
		if time.Since(start) > 10*time.Minute {
			t.Fatal("it did not come within ten minutes")
		}
	}
}
