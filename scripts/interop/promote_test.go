package interop_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/publish/scripts/interop/fixture"
	"example.com/publish/scripts/interop/oracle"
)

var modes = []string{"symlink", "rename"}

// The Incus client lists, resolves and downloads every image before, during
// and after promotes and reverts, with fresh documents and with old ones.
func TestOracle(t *testing.T) {
	need(t, "mksquashfs", "busybox", "xz")
	for _, mode := range modes {
		for name, serve := range map[string]func(*testing.T, string) string{"go": serveGo, "nginx": serveNginx} {
			t.Run(mode+"/"+name, func(t *testing.T) {
				t.Parallel()
				peer := tool(t)
				r := newRepo(t, mode)
				server := serve(t, r.production())
				images := fixture.Numbered(count("PUBLISH_ROUNDS", 3) + 2)
				images[0].Busybox = true
				r.split(images[0], "--alias", "sample")
				unified := filepath.Join(t.TempDir(), "incus_combined.tar.gz")
				if err := images[1].Unified(unified); err != nil {
					t.Fatal(err)
				}
				r.run("stage", "add", unified)
				want := r.staged()
				if len(want) != 3 {
					t.Fatalf("staged: %v", want)
				}
				r.run("promote", "-m", "first")
				offers(t, server, want)
				aliases, err := connect(t, server).Aliases()
				if err != nil || len(aliases["sample"]) != 2 || len(aliases[images[0].Alias()]) != 2 ||
					len(aliases[images[1].Alias()]) != 1 {
					t.Errorf("aliases %v: %v", aliases, err)
				}

				// Old clients: one that knows the documents' words, and
				// Incus's own with its cache.
				var snapshots []*oracle.Snapshot
				var clients []*oracle.Incus
				var offered []map[string][]string
				remember := func() {
					client := connect(t, server)
					if _, err := client.Images(); err != nil {
						t.Fatal(err)
					}
					snapshots, clients = append(snapshots, take(t, server)), append(clients, client)
					offered = append(offered, want)
				}
				ask := func(when string) {
					t.Helper()
					for i := range snapshots {
						if err := snapshots[i].Fetch(t.Context(), http.DefaultClient); err != nil {
							t.Errorf("%s: an index of old: %v", when, err)
						}
						got, err := clients[i].DownloadAll()
						if err != nil || !slices.Equal(slices.Sorted(maps.Keys(got)),
							slices.Sorted(maps.Keys(offered[i]))) {
							t.Errorf("%s: a client of old, %d images, want %d: %v", when, len(got), len(offered[i]),
								err)
						}
					}
					offers(t, server, want)
					if _, err := peer.Run(r.production(), "verify"); err != nil {
						t.Errorf("%s: %v", when, err)
					}
				}
				remember()
				for i, image := range images[2:] {
					r.split(image)
					r.run("stage", "remove", images[i].Product()) // the oldest
					before := want
					during(t, server, func() { r.run("promote", "--force") })
					want = r.staged()
					ask("after a promote")
					remember()
					after := want
					want = before
					during(t, server, func() { r.run("revert") })
					ask("after a revert")
					want = after
					during(t, server, func() { r.run("promote", "--force") })
					ask("after the promote that followed a revert")
				}
			})
		}
	}
}

// offers checks that a client that asks for the first time gets just the
// wanted images, whole.
func offers(t *testing.T, server string, want map[string][]string) {
	t.Helper()
	got, err := connect(t, server).DownloadAll()
	if err != nil {
		t.Error(err)
	}
	if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, slices.Sorted(maps.Keys(want))) {
		t.Errorf("the server offers %v, want %v", have, want)
	}
}

// during lets new clients download everything, one after the other, while do
// runs.
func during(t *testing.T, server string, do func()) {
	t.Helper()
	var ended atomic.Bool
	var wg sync.WaitGroup
	caches := t.TempDir()
	wg.Go(func() {
		for last := false; !last; {
			last = ended.Load()
			dir, err := os.MkdirTemp(caches, "")
			if err != nil {
				t.Error(err)
				return
			}
			client, err := oracle.Connect(server, dir)
			if err == nil {
				_, err = client.DownloadAll()
			}
			if err != nil {
				t.Errorf("during a switch: %v", err)
				return
			}
		}
	})
	defer wg.Wait()
	defer ended.Store(true)
	do()
}

// A tree of 200 images by incus-simplestreams is imported, promoted, changed,
// promoted, reverted; after each step every index of old is fetched whole.
func TestImportFromIncusSimplestreams(t *testing.T) {
	n := count("PUBLISH_IMAGES", 200)
	tree := peerTree(t, n)
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			r := newRepo(t, mode)
			server := serveGo(t, r.production())
			var snapshots []*oracle.Snapshot
			step := func(args ...string) {
				t.Helper()
				r.run(args...)
				for i, s := range snapshots {
					if err := s.Fetch(t.Context(), http.DefaultClient); err != nil {
						t.Errorf("after %v: the index of step %d: %v", args, i, err)
					}
				}
				if _, err := tool(t).Run(r.production(), "verify"); err != nil {
					t.Errorf("after %v: %v", args, err)
				}
				snapshots = append(snapshots, take(t, server))
			}
			r.run("stage", "import", tree)
			want := r.staged()
			if len(want) != n {
				t.Fatalf("%d of %d images were imported", len(want), n)
			}
			r.run("validate", "staging")
			step("promote", "-m", "imported")
			offers(t, server, want)

			images := fixture.Numbered(n + 1)
			r.split(images[n])
			r.run("stage", "remove", images[0].Product(), images[1].Product())
			step("promote", "-m", "changed")
			changed := r.staged()
			if len(changed) != n {
				t.Errorf("%d images, want %d - 2 + 2", len(changed), n)
			}
			step("revert", "-m", "back")
			offers(t, server, want)
			r.runIn(r.dir, 6, "promote") // what an operator took back stays back
			step("promote", "--force", "-m", "after all")
			offers(t, server, changed)
			if got := r.generation(); got != 4 {
				t.Errorf("generation %d, want 4", got)
			}
			r.run("verify")
		})
	}
}

// What an index named goes when its window has ended, and not before.
func TestWindowEnds(t *testing.T) {
	tree := peerTree(t, 5)
	const grace = 3 * time.Second
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t, mode)
			r.configure("switch: " + mode + "\ngrace: 3s\n")
			server := serveGo(t, r.production())
			r.run("stage", "import", tree)
			r.run("promote")
			old := take(t, server)
			images := fixture.Numbered(5)
			r.run("stage", "remove", images[0].Product(), images[1].Product())
			start := time.Now()
			r.run("promote")
			var gone error
			until(t, func() bool {
				r.run("gc")
				gone = old.Fetch(t.Context(), http.DefaultClient)
				if gone != nil && time.Since(start) < grace {
					t.Fatalf("gone after %v: %v", time.Since(start), gone)
				}
				return gone != nil && len(strings.Split(gone.Error(), "\n")) == 4
			})
			if !oracle.Lost(gone) {
				t.Errorf("a file that should be gone is another: %v", gone)
			}
			// What the new index names stayed, and the old tree has gone: its
			// window ended at the same moment.
			if err := take(t, server).Fetch(t.Context(), http.DefaultClient); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(r.dir, "generations/000001")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the old tree is kept: %v", err)
			}
			r.run("verify")
			r.runIn(r.dir, 5, "revert", "1")
		})
	}
}

// Readers behind nginx meet no failed request, and nothing that is not what
// an index promised, over hundreds of promotes and reverts. publish runs with
// a umask that shuts others out; nginx's workers are others.
func TestNginxNoFailedRequest(t *testing.T) {
	need(t, "mksquashfs", "xz", "nginx")
	cycles := count("PUBLISH_CYCLES", 100)
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			r := newRepo(t, mode)
			r.umask = "077"
			server, plain := serveNginx(t, r.production()), serveGo(t, r.production())
			images := fixture.Numbered(cycles + 3)
			for _, image := range images[:3] {
				r.container(image)
			}
			r.run("promote")

			transport := &http.Transport{MaxIdleConnsPerHost: 8}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var requests atomic.Int64
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if err := read(ctx, client, server, &requests); err != nil {
						t.Error(err)
					}
				})
			}
			// nginx answers 304 for just the date that it gave, Go for any
			// later one too.
			var proxies []*oracle.Cached
			for _, s := range []string{server, plain} {
				for _, document := range []string{"/streams/v1/index.json", "/streams/v1/images.json"} {
					proxies = append(proxies, &oracle.Cached{URL: s + document})
				}
			}
			// What a proxy holds after it has asked is what is there: a
			// switch never hides behind an old date.
			truth := func(when string) {
				t.Helper()
				for _, c := range proxies {
					status, err := c.Refresh(ctx, client)
					if err != nil {
						t.Fatalf("%s: %v", when, err)
					}
					is, err := os.ReadFile(filepath.Join(r.production(), "streams/v1", path.Base(c.URL)))
					if err != nil {
						t.Fatal(err)
					}
					if string(is) != string(c.Body) {
						t.Fatalf("%s: %s: status %d, and a proxy holds another document", when, c.URL, status)
					}
				}
			}
			for i := range cycles {
				if t.Failed() {
					break
				}
				r.container(images[3+i])
				r.run("stage", "remove", images[i].Product())
				r.run("promote", "--force")
				truth("after a promote")
				r.run("revert")
				truth("after a revert")
				until(t, func() bool { return requests.Load() > int64(i) })
			}
			cancel()
			wg.Wait()
			t.Logf("%s: %d promotes, %d reverts, %d requests", mode, cycles+1, cycles, requests.Load())
			r.run("verify")
		})
	}
}

// read is a client that reads the documents again and again, and fetches what
// they named, some of it much later. It returns the first failure.
func read(ctx context.Context, client *http.Client, server string, requests *atomic.Int64) error {
	var held []oracle.Item // what any index named so far; the window is longer than the test
	for {
		snapshot, err := oracle.Take(ctx, client, server)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return errors.Join(errors.New("documents"), err)
		}
		requests.Add(2)
		held = append(held, snapshot.Items...)
		for range 8 {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(rand.N(20 * time.Millisecond)):
			}
			item := snapshot.Items[rand.N(len(snapshot.Items))]
			if rand.N(2) == 0 {
				item = held[rand.N(len(held))]
			}
			if err := item.Fetch(ctx, client, server); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			requests.Add(1)
		}
	}
}
