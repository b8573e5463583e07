package interop_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A tree of incus-simplestreams behind nginx is mirrored, and the Incus client gets all
// images of it from here, with the fingerprints that they have there.
func TestMirrorStreams(t *testing.T) {
	need(t, "nginx")
	tree := peerTree(t, count("PUBLISH_IMAGES", 12))
	upstream := serveNginx(t, tree)
	theirs, err := connect(t, upstream).DownloadAll()
	if err != nil {
		t.Fatal(err)
	}
	r := newRepo(t, "symlink")
	r.configure("mirror: {address: images.example.com}\n")
	r.run("mirror", "add", upstream+"/streams/v1/index.json#*")
	r.run("mirror", "run", "--once")
	want := r.staged()
	if here := slices.Sorted(maps.Keys(want)); !slices.Equal(here, slices.Sorted(maps.Keys(theirs))) {
		t.Fatalf("%d images were mirrored, and the server has %d", len(here), len(theirs))
	}
	r.run("validate", "--full", "staging")
	r.run("promote", "-m", "mirrored")
	server := serveNginx(t, r.production())
	offers(t, server, want)
	if err := take(t, server).Fetch(t.Context(), http.DefaultClient); err != nil {
		t.Error(err)
	}
	if _, err := tool(t).Run(r.production(), "verify"); err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(r.run("mirror", "address", upstream+"#*")), "\n")
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) < 2 || want[fields[1]] == nil || !strings.HasPrefix(line, "images.example.com#") {
			t.Errorf("the address %s", line)
		}
	}
	if len(lines) != len(want) {
		t.Errorf("%d addresses of %d images", len(lines), len(want))
	}
	// The peer removes an image, and drops its files: here it stays, and nothing fails.
	first := strings.Fields(lines[0])[1]
	if _, err := tool(t).Run(tree, "remove", first); err != nil {
		t.Fatal(err)
	}
	r.run("mirror", "add", upstream+"#*")
	r.run("mirror", "run", "--once")
	if got := r.staged(); len(got) != len(want) {
		t.Errorf("%d images are staged, not %d", len(got), len(want))
	}
	if got := r.run("mirror", "list"); strings.Count(got, " staged ")+strings.Count(got, " published ") != 2 {
		t.Error(got)
	}
}
