//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The names of contenders, by which the table and the plot find their samples.
const (
	ours       = "publish"
	incus      = "incus-simplestreams"
	openssl    = "openssl dgst -sha256"
	cpal       = "cp -al"
	cpalSync   = "cp -al, sync -f"
	ostree     = "ostree commit"
	ostreeBoth = "ostree commit, checkout -H"
	ostreeFast = "ostree commit --link-checkout-speedup, checkout -H"
)

// all are the groups of cases. Each makes its data once and removes it.
var all = []func(*bench, context.Context) error{
	(*bench).adds, (*bench).addsMany, (*bench).validates,
	trees(10), trees(100), trees(1_000), trees(10_000), trees(20_000), trees(100_000),
	(*bench).switches,
	prunes(10_000), prunes(30_000), prunes(100_000),
}

// adds stages one large image.
func (b *bench) adds(ctx context.Context) error {
	const size = 2 << 10 // MiB
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
		{name: incus, missing: b.missing(b.incus), prepare: func(int) error { return emptied(peer) }, check: staged(peer),
			run: func(int) []command { return one(peer, b.incus, "add", img.metadata, img.root) }},
		{name: "cp, sync -f", prepare: func(int) error { return os.RemoveAll(copied) },
			run: func(int) []command {
				return []command{{argv: []string{"cp", "--reflink=never", img.root, copied}}, {argv: []string{"sync", "-f", copied}}}
			}},
		{name: "sha256sum", run: func(int) []command { return one("", "sha256sum", img.root) }},
		{name: openssl, missing: b.missing("openssl"), run: func(int) []command { return one("", "openssl", "dgst", "-sha256", img.root) }},
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
				_, err := b.do(command{argv: []string{"rm", "-rf", moved}}, command{argv: []string{"cp", "-r", "--reflink=never", w.path("image"), moved}})
				return err
			},
			run: func(int) []command { return b.publish(repo, "stage", "add", "--move", moved) }},
		{name: openssl, missing: b.missing("openssl"), run: func(int) []command { return one("", "openssl", "dgst", "-sha256", img.root) }},
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
	return b.measure(ctx, experiment{name: "add-many", size: size, items: s.versions, rounds: 2, contenders: []contender{
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
				_, err := b.do(command{argv: []string{"rm", "-rf", peer}}, command{argv: []string{"cp", "-a", tree, peer}})
				return err
			},
			run:   loop(func(i image) []command { return one(peer, b.incus, "add", i.metadata, i.root) }),
			check: func(int, []byte) error { return holds(peer, last, 4<<10) }},
	}})
}

// validates reads a few large gigabytes, or finds that it need not.
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
	return b.measure(ctx, experiment{name: "validate", size: size, items: s.files(), rounds: rounds, catalog: staging + "/" + catalogName,
		contenders: []contender{
			{name: ours, prepare: func(int) error { return os.Truncate(repo+"/.publish/hashes", 0) }, check: s.checked(false),
				run: func(int) []command { return b.publish(repo, "validate", "--json") }},
			b.verify(staging),
			{name: "sha256sum", run: func(int) []command {
				return one(staging, "sh", "-c", "find images -type f -print0 | xargs -0 sha256sum")
			}},
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

// verify is the peer's validate. It only reads.
func (b *bench) verify(tree string) contender {
	return contender{name: incus, missing: b.missing(b.incus), run: func(int) []command { return one(tree, b.incus, "verify") }}
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

// switched is what promote and revert answer.
type switched struct {
	Generation, Origin int
	Unchanged          bool
	Added, Removed     []string
	SwitchUS           int64 `json:"switch_us"`
}

func switchUS(out []byte) (int64, error) {
	var res switched
	err := json.Unmarshal(out, &res)
	if err == nil && res.SwitchUS == 0 {
		err = fmt.Errorf("it does not tell how long the switch took: %s", out)
	}
	return res.SwitchUS, err
}

// treeNames are the experiments with a tree of small files.
var treeNames = []string{"promote", "promote-same", "promote-busy", "revert", "validate"}

// trees promotes and reverts a tree with so many files. The peers work on a
// tree of their own, equal and as old: links to the files of a repository
// would make publish believe no hash of them any more.
func trees(size int) func(*bench, context.Context) error {
	return func(b *bench, ctx context.Context) error {
		if !slices.ContainsFunc(treeNames, func(name string) bool { return b.wants(name, size) }) {
			return nil
		}
		w, err := b.workshop()
		if err != nil {
			return err
		}
		defer w.remove()
		t, err := w.site(size)
		if err != nil {
			return err
		}
		for _, f := range []func(context.Context) error{t.promotes, t.promotesBusy, t.promotesSame, t.reverts} {
			if err := f(ctx); err != nil {
				return err
			}
		}
		if size == 10_000 || size == 100_000 {
			if err := w.validate(ctx, t.repo, size, t.shape, 1); err != nil {
				return err
			}
		}
		return nil
	}
}

// site is a repository and an equal tree for its peers.
type site struct {
	*workshop
	size, rounds int
	shape        shape
	tree, repo   string
	images       int // staged so far
	grown        int // products that came to tree
}

// site makes one, with a first generation.
func (w *workshop) site(size int) (*site, error) {
	t := &site{workshop: w, size: size, shape: shape{versions: w.bench.n(size) / 2, root: 1 << 10},
		tree: w.path(fmt.Sprint("tree", size)), repo: w.path(fmt.Sprint("repo", size))}
	if size > 50_000 {
		t.rounds = 3
	}
	if err := makeTree(t.tree, t.shape); err != nil {
		return nil, err
	}
	if err := w.newRepo(t.repo, t.tree); err != nil {
		return nil, err
	}
	_, err := w.bench.do(w.bench.publish(t.repo, "promote", "-q")...)
	return t, err
}

// switches promotes trees of all sizes in turns: what takes its time from the
// switch until it is durable must not depend on the size.
func (b *bench) switches(ctx context.Context) error {
	const most = 100_000
	if !b.wants("switch", most) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	var contenders []contender
	for _, size := range []int{10, 1_000, most} {
		t, err := w.site(size)
		if err != nil {
			return err
		}
		contenders = append(contenders, t.promote(files(size)))
	}
	return b.measure(ctx, experiment{name: "switch", size: most, items: b.n(most), contenders: contenders})
}

// files names a contender by the size of its tree.
func files(size int) string { return fmt.Sprintf("publish, %d files", size) }

// promote is a promote of one new image.
func (t *site) promote(name string) contender {
	return contender{name: name, prepare: t.stageOne, check: t.promoted, switched: switchUS,
		run: func(int) []command { return t.bench.publish(t.repo, "promote", "--json") }}
}

func (t *site) catalog() string { return t.repo + "/staging/" + catalogName }

// stageOne adds an image to staging.
func (t *site) stageOne(int) error {
	t.images++
	name := fmt.Sprint("added", t.images)
	img, err := makeImage(fmt.Sprint(t.repo, "-", name), name, 4<<10)
	if err != nil {
		return err
	}
	_, err = t.bench.do(t.bench.publish(t.repo, "stage", "add", img.metadata, img.root)...)
	return err
}

// promoted checks that production is a new generation with the image that was
// staged last.
func (t *site) promoted(_ int, out []byte) error {
	var res switched
	if err := json.Unmarshal(out, &res); err != nil {
		return err
	}
	name := fmt.Sprint("added", t.images)
	if res.Unchanged || len(res.Added) != 1 || !strings.HasPrefix(res.Added[0], product(name)) {
		return fmt.Errorf("%s", out)
	}
	if err := t.live(res.Generation); err != nil {
		return err
	}
	return holds(t.repo+"/production", name, 4<<10)
}

// live checks which generation production is.
func (t *site) live(generation int) error {
	id, err := os.ReadFile(t.repo + "/production/.publish-generation")
	if err == nil && strings.TrimSpace(string(id)) != fmt.Sprint(generation) {
		err = fmt.Errorf("production is generation %s, not %d", id, generation)
	}
	return err
}

// grow gives a tree of the peers' a new image, and removes the copy of it that
// was made before.
func (t *site) grow(dir, copy string) error {
	if err := os.RemoveAll(copy); err != nil {
		return err
	}
	t.grown++
	return growTree(dir, t.shape, fmt.Sprint("grown", t.grown))
}

// copied checks that a copy of the peers' tree has as many images.
func (t *site) copied(dir string) func(int, []byte) error {
	return func(int, []byte) error {
		want, err := os.ReadDir(t.tree + "/images")
		if err != nil {
			return err
		}
		got, err := os.ReadDir(dir + "/images")
		if err == nil && len(got) != len(want) {
			err = fmt.Errorf("%d files of %d", len(got), len(want))
		}
		return err
	}
}

// promotes measures a promote of one new image.
func (t *site) promotes(ctx context.Context) error {
	b := t.bench
	clone, checkout := t.path("clone"), t.path("checkout")
	cs := []contender{
		t.promote(ours),
		t.cloner(cpalSync, clone, []string{"cp", "-al", t.tree, clone}, []string{"sync", "-f", clone}),
	}
	if t.size >= 100 && b.wants("promote", t.size) {
		repo := t.path("ostree")
		c := t.cloner(ostreeBoth, checkout, ostreeCommit(repo, t.tree), ostreeCheckout(repo, checkout))
		c.prepare = func(int) error { return t.grow(t.tree, checkout) }
		if c.missing = b.missing("ostree"); c.missing == "" && b.profile == "" {
			if err := t.ostreeRepo(repo); err != nil {
				c.missing = err.Error()
			}
		}
		cs = append(cs, c)
	}
	if t.size == 20_000 && b.profile == "" && b.wants("promote", t.size) {
		cs = append(cs, t.ostreeLinked(), t.cloner("rsync -a --link-dest, sync -f", clone, []string{"rsync", "-a", "--link-dest=" + t.tree, t.tree + "/", clone}, []string{"sync", "-f", clone}))
		cs[len(cs)-1].missing = b.missing("rsync")
		cs = append(cs, t.aptly())
	}
	return b.measure(ctx, experiment{name: "promote", size: t.size, items: t.shape.files(), rounds: t.rounds, catalog: t.catalog(), contenders: cs})
}

// cloner is a contender that makes a copy of the peers' tree at dir.
func (t *site) cloner(name, dir string, argv ...[]string) contender {
	return contender{name: name, prepare: func(int) error { return os.RemoveAll(dir) }, check: t.copied(dir),
		run: func(int) (out []command) {
			for _, a := range argv {
				out = append(out, command{argv: a})
			}
			return out
		}}
}

// bare-user-only is the mode in which no root is needed and a checkout can be
// made of hard links.
func ostreeCommit(repo, tree string, more ...string) []string {
	return append([]string{"ostree", "commit", "--repo=" + repo, "--branch=main", "--canonical-permissions", "--tree=dir=" + tree}, more...)
}

func ostreeCheckout(repo, dir string) []string {
	return []string{"ostree", "checkout", "--repo=" + repo, "-U", "-H", "main", dir}
}

func (t *site) ostreeRepo(repo string) error {
	if _, err := os.Stat(repo); err == nil {
		return nil
	}
	_, err := t.bench.do(command{argv: []string{"ostree", "init", "--repo=" + repo, "--mode=bare-user-only"}}, command{argv: ostreeCommit(repo, t.tree)})
	return err
}

// ostreeLinked is what somebody would do who builds in a checkout of hard
// links, so that only new files are read.
func (t *site) ostreeLinked() contender {
	repo, work, checkout := t.path("ostree-linked"), t.path("work"), t.path("checkout-linked")
	c := t.cloner(ostreeFast, checkout, ostreeCommit(repo, work, "--link-checkout-speedup"), ostreeCheckout(repo, checkout))
	c.check = nil
	c.prepare = func(int) error { return t.grow(work, checkout) }
	if c.missing = t.bench.missing("ostree"); c.missing == "" {
		err := t.ostreeRepo(repo)
		if err == nil {
			_, err = t.bench.do(command{argv: ostreeCheckout(repo, work)})
		}
		if err != nil {
			c.missing = err.Error()
		}
	}
	return c
}

// aptly has as many packages as the tree has files, and one that comes.
func (t *site) aptly() contender {
	dir, conf := t.path("aptly"), t.path("aptly.conf")
	argv := func(args ...string) command {
		return command{argv: append([]string{"aptly", "-config=" + conf}, args...)}
	}
	n := t.shape.files()
	c := contender{name: "aptly publish update", missing: t.bench.missing("aptly"),
		run: func(int) []command { return []command{argv("publish", "update", "-skip-signing", "stable")} }}
	if c.missing != "" {
		return c
	}
	add := func(name string, first, n int) error {
		if err := makeDebs(t.path(name), first, n); err != nil {
			return err
		}
		_, err := t.bench.do(argv("repo", "add", "-remove-files", "bench", t.path(name)))
		return err
	}
	c.prepare = func(round int) error { return add(fmt.Sprint("debs", round), n+round, 1) }
	c.check = func(round int, _ []byte) error {
		found, err := filepath.Glob(filepath.Join(dir, "public/pool/main/*", "*", fmt.Sprintf("bench%06d_1_amd64.deb", n+round)))
		if err == nil && len(found) != 1 {
			err = fmt.Errorf("the new package is not published")
		}
		return err
	}
	err := os.WriteFile(conf, fmt.Appendf(nil, `{"rootDir": %q}`, dir), 0o644)
	if err == nil {
		_, err = t.bench.do(argv("repo", "create", "bench"))
	}
	if err == nil {
		err = add("debs", 0, n)
	}
	if err == nil {
		_, err = t.bench.do(argv("publish", "repo", "-skip-signing", "-architectures=amd64", "-distribution=stable", "bench"))
	}
	if err != nil {
		c.missing = err.Error()
	}
	return c
}

// promotesBusy is a promote while somebody else writes to the file system as
// fast as it can: what that does to the switch.
func (t *site) promotesBusy(ctx context.Context) error {
	if t.size != 1_000 {
		return nil
	}
	c := t.promote(ours)
	c.beside = t.write
	return t.bench.measure(ctx, experiment{name: "promote-busy", size: t.size, items: t.shape.files(), rounds: t.rounds, contenders: []contender{c}})
}

// write writes a large file over and over until the context ends.
func (t *site) write(ctx context.Context) {
	f, err := os.Create(t.path("busy"))
	if err != nil {
		return
	}
	defer os.Remove(f.Name())
	defer f.Close()
	chunk := bytes.Repeat([]byte("busy"), 64<<10)
	for n := 0; ctx.Err() == nil; n++ {
		if n%1024 == 0 { // 256 MiB
			_, _ = f.Seek(0, io.SeekStart)
		}
		if _, err := f.Write(chunk); err != nil {
			return
		}
	}
}

// promotesSame measures a promote when staging equals production.
func (t *site) promotesSame(ctx context.Context) error {
	b := t.bench
	clone, repo := t.path("clone"), t.path("ostree")
	cs := []contender{
		{name: ours, run: func(int) []command { return b.publish(t.repo, "promote", "--json") },
			check: func(_ int, out []byte) error {
				var res switched
				if err := json.Unmarshal(out, &res); err != nil || !res.Unchanged {
					return fmt.Errorf("%s", out)
				}
				return nil
			}},
		t.cloner(cpal, clone, []string{"cp", "-al", t.tree, clone}),
	}
	if t.size >= 100 && b.wants("promote-same", t.size) {
		c := contender{name: ostree, missing: b.missing("ostree"),
			run: func(int) []command {
				return []command{{argv: ostreeCommit(repo, t.tree, "--skip-if-unchanged")}}
			}}
		if c.missing == "" && b.profile == "" {
			err := t.ostreeRepo(repo)
			if err == nil { // the tree may have grown since
				_, err = b.do(command{argv: ostreeCommit(repo, t.tree)})
			}
			if err != nil {
				c.missing = err.Error()
			}
		}
		cs = append(cs, c)
	}
	return b.measure(ctx, experiment{name: "promote-same", size: t.size, items: t.shape.files(), rounds: t.rounds, catalog: t.catalog(), contenders: cs})
}

// reverts goes back and forth between two trees that differ by one image.
func (t *site) reverts(ctx context.Context) error {
	if !t.bench.wants("revert", t.size) {
		return nil
	}
	b := t.bench
	out, err := b.do(b.publish(t.repo, "status", "--json")...)
	if err != nil {
		return err
	}
	var status struct{ Production switched }
	if err := json.Unmarshal(out, &status); err != nil {
		return err
	}
	was := status.Production.Generation
	if err := t.stageOne(0); err != nil {
		return err
	}
	if out, err = b.do(b.publish(t.repo, "promote", "--json")...); err != nil {
		return err
	}
	if err := t.promoted(0, out); err != nil {
		return err
	}
	target := func(round int) int { return was + round%2 }
	clone := t.path("clone")
	return b.measure(ctx, experiment{name: "revert", size: t.size, items: t.shape.files(), rounds: t.rounds, catalog: t.catalog(), contenders: []contender{
		{name: ours, switched: switchUS,
			run: func(round int) []command { return b.publish(t.repo, "revert", "--json", fmt.Sprint(target(round))) },
			check: func(round int, out []byte) error {
				var res switched
				if err := json.Unmarshal(out, &res); err != nil || res.Unchanged || res.Origin != target(round) || len(res.Added)+len(res.Removed) != 1 {
					return fmt.Errorf("%s", out)
				}
				return t.live(res.Generation)
			}},
		t.cloner(cpalSync, clone, []string{"cp", "-al", t.tree, clone}, []string{"sync", "-f", clone}),
	}})
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
		return b.measure(ctx, experiment{name: "prune", size: size, items: s.versions, catalog: repo + "/staging/" + catalogName, contenders: []contender{
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

// workshop is a directory for the data of one group of cases.
type workshop struct {
	bench    *bench
	dir      string
	imported time.Time // when the last tree was staged
}

func (b *bench) workshop() (*workshop, error) {
	dir, err := os.MkdirTemp(b.dir, "group-")
	return &workshop{bench: b, dir: dir}, err
}

func (w *workshop) path(name string) string { return filepath.Join(w.dir, name) }

// remove deletes it all. What cannot be deleted is in the system's temporary
// directory, or where the user wanted it.
func (w *workshop) remove() { _ = os.RemoveAll(w.dir) }

// newRepo makes a repository at dir, in the place of one that may be there,
// with a copy of tree staged; "": with nothing staged.
func (w *workshop) newRepo(dir, tree string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	commands := []command{{argv: []string{w.bench.bin, "init", "--quiet", dir}}}
	if tree != "" {
		commands = append(commands, w.bench.publish(dir, "stage", "import", "--quiet", tree)...)
	}
	_, err := w.bench.do(commands...)
	w.imported = time.Now()
	return err
}

// publish is a command of the program that is measured.
func (b *bench) publish(repo string, args ...string) []command {
	return []command{{argv: append([]string{b.bin, "--repo", repo}, args...)}}
}

func one(dir string, argv ...string) []command { return []command{{dir, argv}} }

func emptied(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o755)
}

// holds checks that a tree's index names a product, and that the root of its
// first version is there, with so many bytes.
func holds(dir, name string, size int64) error {
	catalog, err := os.ReadFile(filepath.Join(dir, catalogName))
	if err != nil {
		return err
	}
	_, entry, _ := bytes.Cut(catalog, fmt.Appendf(nil, "%q:{", product(name)))
	path := rootPath.FindSubmatch(entry)
	if path == nil {
		return fmt.Errorf("%s: names no %s", dir, product(name))
	}
	fi, err := os.Stat(filepath.Join(dir, string(path[1])))
	if err == nil && fi.Size() != size {
		err = fmt.Errorf("%s: has %d bytes, not %d", fi.Name(), fi.Size(), size)
	}
	return err
}

var rootPath = regexp.MustCompile(`"path":"([^"]+\.squashfs)"`)
