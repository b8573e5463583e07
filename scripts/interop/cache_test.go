package interop_test

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/publish/scripts/interop/fixture"
)

// startSquid runs a cache in front of a server, and returns its address. It keeps what it
// may, and asks again for what it has to.
func startSquid(t *testing.T, server string) (url, log string) {
	t.Helper()
	found(t, "squid")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	dir := openDir(t)
	if err := os.Chmod(dir, 0o777); err != nil { // squid gives up root
		t.Fatal(err)
	}
	host, from, _ := strings.Cut(strings.TrimPrefix(server, "http://"), ":")
	log = filepath.Join(dir, "access.log")
	config := filepath.Join(dir, "squid.conf")
	text := fmt.Sprintf(`http_port 127.0.0.1:%d accel defaultsite=%s:%s no-vhost
cache_peer %[2]s parent %[3]s 0 no-query originserver name=origin
http_access allow all
cache_mem 64 MB
maximum_object_size_in_memory 8 MB
access_log stdio:%[4]s
cache_log %[5]s/cache.log
pid_filename none
coredump_dir %[5]s
shutdown_lifetime 0 seconds
`, port, host, from, log, dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	url = fmt.Sprintf("http://127.0.0.1:%d", port)
	daemon(t, []string{"curl", "-fsS", "-o", filepath.Join(dir, "ready"), url + "/streams/v1/index.json"}, "squid", "-N",
		"-f", config)
	return url, log
}

// A cache in front of publish serve keeps content, and asks again for each index: after a
// promote and a revert have ended, none of its clients gets the old one.
func TestCacheInFront(t *testing.T) {
	need(t, "mksquashfs", "xz", "curl")
	r := newRepo(t, "symlink")
	images := fixture.Numbered(4)
	r.split(images[0])
	r.run("promote")
	server := servePublish(t, r)
	cache, log := startSquid(t, server.url)
	get := func(path string) (string, string) {
		t.Helper()
		resp, err := http.Get(cache + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(path, resp.Status, err)
		}
		return string(data), resp.Header.Get("Publish-Generation")
	}
	const index, catalog = "streams/v1/index.json", "streams/v1/images.json"
	current := func(what string) {
		t.Helper()
		want := fmt.Sprint(r.generation())
		for range 3 {
			for _, path := range []string{index, catalog} {
				data, err := os.ReadFile(filepath.Join(r.production(), path))
				if err != nil {
					t.Fatal(err)
				}
				if got, n := get(path); got != string(data) {
					t.Fatalf("%s: %s is of generation %s, want %s", what, path, n, want)
				}
			}
		}
	}
	current("at first")
	content := ""
	if err := fs.WalkDir(os.DirFS(r.production()), "images", func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			content = p
		}
		return err
	}); err != nil || content == "" {
		t.Fatal(content, err)
	}
	for range 3 {
		get(content)
	}
	for _, image := range images[1:] {
		r.split(image)
		r.run("promote")
		current("after a promote")
	}
	r.run("revert")
	current("after a revert")
	r.run("promote", "--force", "-m", "again")
	current("after the next promote")
	said, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	hits, asked := 0, 0
	for line := range strings.Lines(string(said)) {
		switch {
		case strings.Contains(line, content) && strings.Contains(line, "_HIT/"):
			hits++
		case strings.Contains(line, "index.json") && strings.Contains(line, "_REFRESH_UNMODIFIED"):
			asked++
		}
	}
	if hits < 2 || asked < 3 {
		t.Errorf("%d times content came from the cache, %d times an index was asked for again\n%s", hits, asked, said)
	}
}
