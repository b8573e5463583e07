package serve

import (
	"net/http"
	"path"
	"slices"
	"sort"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// maxListed is how many names a list of a folder has.
const maxListed = 10_000

// listed is a line of such a list.
type listed struct {
	Name   string
	Size   int64 // bytes; of a folder 0
	Folder bool
}

// Link is a link to it, below root.
func (l listed) Link(root string) string {
	if l.Folder {
		return href(root, l.Name) + "/"
	}
	return href(root, l.Name)
}

// list returns what a folder holds, by name. more says that there is more than that.
func (v *view) list(folder string) (out []listed, more bool) {
	prefix := ""
	if folder != "" {
		prefix = folder + "/"
	}
	next := func(i int) string { return v.Own[i].Path }
	out, more = below(out, prefix, len(v.Own), next, func(i int) tree.Row { return v.Own[i] })
	more2 := false
	out, more2 = below(out, prefix, len(v.Carried), func(i int) string { return v.Carried[i].Path },
		func(i int) tree.Row { return v.Carried[i].Row })
	slices.SortStableFunc(out, func(a, b listed) int { return strings.Compare(a.Name, b.Name) })
	out = slices.CompactFunc(out, func(a, b listed) bool { return a.Name == b.Name })
	return out, more || more2
}

// below appends the names directly below prefix, of n sorted paths. It skips what is in
// folders, so it takes as long as the list is.
func below(out []listed, prefix string, n int, at func(int) string, row func(int) tree.Row) ([]listed, bool) {
	for i := sort.Search(n, func(i int) bool { return at(i) >= prefix }); i < n; {
		rest, ok := strings.CutPrefix(at(i), prefix)
		if !ok {
			break
		}
		if len(out) == maxListed {
			return out, true
		}
		name, _, folder := strings.Cut(rest, "/")
		if prefix == "" && (catalog.Reserved(name) || taken(name)) {
			i++
			continue
		}
		l := listed{Name: name, Folder: folder}
		if !folder {
			l.Size = row(i).Size
			out = append(out, l)
			i++
			continue
		}
		out = append(out, l)
		end := prefix + name + "0" // the character after the slash
		i += sort.Search(n-i, func(j int) bool { return at(i+j) >= end })
	}
	return out, false
}

// listingView is the page of a folder.
type listingView struct {
	Folder string
	Up     bool
	List   []listed
	More   bool
}

// listing answers with what a folder holds.
func (s *Server) listing(w http.ResponseWriter, r *http.Request, v *view, folder string) error {
	list, more := v.list(folder)
	at, err := s.address(r, false)
	if err != nil {
		text(w, http.StatusBadRequest, err.Error())
		return nil
	}
	f := s.frame(&asked{view: v, at: at, root: rootOf(r), files: true, now: s.keeper.now()}, path.Clean("/"+folder))
	f.Here, f.Page = "files", listingView{f.Title, folder != "", list, more}
	if !s.hasPages(false) {
		f.Nav = nil
	}
	return s.page(w, r, v, "listing", f)
}
