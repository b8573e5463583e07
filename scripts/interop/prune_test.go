package interop_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"example.com/publish/scripts/interop/fixture"
)

// `incus-simplestreams prune -r N` keeps what keep_last N+1 keeps, and the
// files that it deletes at once are still served here.
func TestPruneAsPeer(t *testing.T) {
	need(t, "mksquashfs", "xz")
	peer, tree, files := tool(t), openDir(t), t.TempDir()
	meta, root := filepath.Join(files, "incus.tar.xz"), filepath.Join(files, "rootfs.squashfs")
	for os, versions := range map[string]int{"one": 1, "three": 3, "six": 6} {
		for v := range versions {
			image := fixture.Image{OS: os, Release: "1", Variant: "default", Created: time.Date(2026, 1, 1+v*v, v, 0, 0,
				0, time.UTC), Serial: fmt.Sprint(os, v)}
			if err := errors.Join(image.Metadata(meta), image.Squashfs(root)); err != nil {
				t.Fatal(err)
			}
			if _, err := peer.Run(tree, "add", meta, root); err != nil {
				t.Fatal(err)
			}
		}
	}
	for older := 1; older < 5; older++ {
		t.Run(fmt.Sprint(older), func(t *testing.T) {
			r := newRepo(t, "symlink")
			r.run("stage", "import", tree)
			r.run("promote")
			server := serveGo(t, r.production())
			before := take(t, server)
			r.configure(fmt.Sprintf("retention: [{match: \"*\", keep_last: %d}]\n", older+1))
			r.run("prune")
			got := slices.Sorted(maps.Keys(r.staged()))

			theirs := filepath.Join(openDir(t), "tree")
			if err := os.CopyFS(theirs, os.DirFS(tree)); err != nil {
				t.Fatal(err)
			}
			for range 2 { // it deletes the files of what it pruned the time before
				if _, err := peer.Run(theirs, "prune", "-r", fmt.Sprint(older)); err != nil {
					t.Fatal(err)
				}
			}
			images, err := connect(t, serveGo(t, theirs)).Images()
			if err != nil {
				t.Fatal(err)
			}
			if want := slices.Sorted(maps.Keys(images)); !slices.Equal(got, want) || len(want) == 0 {
				t.Errorf("publish keeps %v, incus-simplestreams %v", got, want)
			}

			r.run("promote")
			if _, err := connect(t, server).DownloadAll(); err != nil {
				t.Error(err)
			}
			if err := before.Fetch(t.Context(), http.DefaultClient); err != nil {
				t.Errorf("a client with the index from before: %v", err)
			}
			// Theirs lacks files as soon as there is something to lose.
			lost := false
			for _, item := range before.Items {
				_, err := os.Stat(filepath.Join(theirs, item.Path))
				lost = lost || errors.Is(err, os.ErrNotExist)
			}
			if lost != (len(images) < 10) {
				t.Errorf("incus-simplestreams left %d images, and lost files: %v", len(images), lost)
			}
		})
	}
}
