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
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// gate decides which entries of a walked tree are published: regular files with
// valid names and, if the format allows links, relative links that stay inside the
// tree. Files that an index names are always published. Of the others, item-like
// files and uploads in progress are left out.
type gate struct {
	format catalog.Format
	named  names // paths that the indexes name
	root   *os.Root
	report *Report
	// known reports whether an index named the entry before, so that no warning is
	// needed if it is left out; nil for none.
	known func(e tree.Entry) bool

	linked *linked // targets of links; nil if links are refused
	links  Links   // the policy for links

	through map[string]bool // files that an index names through a link; nil until it is needed

	busy map[string]bool // files that a download is writing under their final names
	vcs  map[string]bool // directories of version control that were reported
}

// newGate returns the gate for a tree that was walked.
func newGate(f catalog.Format, entries []tree.Entry, named names, root *os.Root, r *Report) *gate {
	if r != nil {
		_, r.addressed = catalog.As[catalog.Server](f)
	}
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

// class returns the class of a path by the format; InProgress if the control file
// of a download tool is beside it.
func (g *gate) class(p string) catalog.Class {
	if g.busy[p] {
		return catalog.InProgress
	}
	return g.format.Class(p)
}

// admit reports whether an entry is published, and adds findings for entries that
// cannot be.
func (g *gate) admit(e tree.Entry) bool {
	if e.Kind == tree.File && g.named.has(e.Path) {
		return true // the usual case; formats name only clean paths
	}
	r := g.report
	if _, problem, ok := catalog.Clean(e.Path); !ok {
		r.fail("bad-name", e.Path, "the name %s: %q", problem, e.Path)
		return false
	}
	class := g.class(e.Path)
	if e.Kind == tree.Unreadable && catalog.Uploading(e.Path+"/-") {
		class = catalog.InProgress // the private directory of an upload
	}
	if class == catalog.InProgress && !g.named.has(e.Path) {
		if e.Kind == tree.File && e.Name == "" { // do not count it again through a link
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
		r.fail("unreadable", e.Path, "%s", cause(e.Err()))
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

// published reports whether a file is published at its real path p.
func (g *gate) published(p string) bool {
	class := g.class(p)
	return g.named.has(p) || class != catalog.ItemLike && class != catalog.InProgress
}

// aliased reports whether an index names a file through a link.
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
		g.report.fail("link", e.Path, "is a symbolic link to %q, and publish.yaml refuses links", e.Target())
	case g.links == DropLinks:
		g.report.add(catalog.Warning, "link-dropped", e.Path,
			"is a symbolic link to %q, and is left out, as publish.yaml says", e.Target())
	default:
		g.report.add(v.severity, v.code, e.Path, "%s", v.message)
	}
}

// vain reports followed links that are useless, because neither an admitted entry
// nor a document is at or below their paths. admitted is sorted by path.
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
		_, file := tree.SearchEntries(admitted, p)
		below, _ := tree.SearchEntries(admitted, p+"/")
		if !file && !of[p] && (below == len(admitted) || !inside(admitted[below].Path, p)) {
			g.report.add(catalog.Warning, "link-dangling", p,
				"is a link to something that is not published, and is left out")
		}
	}
}

// watch warns of version control data, once for each directory. It contains the
// whole history, and often passwords.
func (g *gate) watch(p string) {
	at, ok := versionControl(p)
	if ok && !g.vcs[at] {
		g.vcs[at] = true
		g.report.add(catalog.Warning, "vcs", at, "is the data of a version control system, and is published with its "+
			"whole history: keep it outside the tree")
	}
}

// versionControl returns the topmost directory in a path that has version control
// data.
func versionControl(p string) (at string, ok bool) {
	for start := 0; start < len(p); {
		end := len(p)
		if i := strings.IndexByte(p[start:], '/'); i >= 0 {
			end = start + i
		}
		switch p[start:end] {
		case ".git", ".svn", ".hg", ".bzr", ".jj", ".pijul", "_darcs", "_MTN", ".fslckout", "_FOSSIL_":
			return p[:end], true
		case "CVS": // also an ordinary name, so look at the files in it
			if rest := p[end:]; rest == "/Root" || rest == "/Entries" || rest == "/Repository" {
				return p[:end], true
			}
		}
		start = end + 1
	}
	return "", false
}

// restless reports whether a file that could not be read has changed since it was
// walked in the state st: it was written to, replaced or removed.
func restless(root *os.Root, p string, st tree.Stat, err error) bool {
	if errors.Is(err, tree.ErrChanged) || errors.Is(err, fs.ErrNotExist) {
		return true
	}
	fi, err := root.Lstat(p)
	return err != nil && !errors.Is(err, fs.ErrPermission) || err == nil && st.Ino != 0 &&
		!tree.StatOf(fi).Same(st, true)
}

// unread reports a file that could not be read. It is an error if clients need the
// file, or if the file did not change. Otherwise somebody is changing it, and it is
// left out with a warning; a later promote will publish it.
func (r *Report) unread(root *os.Root, p string, st tree.Stat, needed bool, err error) {
	switch {
	case !needed && restless(root, p, st, err):
		r.add(catalog.Warning, "changed", p,
			"changed while it was read, and is left out: it comes with a later promote")
	case errors.Is(err, tree.ErrChanged):
		r.fail("changed", p, "%s", cause(err))
	case errors.Is(err, durable.ErrTooLong) && slices.ContainsFunc(r.Findings, func(f catalog.Finding) bool {
		return f.Path == p && f.Code == "too-large"
	}): // the format says so
	default:
		r.fail("unreadable", p, "%s", cause(err))
	}
}

func soundLink(e tree.Entry, root *os.Root, r *Report) bool {
	switch {
	case path.IsAbs(e.Target()):
		r.fail("link-outside", e.Path, "is a link to the absolute path %q; links have to be relative", e.Target())
		return false
	case strings.HasPrefix(path.Join(path.Dir(e.Path), e.Target())+"/", "../"):
		r.fail("link-outside", e.Path, "is a link that leads out of the tree, to %q", e.Target())
		return false
	}
	switch _, err := root.Stat(e.Path); {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		r.add(catalog.Warning, "link-dangling", e.Path, "is a link to %q, which is not there", e.Target())
	default:
		r.fail("link-outside", e.Path, "is a link that cannot be followed inside the tree, to %q: %s", e.Target(),
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

// cause returns an error without the path, because the finding has the path.
func cause(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
