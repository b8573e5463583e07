//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// measure runs an experiment with the tree.
func (t *site) measure(ctx context.Context, name string, contenders ...contender) error {
	return t.bench.measure(ctx, experiment{name: name, size: t.size, items: t.shape.files(), rounds: t.rounds,
		catalog: t.catalog(), contenders: contenders})
}

// promotes measures a promote of one new image in the steady state.
func (t *site) promotes(ctx context.Context) error {
	b := t.bench
	clone, checkout := t.path("clone"), t.path("checkout")
	cs := []contender{t.promote(ours), t.replacer(clone)}
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
		dir := t.path("rsync")
		rsync := t.cloner("rsync -a --link-dest, sync -f", dir,
			[]string{"rsync", "-a", "--link-dest=" + t.tree, t.tree + "/", dir}, []string{"sync", "-f", dir})
		rsync.missing = b.missing("rsync")
		cs = append(cs, t.ostreeLinked(), rsync, t.aptly())
	}
	return t.measure(ctx, "promote", cs...)
}

// promotesBusy is the same while others work on the file system: a process that
// flushes each write at once, and builds that leave that to the kernel.
func (t *site) promotesBusy(ctx context.Context) error {
	if t.size != 20_000 {
		return nil
	}
	for _, e := range []struct {
		name   string
		beside func(context.Context)
	}{{"promote-fsync", t.writeSynced}, {"promote-dirty", t.writeDirty}} {
		c := t.promote(ours)
		c.beside = e.beside
		if err := t.measure(ctx, e.name, c); err != nil {
			return err
		}
	}
	return nil
}

// writeSynced writes to a file and flushes it without a pause, until the
// context ends.
func (t *site) writeSynced(ctx context.Context) { t.write(ctx, "synced", 1<<20, true) }

// writeDirty writes two large files over and over, flushing nothing.
func (t *site) writeDirty(ctx context.Context) {
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() { t.write(ctx, fmt.Sprint("dirty", i), 8<<20, false) })
	}
	all.Wait()
}

func (t *site) write(ctx context.Context, name string, piece int, flush bool) {
	f, err := os.Create(t.path(name))
	if err != nil {
		return
	}
	defer os.Remove(f.Name())
	defer f.Close()
	chunk := bytes.Repeat([]byte("busy"), piece/4)
	for n := 0; ctx.Err() == nil; n++ {
		if n*piece >= t.bench.n(512)<<20 {
			n = 0
			_, _ = f.Seek(0, io.SeekStart)
		}
		if _, err := f.Write(chunk); err != nil {
			return
		}
		if flush && f.Sync() != nil {
			return
		}
	}
}

// promotesSame measures a promote when staging equals production.
func (t *site) promotesSame(ctx context.Context) error {
	b := t.bench
	repo := t.path("ostree")
	cs := []contender{
		{name: ours, run: func(int) []command { return b.publish(t.repo, "promote", "--json") },
			check: func(_ int, out []byte) error {
				var res switched
				if err := json.Unmarshal(out, &res); err != nil || !res.Unchanged {
					return fmt.Errorf("%s", out)
				}
				return nil
			}},
		{name: find, run: func(int) []command {
			return one("", "find", t.repo+"/staging", "-fprintf", "/dev/null", "%s %i %T@ %C@\n")
		}},
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
	return t.measure(ctx, "promote-same", cs...)
}

// firsts measures the first promote of what publish staged, so that links are enough.
func (t *site) firsts(ctx context.Context) error {
	b := t.bench
	if t.size != 20_000 || !b.wants("promote-first", t.size) {
		return nil
	}
	repo, clone := t.path("first"), t.path("clone")
	return t.measure(ctx, "promote-first",
		contender{name: ours, switched: switchUS,
			prepare: func(int) error {
				err := t.newRepo(repo, t.tree)
				time.Sleep(time.Until(t.imported.Add(2 * time.Second))) // a file as young as its hash is read again
				return err
			},
			run: func(int) []command { return b.publish(repo, "promote", "--json") },
			check: func(_ int, out []byte) error {
				var res switched
				if err := json.Unmarshal(out, &res); err != nil || res.Generation != 1 ||
					len(res.Added) < t.shape.versions {
					return fmt.Errorf("%s", out)
				}
				return nil
			}},
		t.cloner(cpalSync, clone, []string{"cp", "-al", t.tree, clone}, []string{"sync", "-f", clone}))
}

// reverts goes back and forth between two pinned trees that differ by one
// image. Before each round a gc makes a spare of what the round before left.
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
	older, newer := fmt.Sprint(was), fmt.Sprint(was+1)
	if _, err := b.do(b.publish(t.repo, "pin", older, "-m", "bench")...); err != nil {
		return err
	}
	if err := t.stageOne(0); err != nil {
		return err
	}
	for _, args := range [][]string{{"promote"}, {"pin", newer, "-m", "bench"}, {"revert", older}, {"revert", newer}} {
		if err := t.switchTo(args...); err != nil {
			return err
		}
	}
	target := func(round int) int { return was + round%2 }
	clone := t.path("clone")
	return t.measure(ctx, "revert",
		contender{name: ours, switched: switchUS, prepare: t.collect,
			run: func(round int) []command { return b.publish(t.repo, "revert", "--json", fmt.Sprint(target(round))) },
			check: func(round int, out []byte) error {
				t.switched()
				var res switched
				err := json.Unmarshal(out, &res)
				if err != nil || res.Unchanged || res.Origin != target(round) || len(res.Added)+len(res.Removed) != 1 {
					return fmt.Errorf("%s", out)
				}
				return t.live(res.Generation)
			}},
		t.cloner(cpalSync, clone, []string{"cp", "-al", t.tree, clone}, []string{"sync", "-f", clone}))
}

// collect runs a gc that has a tree to delete.
func (t *site) collect(int) error {
	t.ripen()
	out, err := t.bench.do(t.bench.publish(t.repo, "gc", "--json")...)
	if err != nil {
		return err
	}
	var res struct{ Generations []int }
	if err := json.Unmarshal(out, &res); err != nil || len(res.Generations) == 0 {
		return fmt.Errorf("no generation was due: %s", out)
	}
	return nil
}

// large promotes one new image into a tree so large that only the memory is
// measured.
func (b *bench) large(ctx context.Context) error {
	const size = 500_000
	if !b.wants("promote-large", size) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	small := shape{versions: b.n(size) / 2, root: 64}
	t := &site{workshop: w, size: size, shape: small, repo: w.path("repo")}
	if err := w.newRepo(t.repo, ""); err != nil {
		return err
	}
	if err := makeTree(t.repo+"/staging", t.shape); err != nil {
		return err
	}
	if err := t.steady(); err != nil {
		return err
	}
	t.rounds = 2
	return t.measure(ctx, "promote-large", t.promote(ours))
}
