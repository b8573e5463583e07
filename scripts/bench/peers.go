//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

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

// replacer makes a copy of the peers' tree and deletes the one before, which is
// equal to it.
func (t *site) replacer(dir string) contender {
	c := t.cloner(cpalSyncRm, dir,
		[]string{"cp", "-al", t.tree, dir}, []string{"sync", "-f", dir}, []string{"rm", "-rf", dir + "-old"})
	c.prepare = func(int) error {
		if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(dir+"-old")); err != nil {
			return err
		}
		_, err := t.bench.do(command{argv: []string{"cp", "-al", t.tree, dir + "-old"}})
		return err
	}
	return c
}

// bare-user-only is the mode in which no root is needed and a checkout can be
// made of hard links.
func ostreeCommit(repo, tree string, more ...string) []string {
	return append([]string{"ostree", "commit", "--repo=" + repo, "--branch=main", "--canonical-permissions",
		"--tree=dir=" + tree}, more...)
}

func ostreeCheckout(repo, dir string) []string {
	return []string{"ostree", "checkout", "--repo=" + repo, "-U", "-H", "main", dir}
}

func (t *site) ostreeRepo(repo string) error {
	if _, err := os.Stat(repo); err == nil {
		return nil
	}
	_, err := t.bench.do(command{argv: []string{"ostree", "init", "--repo=" + repo, "--mode=bare-user-only"}},
		command{argv: ostreeCommit(repo, t.tree)})
	return err
}

// ostreeLinked commits from a checkout of hard links, as a builder would who works
// in one, so that only new files are read.
func (t *site) ostreeLinked() contender {
	repo, work, checkout := t.path("ostree-linked"), t.path("work"), t.path("checkout-linked")
	c := t.cloner(ostreeFast, checkout, ostreeCommit(repo, work, "--link-checkout-speedup"),
		ostreeCheckout(repo, checkout))
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
		found, err := filepath.Glob(filepath.Join(dir, "public/pool/main/*", "*", fmt.Sprintf("bench%06d_1_amd64.deb",
			n+round)))
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
		_, err = t.bench.do(argv("publish", "repo", "-skip-signing", "-architectures=amd64", "-distribution=stable",
			"bench"))
	}
	if err != nil {
		c.missing = err.Error()
	}
	return c
}
