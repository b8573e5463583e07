//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// The names of contenders, by which the table and the plot find their samples.
const (
	ours       = "publish"
	incus      = "incus-simplestreams"
	openssl    = "openssl dgst -sha256"
	cpalSync   = "cp -al, sync -f"
	cpalSyncRm = "cp -al, sync -f, rm -rf"
	find       = "find -printf"
	direct     = "dd oflag=direct conv=fsync"
	ostree     = "ostree commit"
	ostreeBoth = "ostree commit, checkout -H"
	ostreeFast = "ostree commit --link-checkout-speedup, checkout -H"
	// hashesAlone is this program: see hashes.
	hashesAlone = "the-same-hashes-alone"
	rcloneSync  = "rclone sync --checksum"
	awsSync     = "aws s3 sync --size-only"
)

// all are the groups of cases. Each makes its data once and removes it.
var all = []func(*bench, context.Context) error{
	(*bench).adds, (*bench).addsMany, (*bench).validates,
	trees(10), trees(100), trees(1_000), trees(10_000), trees(20_000), trees(100_000), (*bench).large,
	(*bench).switches, (*bench).statuses,
	prunes(10_000), prunes(30_000), prunes(100_000),
	(*bench).imageFiles, (*bench).imageBytes, tags(20_000), tags(100_000),
	(*bench).mirrors, (*bench).serves, (*bench).pulls, (*bench).views,
	(*bench).buckets, (*bench).bucketsMany, (*bench).bucketsLarge,
}

// adds stages one large image.
func (b *bench) adds(ctx context.Context) error {
	const size = 1 << 10 // MiB
	if !b.wants("add", size) && !b.wants("add-move", size) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	bytes := int64(b.n(size)) << 20
	img, err := makeImage(w.path("image"), "large", bytes)
	if err != nil {
		return err
	}
	repo, peer, copied, moved := w.path("repo"), w.path("peer"), w.path("copied"), w.path("moved")
	staged := func(dir string) func(int, []byte) error {
		return func(int, []byte) error { return holds(dir, "large", bytes) }
	}
	fresh := func(int) error { return w.newRepo(repo, "") }
	err = b.measure(ctx, experiment{name: "add", size: size, items: b.n(size), contenders: []contender{
		{name: ours, prepare: fresh, check: staged(repo + "/staging"),
			run: func(int) []command { return b.publish(repo, "stage", "add", img.metadata, img.root) }},
		{name: incus, missing: b.missing(b.incus), prepare: func(int) error { return emptied(peer) },
			check: staged(peer),
			run:   func(int) []command { return one(peer, b.incus, "add", img.metadata, img.root) }},
		{name: direct, prepare: func(int) error { return os.RemoveAll(copied) }, run: func(int) []command {
			return one("", "dd", "if="+img.root, "of="+copied, "bs=1M", "oflag=direct", "conv=fsync", "status=none")
		}},
		b.hashesAlone(img.metadata, img.root),
	}})
	if err != nil {
		return err
	}
	return b.measure(ctx, experiment{name: "add-move", size: size, items: b.n(size), contenders: []contender{
		{name: ours, check: staged(repo + "/staging"),
			prepare: func(int) error {
				if err := w.newRepo(repo, ""); err != nil {
					return err
				}
				_, err := b.do(command{argv: []string{"rm", "-rf", moved}},
					command{argv: []string{"cp", "-r", "--reflink=never", w.path("image"), moved}})
				return err
			},
			run: func(int) []command { return b.publish(repo, "stage", "add", "--move", moved) }},
		{name: openssl, missing: b.missing("openssl"), run: func(int) []command {
			return one("", "openssl", "dgst", "-sha256", img.root)
		}},
	}})
}

// addsMany stages many small images, a process each.
func (b *bench) addsMany(ctx context.Context) error {
	const size = 5_000
	if !b.wants("add-many", size) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	s := shape{versions: b.n(size), root: 1 << 10}
	tree, repo, peer := w.path("tree"), w.path("repo"), w.path("peer")
	if err := makeTree(tree, s); err != nil {
		return err
	}
	var images []image
	for i := range b.n(1_000) {
		img, err := makeImage(w.path(fmt.Sprint("image", i)), fmt.Sprint("new", i), 4<<10)
		if err != nil {
			return err
		}
		images = append(images, img)
	}
	last := fmt.Sprint("new", len(images)-1)
	loop := func(f func(image) []command) func(int) []command {
		return func(int) (out []command) {
			for _, i := range images {
				out = append(out, f(i)...)
			}
			return out
		}
	}
	return b.measure(ctx, experiment{name: "add-many", size: size, items: s.versions, rounds: 2,
		contenders: []contender{
			{name: ours, prepare: func(int) error { return w.newRepo(repo, tree) },
				run: loop(func(i image) []command { return b.publish(repo, "stage", "add", i.metadata, i.root) }),
				check: func(int, []byte) error {
					out, err := b.do(b.publish(repo, "stage", "list", "--json")...)
					if n := bytes.Count(out, []byte("\n")); err == nil && n != s.versions+len(images) {
						err = fmt.Errorf("%d images are staged", n)
					}
					return err
				}},
			{name: incus, missing: b.missing(b.incus),
				prepare: func(int) error {
					_, err := b.do(command{argv: []string{"rm", "-rf", peer}},
						command{argv: []string{"cp", "-a", tree, peer}})
					return err
				},
				run:   loop(func(i image) []command { return one(peer, b.incus, "add", i.metadata, i.root) }),
				check: func(int, []byte) error { return holds(peer, last, 4<<10) }},
		}})
}

// validates reads a few gigabytes of large files, or finds that it need not.
func (b *bench) validates(ctx context.Context) error {
	const size = 2_000
	if !b.wants("validate", size) && !b.wants("validate-again", size) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	s := shape{versions: b.n(size / 2), root: 4 << 20}
	tree, repo := w.path("tree"), w.path("repo")
	if err := makeTree(tree, s); err != nil {
		return err
	}
	if err := w.newRepo(repo, tree); err != nil {
		return err
	}
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	if err := w.validate(ctx, repo, size, s, 0); err != nil || !b.wants("validate-again", size) {
		return err
	}
	return w.validateAgain(ctx, repo, size, s)
}

// validate measures it with an empty cache.
func (w *workshop) validate(ctx context.Context, repo string, size int, s shape, rounds int) error {
	b, staging := w.bench, repo+"/staging"
	return b.measure(ctx, experiment{name: "validate", size: size, items: s.files(), rounds: rounds, catalog: staging +
		"/" + catalogName,
		contenders: []contender{
			{name: ours, prepare: func(int) error { return os.Truncate(repo+"/.publish/hashes", 0) },
				check: s.checked(false),
				run:   func(int) []command { return b.publish(repo, "validate", "--json") }},
			b.hashesAlone(staging + "/images"),
			b.verify(staging),
		}})
}

// validateAgain measures it with a full cache.
func (w *workshop) validateAgain(ctx context.Context, repo string, size int, s shape) error {
	b := w.bench
	time.Sleep(time.Until(w.imported.Add(2 * time.Second))) // a file as young as its hash is read again
	if _, err := b.do(b.publish(repo, "validate")...); err != nil {
		return err
	}
	return b.measure(ctx, experiment{name: "validate-again", size: size, items: s.files(), contenders: []contender{
		{name: ours, check: s.checked(true), run: func(int) []command { return b.publish(repo, "validate", "--json") }},
		b.verify(repo + "/staging"),
	}})
}

// hashesAlone computes what publish has to compute, and does nothing else.
func (b *bench) hashesAlone(args ...string) contender {
	self, err := os.Executable()
	c := contender{name: hashesAlone,
		run: func(int) []command { return one("", append([]string{self, hashesAlone}, args...)...) }}
	if err != nil {
		c.missing = err.Error()
	}
	return c
}

// verify is the peer's validate. It only reads.
func (b *bench) verify(tree string) contender {
	return contender{name: incus, missing: b.missing(b.incus),
		run: func(int) []command { return one(tree, b.incus, "verify") }}
}

// checked checks that all files were looked at, and whether they were read.
func (s shape) checked(cached bool) func(int, []byte) error {
	return func(_ int, out []byte) error {
		var res struct {
			Checked struct {
				Files       int
				HashedBytes int64 `json:"hashed_bytes"`
			}
		}
		if err := json.Unmarshal(out, &res); err != nil {
			return err
		}
		content := int64(s.versions) * s.root
		if res.Checked.Files < s.files() || (res.Checked.HashedBytes < content) != cached {
			return fmt.Errorf("%s", out)
		}
		return nil
	}
}

// prunes plans what to drop of so many versions: a tenth. Each has one file,
// which is kind to the peer, whose time grows with the square of the files.
func prunes(size int) func(*bench, context.Context) error {
	return func(b *bench, ctx context.Context) error {
		if !b.wants("prune", size) {
			return nil
		}
		w, err := b.workshop()
		if err != nil {
			return err
		}
		defer w.remove()
		s := shape{versions: b.n(size), unified: true, root: 512}
		tree, repo, plan := w.path("tree"), w.path("repo"), w.path("plan.json")
		if err := makeTree(tree, s); err != nil {
			return err
		}
		if err := w.newRepo(repo, tree); err != nil {
			return err
		}
		if err := os.RemoveAll(tree); err != nil {
			return err
		}
		keep := max(1, s.perProduct()*9/10)
		rules := fmt.Sprintf("retention: [{match: \"*\", keep_last: %d}]\n", keep)
		if err := os.WriteFile(repo+"/publish.yaml", []byte(rules), 0o644); err != nil {
			return err
		}
		drop := s.versions / s.perProduct() * (s.perProduct() - keep)
		drop += max(0, s.versions%s.perProduct()-keep)
		return b.measure(ctx, experiment{name: "prune", size: size, items: s.versions, catalog: repo + "/staging/" +
			catalogName, contenders: []contender{
			{name: ours, run: func(int) []command { return b.publish(repo, "prune", "--plan", plan) },
				check: func(int, []byte) error {
					data, err := os.ReadFile(plan)
					if err != nil {
						return err
					}
					var p struct{ Remove []json.RawMessage }
					if err := json.Unmarshal(data, &p); err != nil || len(p.Remove) != drop {
						return fmt.Errorf("%d versions would be pruned, not %d: %v", len(p.Remove), drop, err)
					}
					return nil
				}},
			{name: incus, rounds: 2, missing: b.missing(b.incus),
				run: func(int) []command {
					return one(repo+"/staging", b.incus, "prune", "--dry-run", "--retention", fmt.Sprint(keep-1))
				},
				check: func(_ int, out []byte) error {
					_, versions, _ := strings.Cut(string(out), "Following versions were removed:\n")
					if n := strings.Count(versions, "\n"); n != drop {
						return fmt.Errorf("%d versions would be pruned, not %d", n, drop)
					}
					return nil
				}},
		}})
	}
}
