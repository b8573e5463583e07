//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

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
