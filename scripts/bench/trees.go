//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

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
