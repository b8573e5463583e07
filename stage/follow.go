package stage

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Links is the policy for symbolic links in a tree with indexes. With every
// policy, a link that leads out of the tree is an error.
type Links string

const (
	// FollowLinks publishes the target of a link also under the link's path.
	FollowLinks Links = "follow"
	// DropLinks leaves links out, with a warning.
	DropLinks Links = "drop"
	// RefuseLinks makes each link an error.
	RefuseLinks Links = "refuse"
)

// Limits for the paths that links add to a tree. Without them, a few links to
// each other's folders could make a huge number of paths.
const (
	maxLinkHops   = 40    // links from one to the next
	maxLinkDepth  = 8     // nested folders that are reached through links
	maxLinkPath   = 2048  // bytes of a path through links
	maxLinkFiles  = 10000 // files that links may add, in addition to
	maxLinkFactor = 8     // this number for each entry of the tree
)

// verdict says why a link is not followed.
type verdict struct {
	severity catalog.Severity
	code     string
	message  string
	unsure   bool // an index may name a file only through this link
}

// linked has the targets of the links of a walked tree.
type linked struct {
	aliases  []tree.Entry       // files below followed links, with their Name; sorted by path
	verdicts map[string]verdict // of links that are not followed, by path
	followed map[string]bool    // paths of followed links
}

// links resolves the links among walked entries, which are sorted by path. It
// ignores links that are content of a tree without indexes. It uses only the
// entries and not the file system, because that may have changed since the walk.
func links(entries []tree.Entry, f catalog.Format) *linked {
	r := &resolver{entries: entries, out: &linked{verdicts: map[string]verdict{}, followed: map[string]bool{}}}
	var list []int
	for i, e := range entries {
		if e.Kind == tree.Symlink && f.Class(e.Path) != catalog.Whole && f.Class(e.Path) != catalog.InProgress {
			list = append(list, i)
		}
	}
	if len(list) == 0 {
		return r.out
	}
	r.dirs = map[string]bool{"": true}
	for _, e := range entries {
		for d := parent(e.Path); !r.dirs[d]; d = parent(d) {
			r.dirs[d] = true
		}
	}
	for _, i := range list {
		e := entries[i]
		if f.Class(e.Path) == catalog.Index {
			r.out.verdicts[e.Path] = verdict{catalog.Error, "link",
				fmt.Sprintf("is a symbolic link to %q; a document is a regular file", e.Target()), true}
			continue
		}
		before := len(r.out.aliases)
		if v, bad := r.follow(e.Path, e, nil); bad {
			r.out.aliases = r.out.aliases[:before]
			r.out.verdicts[e.Path] = v
		} else {
			r.out.followed[e.Path] = true
		}
	}
	slices.SortFunc(r.out.aliases, func(a, b tree.Entry) int { return strings.Compare(a.Path, b.Path) })
	return r.out
}

type resolver struct {
	entries []tree.Entry
	dirs    map[string]bool // directories that are not empty
	out     *linked
}

// parent is like path.Dir, with "" for the root of the tree.
func parent(p string) string { return p[:max(0, strings.LastIndexByte(p, '/'))] }

// find returns the entry at a path.
func (r *resolver) find(p string) (tree.Entry, bool) {
	i := sort.Search(len(r.entries), func(i int) bool { return r.entries[i].Path >= p })
	if i < len(r.entries) && r.entries[i].Path == p {
		return r.entries[i], true
	}
	return tree.Entry{}, false
}

// resolve returns the path to which a link leads, through other links.
func (r *resolver) resolve(link tree.Entry) (string, verdict, bool) {
	outside := func(target string) (string, verdict, bool) {
		return "", verdict{catalog.Error, "link-outside", fmt.Sprintf("is a link that leads out of the tree, to %q",
			target), true}, false
	}
	at := parent(link.Path)
	if path.IsAbs(link.Target()) {
		return "", verdict{catalog.Error, "link-outside",
			fmt.Sprintf("is a link to the absolute path %q; links have to be relative", link.Target()), true}, false
	}
	rest := strings.Split(link.Target(), "/")
	for hops := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at == "" {
				return outside(link.Target())
			}
			at = parent(at)
			continue
		}
		next := part
		if at != "" {
			next = at + "/" + part
		}
		e, ok := r.find(next)
		switch {
		case ok && e.Kind == tree.Symlink:
			if path.IsAbs(e.Target()) {
				return outside(e.Target())
			}
			if hops++; hops > maxLinkHops {
				return "", verdict{catalog.Warning, "link-loop",
					fmt.Sprintf("is a link to %q that leads in a circle, and is left out", link.Target()), true}, false
			}
			rest = append(strings.Split(e.Target(), "/"), rest...)
		case ok && e.Kind == tree.File && len(rest) == 0, r.dirs[next]:
			at = next
		default:
			what := fmt.Sprintf("is a link to %q, where there is nothing to publish, and is left out", link.Target())
			return "", verdict{catalog.Warning, "link-dangling", what, false}, false
		}
	}
	return at, verdict{}, true
}

// follow adds the target of a link under the path as. within are the folders that
// are being followed. If it cannot, it returns a verdict and true.
func (r *resolver) follow(as string, link tree.Entry, within []string) (verdict, bool) {
	to, v, ok := r.resolve(link)
	if !ok {
		return v, true
	}
	if e, ok := r.find(to); ok {
		e.Path, e.Name = as, to
		return r.add(e)
	}
	if slices.Contains(within, to) || inside(link.Path, to) || inside(as, to) {
		return verdict{catalog.Warning, "link-loop",
			fmt.Sprintf("is a link to %q, a folder that holds it, and is left out", link.Target()), true}, true
	}
	if len(within) == maxLinkDepth {
		return tooMany(), true
	}
	within = append(slices.Clip(within), to)
	first := sort.Search(len(r.entries), func(i int) bool { return r.entries[i].Path >= to+"/" })
	for _, e := range r.entries[first:] {
		if !inside(e.Path, to) {
			break
		}
		below := as + e.Path[len(to):]
		switch e.Kind {
		case tree.File:
			e.Path, e.Name = below, e.Path
			if v, bad := r.add(e); bad {
				return v, true
			}
		case tree.Symlink:
			// Other verdicts can be ignored: follow reports them for the link itself.
			if v, bad := r.follow(below, e, within); bad && v.code == "link-depth" {
				return v, true
			}
		}
	}
	return verdict{}, false
}

// inside reports whether a path is below a folder; "" is the root of the tree.
func inside(p, dir string) bool {
	return dir == "" || len(p) > len(dir) && p[len(dir)] == '/' && p[:len(dir)] == dir
}

func (r *resolver) add(e tree.Entry) (verdict, bool) {
	if len(e.Path) > maxLinkPath || len(r.out.aliases) >= maxLinkFiles+maxLinkFactor*len(r.entries) {
		return tooMany(), true
	}
	r.out.aliases = append(r.out.aliases, e)
	return verdict{}, false
}

func tooMany() verdict {
	return verdict{catalog.Error, "link-depth",
		"is a link to folders with more links, which add more paths than can be published", true}
}

// apply returns the entries under a policy. With FollowLinks, it replaces followed
// links by their targets.
func (l *linked) apply(entries []tree.Entry, policy Links) []tree.Entry {
	if policy != FollowLinks || len(l.followed) == 0 {
		return entries
	}
	out := make([]tree.Entry, 0, len(entries)+len(l.aliases))
	for _, e := range entries {
		if !l.followed[e.Path] {
			out = append(out, e)
		}
	}
	out = append(out, l.aliases...)
	slices.SortFunc(out, func(a, b tree.Entry) int { return strings.Compare(a.Path, b.Path) })
	return out
}
