//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// The peers with OCI images, as the table names them.
const (
	skopeoCopy = "skopeo copy oci: oci:, sync -f"
	skopeoFrom = "skopeo copy oci-archive: oci:, sync -f"
	skopeoTo   = "skopeo copy oci: oci-archive:, sync -f"
	orasCopy   = "oras cp, sync -f"
	umociGC    = "umoci gc"
	umociRm    = "umoci rm, umoci gc"
	regctlRm   = "regctl tag delete"
)

// imageRepo is the repository of images within a tree.
const imageRepo = "docker.io/acme/app"

// newImages makes a repository of format oci at dir, with more lines of configuration.
func (w *workshop) newImages(dir, more string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if _, err := w.bench.do(command{argv: []string{w.bench.bin, "init", "--quiet", "--format", "oci", dir}}); err != nil {
		return err
	}
	w.imported = time.Now()
	return os.WriteFile(filepath.Join(dir, "publish.yaml"), []byte("format: oci\n"+more), 0o644)
}

// lists checks that the index of a layout names a digest.
func lists(dir, digest string) error {
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err == nil && !bytes.Contains(data, []byte(digest)) {
		err = fmt.Errorf("%s: does not name %s", dir, digest)
	}
	return err
}

// synced are commands, and then what makes their work durable.
func synced(dir string, argv ...[]string) []command {
	var out []command
	for _, a := range append(argv, []string{"sync", "-f", dir}) {
		out = append(out, command{argv: a})
	}
	return out
}

// imageFiles brings a large image in as a layout and as an archive, and out again.
func (b *bench) imageFiles(ctx context.Context) error {
	const size, layers = 2 << 10, 8 // MiB
	if !b.wants("oci-add", size) && !b.wants("oci-add-archive", size) && !b.wants("oci-export", size) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	source, repo, peer := w.path("source"), w.path("repo"), w.path("peer")
	archive, exported := w.path("archive.tar"), w.path("exported.tar")
	bytes := int64(b.n(size)) << 20
	digest, err := oneImage(source, "large", layers, bytes/layers)
	if err != nil {
		return err
	}
	if _, err := b.do(command{argv: []string{"tar", "-cf", archive, "-C", source, "oci-layout", "index.json",
		"blobs"}}); err != nil {
		return err
	}
	name := imageRepo + ":v1"
	fresh := func(int) error { return w.newImages(repo, "") }
	staged := func(int, []byte) error { return lists(filepath.Join(repo, "staging", imageRepo), digest) }
	copied := func(int, []byte) error { return lists(peer, digest) }
	gone := func(int) error { return emptied(peer) }
	skopeo := func(from, to string) []string {
		return []string{"skopeo", "--insecure-policy", "copy", "-q", "--preserve-digests", from, to}
	}
	err = b.measure(ctx, experiment{name: "oci-add", size: size, items: b.n(size), contenders: []contender{
		{name: ours, prepare: fresh, check: staged,
			run: func(int) []command { return b.publish(repo, "stage", "add", "--name", name, source) }},
		{name: skopeoCopy, missing: b.missing("skopeo"), prepare: gone, check: copied,
			run: func(int) []command { return synced(peer, skopeo("oci:"+source+":v1", "oci:"+peer+":v1")) }},
		{name: orasCopy, missing: b.missing("oras"), prepare: gone, check: copied, run: func(int) []command {
			return synced(peer, []string{"oras", "cp", "--no-tty", "--from-oci-layout", "--to-oci-layout", source + ":v1",
				peer + ":v1"})
		}},
	}})
	if err != nil {
		return err
	}
	err = b.measure(ctx, experiment{name: "oci-add-archive", size: size, items: b.n(size), contenders: []contender{
		{name: ours, prepare: fresh, check: staged,
			run: func(int) []command { return b.publish(repo, "stage", "add", "--name", name, archive) }},
		{name: skopeoFrom, missing: b.missing("skopeo"), prepare: gone, check: copied,
			run: func(int) []command { return synced(peer, skopeo("oci-archive:"+archive, "oci:"+peer+":v1")) }},
	}})
	if err != nil || !b.wants("oci-export", size) {
		return err
	}
	if err := errors.Join(os.RemoveAll(archive), fresh(0)); err != nil {
		return err
	}
	if _, err := b.do(append(b.publish(repo, "stage", "add", "--name", name, source),
		b.publish(repo, "promote", "-q")...)...); err != nil {
		return err
	}
	whole := func(path string) func(int, []byte) error {
		return func(int, []byte) error {
			fi, err := os.Stat(path)
			if err == nil && fi.Size() < bytes {
				err = fmt.Errorf("%s has %d bytes", path, fi.Size())
			}
			return err
		}
	}
	return b.measure(ctx, experiment{name: "oci-export", size: size, items: b.n(size), contenders: []contender{
		{name: ours, prepare: func(int) error { return os.RemoveAll(exported) }, check: whole(exported),
			run: func(int) []command { return b.publish(repo, "export", "-o", exported, name) }},
		{name: skopeoTo, missing: b.missing("skopeo"), prepare: func(int) error { return os.RemoveAll(exported) },
			check: whole(exported), run: func(int) []command {
				return synced(w.dir, skopeo("oci:"+filepath.Join(repo, "production", imageRepo)+":v1",
					"oci-archive:"+exported+":v1"))
			}},
	}})
}

// imageBytes validates a few gigabytes in large blobs.
func (b *bench) imageBytes(ctx context.Context) error {
	const size, layers = 4 << 10, 64 // MiB
	if !b.wants("oci-validate", size) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	repo := w.path("repo")
	if err := w.newImages(repo, ""); err != nil {
		return err
	}
	dir := filepath.Join(repo, "staging", imageRepo)
	if _, err := oneImage(dir, "large", layers, int64(b.n(size))<<20/layers); err != nil {
		return err
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil {
		return err
	}
	return b.measure(ctx, experiment{name: "oci-validate", size: size, items: len(blobs), contenders: []contender{
		{name: ours, prepare: func(int) error { return w.forget(repo) },
			check: valid(len(blobs)),
			run:   func(int) []command { return b.publish(repo, "validate", "--json") }},
		{name: openssl, missing: b.missing("openssl"), run: func(int) []command {
			return one("", append([]string{"openssl", "dgst", "-sha256"}, blobs...)...)
		}},
	}})
}

// forget empties the caches of a repository: that of hashes, and that of manifests.
func (w *workshop) forget(repo string) error {
	return errors.Join(os.Truncate(filepath.Join(repo, ".publish", "hashes"), 0),
		os.RemoveAll(filepath.Join(repo, ".publish", "facts")))
}

// valid checks that validate has looked at so many blobs.
func valid(blobs int) func(int, []byte) error {
	return func(_ int, out []byte) error {
		var res struct{ Checked struct{ Files int } }
		if err := json.Unmarshal(out, &res); err != nil {
			return err
		}
		if res.Checked.Files < blobs {
			return fmt.Errorf("%s", out)
		}
		return nil
	}
}

// imageNames are the experiments with a repository of many tags.
var imageNames = []string{"oci-prune", "oci-prune-again", "oci-remove", "oci-promote", "oci-promote-same",
	"oci-validate-tags"}

// tags are the cases with a repository of so many tags, each with a manifest, a config
// and a layer of its own.
func tags(size int) func(*bench, context.Context) error {
	return func(b *bench, ctx context.Context) error {
		wanted := false
		for _, name := range imageNames {
			wanted = wanted || b.wants(name, size)
		}
		if !wanted {
			return nil
		}
		w, err := b.workshop()
		if err != nil {
			return err
		}
		defer w.remove()
		t := &imageSite{workshop: w, size: size, n: b.n(size), repo: w.path("repo"), tree: w.path("tree")}
		if size > 50_000 {
			t.rounds = 3
		}
		t.dir = filepath.Join(t.repo, "staging", imageRepo)
		if err := errors.Join(w.newImages(t.repo, t.config()), manyTags(t.dir, t.n)); err != nil {
			return err
		}
		for _, f := range []func(context.Context) error{t.validates, t.prunes, t.promotes, t.removes} {
			if err := f(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// imageSite is such a repository, and an equal layout for its peers.
type imageSite struct {
	*workshop
	size, n, rounds int
	repo, dir, tree string
	images          int // staged so far
	removed         map[string]int
	last            time.Time // when something was switched
}

// config keeps nine tenths of the tags.
func (t *imageSite) config() string {
	return fmt.Sprintf("grace: %s\norphan_grace: 1ns\ntags: [{repository: \"**\", tag: \"sha-.*\", keep_last: %d}]\n",
		grace, t.n*9/10)
}

func (t *imageSite) measure(ctx context.Context, name string, contenders ...contender) error {
	return t.bench.measure(ctx, experiment{name: name, size: t.size, items: t.n, rounds: t.rounds,
		catalog: filepath.Join(t.dir, "index.json"), contenders: contenders})
}

// wants reports whether one of some experiments was asked for.
func (t *imageSite) wants(names ...string) bool {
	for _, name := range names {
		if t.bench.wants(name, t.size) {
			return true
		}
	}
	return false
}

// peerTree makes the layout of the peers, equal to what is staged.
func (t *imageSite) peerTree(dir string) error {
	_, err := t.bench.do(command{argv: []string{"rm", "-rf", dir}}, command{argv: []string{"cp", "-a", t.dir, dir}})
	return err
}

func (t *imageSite) validates(ctx context.Context) error {
	return t.measure(ctx, "oci-validate-tags", contender{name: ours,
		prepare: func(int) error { return t.forget(t.repo) }, check: valid(3 * t.n),
		run: func(int) []command { return t.bench.publish(t.repo, "validate", "--json") }})
}

// prunes plans what to drop: a tenth, with nothing known and with all known.
func (t *imageSite) prunes(ctx context.Context) error {
	if !t.wants("oci-prune", "oci-prune-again") {
		return nil
	}
	b, plan := t.bench, t.path("plan.json")
	own := contender{name: ours, run: func(int) []command { return b.publish(t.repo, "prune", "--plan", plan) },
		check: func(int, []byte) error {
			data, err := os.ReadFile(plan)
			if err != nil {
				return err
			}
			var p struct{ Remove []json.RawMessage }
			if err := json.Unmarshal(data, &p); err != nil || len(p.Remove) != t.n-t.n*9/10 {
				return fmt.Errorf("%d tags would be pruned, not %d: %v", len(p.Remove), t.n-t.n*9/10, err)
			}
			return nil
		}}
	var peers []contender
	if t.size == 20_000 {
		peers = append(peers, contender{name: umociGC, missing: b.missing("umoci"),
			run: func(int) []command { return one("", "umoci", "gc", "--layout", t.tree) }})
		if err := t.peerTree(t.tree); err != nil {
			return err
		}
	}
	cold := own
	cold.prepare = func(int) error { return t.forget(t.repo) }
	err := t.measure(ctx, "oci-prune", append([]contender{cold}, peers...)...)
	if err != nil || !t.wants("oci-prune-again") {
		return err
	}
	time.Sleep(time.Until(t.imported.Add(2 * time.Second))) // a file as young as its hash is read again
	if _, err := b.do(b.publish(t.repo, "prune", "--plan", plan)...); err != nil {
		return err
	}
	return t.measure(ctx, "oci-prune-again", append([]contender{own}, peers...)...)
}

// removes takes one tag away, and its blobs.
func (t *imageSite) removes(ctx context.Context) error {
	if t.size != 20_000 || !t.wants("oci-remove") {
		return nil
	}
	b := t.bench
	if err := os.WriteFile(filepath.Join(t.repo, "publish.yaml"), []byte("format: oci\norphan_grace: 1ns\n"),
		0o644); err != nil {
		return err
	}
	t.removed = map[string]int{}
	next := func(dir string) string { t.removed[dir]++; return tagName(t.removed[dir]) }
	check := func(dir string) func(int, []byte) error {
		before, _ := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
		had := len(before)
		return func(int, []byte) error {
			now, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
			if err == nil && len(now) != had-3*t.removed[dir] {
				err = fmt.Errorf("%d blobs, were %d", len(now), had)
			}
			return err
		}
	}
	peers := map[string]string{}
	for _, name := range []string{"umoci", "regctl"} {
		peers[name] = t.path(name)
		if b.missing(name) == "" {
			if err := t.peerTree(peers[name]); err != nil {
				return err
			}
		}
	}
	return t.measure(ctx, "oci-remove",
		contender{name: ours, check: check(t.dir), run: func(int) []command {
			return append(b.publish(t.repo, "stage", "remove", imageRepo+":"+next(t.dir)), b.publish(t.repo, "prune", "-q")...)
		}},
		contender{name: umociRm, missing: b.missing("umoci"), check: check(peers["umoci"]), run: func(int) []command {
			return []command{{argv: []string{"umoci", "rm", "--image", peers["umoci"] + ":" + next(peers["umoci"])}},
				{argv: []string{"umoci", "gc", "--layout", peers["umoci"]}}}
		}},
		contender{name: regctlRm, missing: b.missing("regctl"), rounds: 1, run: func(int) []command {
			return one("", "regctl", "tag", "delete", "ocidir://"+peers["regctl"]+":"+next(peers["regctl"]))
		}})
}

// promotes measures a promote of one new tag in the steady state, and one of nothing.
func (t *imageSite) promotes(ctx context.Context) error {
	if !t.wants("oci-promote", "oci-promote-same") {
		return nil
	}
	b := t.bench
	err := t.switchTo()
	for range 2 {
		if err == nil {
			err = t.stageOne(0)
		}
		if err == nil {
			err = t.switchTo()
		}
	}
	if err == nil {
		err = t.peerTree(t.tree)
	}
	if err != nil {
		return err
	}
	clone, old := t.path("clone"), t.path("clone-old")
	err = t.measure(ctx, "oci-promote",
		contender{name: ours, prepare: t.stageOne, switched: switchUS,
			run: func(int) []command { return b.publish(t.repo, "promote", "--json") },
			check: func(_ int, out []byte) error {
				t.last = time.Now()
				var res switched
				if err := json.Unmarshal(out, &res); err != nil || res.Unchanged || len(res.Added) != 1 {
					return fmt.Errorf("%s", out)
				}
				if _, err := os.Lstat(fmt.Sprintf("%s/generations/%06d", t.repo, res.Generation-2)); err == nil {
					return fmt.Errorf("generation %d was due, and is still there", res.Generation-2)
				}
				return nil
			}},
		contender{name: cpalSyncRm,
			prepare: func(int) error {
				if err := errors.Join(os.RemoveAll(clone), os.RemoveAll(old)); err != nil {
					return err
				}
				_, err := b.do(command{argv: []string{"cp", "-al", t.tree, old}})
				return err
			},
			run: func(int) []command {
				return []command{{argv: []string{"cp", "-al", t.tree, clone}}, {argv: []string{"sync", "-f", clone}},
					{argv: []string{"rm", "-rf", old}}}
			}})
	if err != nil {
		return err
	}
	return t.measure(ctx, "oci-promote-same",
		contender{name: ours, run: func(int) []command { return b.publish(t.repo, "promote", "--json") },
			check: func(_ int, out []byte) error {
				var res switched
				if err := json.Unmarshal(out, &res); err != nil || !res.Unchanged {
					return fmt.Errorf("%s", out)
				}
				return nil
			}},
		contender{name: find, run: func(int) []command {
			return one("", "find", t.repo+"/staging", "-fprintf", "/dev/null", "%s %i %T@ %C@\n")
		}})
}

// switchTo is a promote that is not measured.
func (t *imageSite) switchTo() error {
	_, err := t.bench.do(t.bench.publish(t.repo, "promote", "-q")...)
	t.last = time.Now()
	return err
}

// stageOne adds an image to staging.
func (t *imageSite) stageOne(int) error {
	t.images++
	name := fmt.Sprint("added", t.images)
	dir := t.path(name)
	if _, err := oneImage(dir, name, 1, 4<<10); err != nil {
		return err
	}
	_, err := t.bench.do(t.bench.publish(t.repo, "stage", "add", "--name", imageRepo+":"+name, dir)...)
	time.Sleep(time.Until(t.last.Add(grace * 6 / 5)))
	return err
}
