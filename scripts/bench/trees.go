//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
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
		err = fmt.Errorf("it does not say how long the switch took: %s", out)
	}
	return res.SwitchUS, err
}

// treeNames are the experiments with a tree of small files.
var treeNames = []string{"promote", "promote-fsync", "promote-dirty", "promote-same", "promote-first", "revert",
	"validate"}

// grace is how long a tree is kept in the repositories of these cases: in each
// round just one is due, which the round before left.
const grace = 200 * time.Millisecond

// trees promotes and reverts a tree with so many files. The peers work on a
// tree of their own, equal and as old: links to the files of a repository
// would make publish distrust their hashes.
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
		groups := []func(context.Context) error{t.promotes, t.promotesBusy, t.promotesSame, t.reverts, t.firsts}
		for _, f := range groups {
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
	images       int       // staged so far
	grown        int       // products that came to tree
	last         time.Time // when something was switched
}

// site makes one, in the steady state.
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
	return t, t.steady()
}

// steady brings the repository, in which the tree is staged, into the steady
// state: the next promote begins from what a gc kept, and deletes the tree of
// the promote before.
func (t *site) steady() error {
	if err := os.WriteFile(t.repo+"/publish.yaml", fmt.Appendf(nil, "grace: %s\n", grace), 0o644); err != nil {
		return err
	}
	err := t.switchTo("promote", "-q")
	for range 2 {
		if err == nil {
			err = t.stageOne(0)
		}
		if err == nil {
			err = t.switchTo("promote", "-q")
		}
	}
	return err
}

// switchTo runs a command that is not measured and switches.
func (t *site) switchTo(args ...string) error {
	defer t.switched()
	_, err := t.bench.do(t.bench.publish(t.repo, args...)...)
	return err
}

func (t *site) switched() { t.last = time.Now() }

// ripen waits until the windows have ended that the last switch began.
func (t *site) ripen() { time.Sleep(time.Until(t.last.Add(grace * 6 / 5))) }

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

// promote is a promote of one new image. Within its time it deletes a tree.
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
	t.ripen()
	return err
}

// promoted checks that production is a new generation with the image that was
// staged last, and that the tree that was due is gone.
func (t *site) promoted(_ int, out []byte) error {
	t.switched()
	var res switched
	if err := json.Unmarshal(out, &res); err != nil {
		return err
	}
	name := fmt.Sprint("added", t.images)
	if res.Unchanged || len(res.Added) != 1 || !strings.HasPrefix(res.Added[0], product(name)) {
		return fmt.Errorf("%s", out)
	}
	if _, err := os.Lstat(fmt.Sprintf("%s/generations/%06d", t.repo, res.Generation-2)); err == nil {
		return fmt.Errorf("generation %d was due, and is still there", res.Generation-2)
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
