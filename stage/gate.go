package stage

import (
	"errors"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// gate decides which entries of a walked tree are published: regular files with
// sound names, and relative links that stay inside where the format allows
// links. What an index names is published whatever it is called; of the rest,
// files that look like an index's and uploads in progress are left out.
type gate struct {
	format catalog.Format
	named  names // paths that the indexes name
	root   *os.Root
	report *Report
	known  func(e tree.Entry) bool // what an index named once: to leave it out is no surprise; nil: nothing

	linked *linked // what links lead to; nil: they are refused
	links  Links   // what becomes of them

	through map[string]bool // files that an index names by an alias; nil: not asked yet

	busy map[string]bool // files that a download is writing under their own names
	vcs  map[string]bool // directories of version control that were reported
}

// newGate is the gate of a tree that was walked.
func newGate(f catalog.Format, entries []tree.Entry, named names, root *os.Root, r *Report) *gate {
	g := &gate{format: f, named: named, root: root, report: r, vcs: map[string]bool{}}
	for _, e := range entries {
		if of, ok := catalog.Unfinished(e.Path); ok && e.Kind == tree.File {
			if g.busy == nil {
				g.busy = map[string]bool{}
			}
			g.busy[of] = true
		}
	}
	return g
}

// class is the format's, or that of an upload if a control file shows one.
func (g *gate) class(p string) catalog.Class {
	if g.busy[p] {
		return catalog.InProgress
	}
	return g.format.Class(p)
}

// admit reports whether an entry belongs to what is published, and finds fault
// with those that cannot be.
func (g *gate) admit(e tree.Entry) bool {
	if e.Kind == tree.File && g.named.has(e.Path) {
		return true // as nearly all: a format cleans what it names
	}
	r := g.report
	if _, problem, ok := catalog.Clean(e.Path); !ok {
		r.fail("bad-name", e.Path, "the name %s: %q", problem, e.Path)
		return false
	}
	class := g.class(e.Path)
	if e.Kind == tree.Unreadable && catalog.Uploading(e.Path+"/-") {
		class = catalog.InProgress // a directory, which an upload keeps to itself
	}
	if class == catalog.InProgress && !g.named.has(e.Path) {
		if e.Kind == tree.File && e.Name == "" { // by a link it would count twice
			r.leave(e, true)
		}
		return false
	}
	if e.Name != "" {
		return g.named.has(e.Path) || g.published(e.Name)
	}
	switch e.Kind {
	case tree.Symlink:
		if class != catalog.Whole {
			g.refuse(e)
			return false
		}
	case tree.Unreadable:
		r.fail("unreadable", e.Path, "%s", cause(e.Err))
		return false
	case tree.Special:
		r.fail("special-file", e.Path, "is a %s; only files and folders can be published", kindName(e.Stat.Mode))
		return false
	}
	if g.named.has(e.Path) {
		return e.Kind != tree.Symlink
	}
	switch {
	case class == catalog.ItemLike:
		if !g.aliased(e.Path) && (g.known == nil || !g.known(e)) {
			r.leave(e, false)
		}
		return false
	case e.Kind == tree.Symlink && !soundLink(e, g.root, r):
		return false
	}
	g.watch(e.Path)
	return true
}

// published reports whether a file that lies at p is published there.
func (g *gate) published(p string) bool {
	class := g.class(p)
	return g.named.has(p) || class != catalog.ItemLike && class != catalog.InProgress
}

// aliased reports whether an index names a file by a path through a link.
func (g *gate) aliased(p string) bool {
	if g.linked == nil || g.links != FollowLinks {
		return false
	}
	if g.through == nil {
		g.through = map[string]bool{}
		for _, e := range g.linked.aliases {
			if g.named.has(e.Path) {
				g.through[e.Name] = true
			}
		}
	}
	return g.through[p]
}

// refuse reports a link that is not followed.
func (g *gate) refuse(e tree.Entry) {
	v, bad := verdict{}, false
	if g.linked != nil {
		v, bad = g.linked.verdicts[e.Path]
	}
	switch {
	case bad && v.code == "link-outside":
		g.report.add(v.severity, v.code, e.Path, "%s", v.message)
	case g.linked == nil || g.links == "" || g.links == RefuseLinks || g.links == FollowLinks && !bad:
		g.report.fail("link", e.Path, "is a symbolic link to %q, and publish.yaml refuses links", e.Target)
	case g.links == DropLinks:
		g.report.add(catalog.Warning, "link-dropped", e.Path,
			"is a symbolic link to %q, and is left out, as publish.yaml says", e.Target)
	default:
		g.report.add(v.severity, v.code, e.Path, "%s", v.message)
	}
}

// vain reports the links that are followed, and below which nothing of what was
// admitted, sorted by path, is published, and no document either.
func (g *gate) vain(admitted []tree.Entry, documents iter.Seq[string]) {
	if g.linked == nil || g.links != FollowLinks {
		return
	}
	of := map[string]bool{}
	for d := range documents {
		for ; d != ""; d = parent(d) {
			of[d] = true
		}
	}
	for _, p := range slices.Sorted(maps.Keys(g.linked.followed)) {
		at := func(p string) (int, bool) {
			return slices.BinarySearchFunc(admitted, p,
				func(e tree.Entry, p string) int { return strings.Compare(e.Path, p) })
		}
		_, file := at(p)
		if below, _ := at(p + "/"); !file && !of[p] && (below == len(admitted) || !inside(admitted[below].Path, p)) {
			g.report.add(catalog.Warning, "link-dangling", p,
				"is a link to what is not published itself, and is left out")
		}
	}
}

// watch warns of the data of version control, once a directory: it holds the
// whole history, and often passwords.
func (g *gate) watch(p string) {
	at, ok := versionControl(p)
	if ok && !g.vcs[at] {
		g.vcs[at] = true
		g.report.add(catalog.Warning, "vcs", at, "is the data of a version control system, and is published with its "+
			"whole history: keep it outside the tree")
	}
}

// versionControl returns the topmost part of a path that holds the data of a
// version control system.
func versionControl(p string) (at string, ok bool) {
	for start := 0; start < len(p); {
		end := len(p)
		if i := strings.IndexByte(p[start:], '/'); i >= 0 {
			end = start + i
		}
		switch p[start:end] {
		case ".git", ".svn", ".hg", ".bzr", ".jj", ".pijul", "_darcs", "_MTN", ".fslckout", "_FOSSIL_":
			return p[:end], true
		case "CVS": // a common word
			if rest := p[end:]; rest == "/Root" || rest == "/Entries" || rest == "/Repository" {
				return p[:end], true
			}
		}
		start = end + 1
	}
	return "", false
}

// restless reports whether a file that could not be read was written to,
// replaced or removed since it was walked in the state st.
func restless(root *os.Root, p string, st tree.Stat, err error) bool {
	if errors.Is(err, tree.ErrChanged) || errors.Is(err, fs.ErrNotExist) {
		return true
	}
	fi, err := root.Lstat(p)
	return err != nil && !errors.Is(err, fs.ErrPermission) || err == nil && st.Ino != 0 &&
		!tree.StatOf(fi).Same(st, true)
}

// unread reports a file that could not be read. One that a client needs is an
// error. Any other that is being written to, that was replaced or removed, is
// left out with a warning: it comes with the next promote.
func (r *Report) unread(root *os.Root, p string, st tree.Stat, needed bool, err error) {
	switch {
	case !needed && restless(root, p, st, err):
		r.add(catalog.Warning, "changed", p,
			"changed while it was read, and is left out: it comes with a later promote")
	case errors.Is(err, tree.ErrChanged):
		r.fail("changed", p, "%s", cause(err))
	default:
		r.fail("unreadable", p, "%s", cause(err))
	}
}

func soundLink(e tree.Entry, root *os.Root, r *Report) bool {
	switch {
	case path.IsAbs(e.Target):
		r.fail("link-outside", e.Path, "is a link to the absolute path %q; links have to be relative", e.Target)
		return false
	case strings.HasPrefix(path.Join(path.Dir(e.Path), e.Target)+"/", "../"):
		r.fail("link-outside", e.Path, "is a link that leads out of the tree, to %q", e.Target)
		return false
	}
	switch _, err := root.Stat(e.Path); {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		r.add(catalog.Warning, "link-dangling", e.Path, "is a link to %q, which is not there", e.Target)
	default:
		r.fail("link-outside", e.Path, "is a link that cannot be followed inside the tree, to %q: %s", e.Target,
			cause(err))
		return false
	}
	return true
}

func kindName(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// cause is an error without the path, which the finding has already.
func cause(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
