package stage

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// inputs are the files of an AddRequest.
type inputs struct {
	meta  string
	roots []string // none: meta is a unified image
}

// The names under which distrobuilder, and the tools around it, leave an
// image: build-incus and build-lxd write incus.tar.xz (or what its
// --compression makes of the ending) with rootfs.squashfs or disk.qcow2, or one
// unified tarball; lxc-ci renames the root files.
var (
	metaNames    = []string{"incus", "lxd"}
	unifiedNames = []string{"incus_combined", "lxd_combined"}
	tarEndings   = []string{".tar.xz", ".tar.gz", ".tar.zst", ".tar.bz2", ".tar"}
	rootNames    = [][]string{ // names of one kind of root
		{"rootfs.squashfs", "root.squashfs"},
		{"disk.qcow2"},
		{"rootfs.tar.xz", "root.tar.xz"},
	}
)

// resolve finds the files that are asked for.
func resolve(req AddRequest) (inputs, error) {
	if len(req.Files) == 0 {
		return inputs{}, usage("give METADATA [ROOTFS...], or a directory with an image", "no file to add")
	}
	first := req.Files[0]
	fi, err := os.Stat(first)
	if err != nil {
		return inputs{}, err
	}
	if !fi.IsDir() {
		seen := map[string]bool{}
		for _, p := range req.Files {
			if seen[filepath.Clean(p)] {
				return inputs{}, usage("", "%s: is given twice", p)
			}
			seen[filepath.Clean(p)] = true
		}
		return inputs{meta: first, roots: req.Files[1:]}, nil
	}
	if len(req.Files) > 1 {
		return inputs{}, usage("add one directory at a time, or name the files", "%s: is a directory, and there are more arguments", first)
	}
	return inDir(first)
}

// inDir finds the image that a directory holds. Two that could be meant are
// an error: nobody could tell from the answer which one it was.
func inDir(dir string) (inputs, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return inputs{}, err
	}
	there := map[string]bool{}
	for _, d := range list {
		there[d.Name()] = !d.IsDir()
	}
	find := func(stems []string) (found []string) {
		for _, stem := range stems {
			for _, ending := range tarEndings {
				if there[stem+ending] {
					found = append(found, stem+ending)
				}
			}
		}
		return found
	}
	metas, unified := find(metaNames), find(unifiedNames)
	var roots []string
	for _, names := range rootNames {
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !there[n] })
		if len(names) > 1 {
			return inputs{}, ambiguous(dir, names)
		}
		roots = append(roots, names...)
	}
	if len(unified) > 0 {
		metas, roots = append(metas, unified...), nil
	}
	switch {
	case len(metas) > 1:
		return inputs{}, ambiguous(dir, metas)
	case len(metas) == 0:
		return inputs{}, usage("name the files: METADATA [ROOTFS...]",
			"%s: holds no image as distrobuilder leaves it: no incus.tar.xz, lxd.tar.xz or incus_combined.tar.gz", dir)
	}
	in := inputs{meta: filepath.Join(dir, metas[0])}
	for _, r := range roots {
		in.roots = append(in.roots, filepath.Join(dir, r))
	}
	return in, nil
}

func ambiguous(dir string, names []string) error {
	return usage("name the files: METADATA [ROOTFS...]", "%s: holds more than one that could be meant: %s", dir, strings.Join(names, ", "))
}
