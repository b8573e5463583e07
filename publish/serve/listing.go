package serve

import (
	"html/template"
	"net/http"
	"path"
	"slices"
	"sort"
	"strings"

	"example.com/publish/stage/tree"
)

// maxListed is how many names a list of a folder has.
const maxListed = 10_000

// listed is a line of such a list.
type listed struct {
	Name   string
	Href   string
	Size   int64 // bytes; of a folder 0
	Folder bool
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
		l := listed{Name: name, Folder: folder, Href: "./" + escape(name)}
		if !folder {
			l.Size = row(i).Size
			out = append(out, l)
			i++
			continue
		}
		l.Href += "/"
		out = append(out, l)
		end := prefix + name + "0" // the character after the slash
		i += sort.Search(n-i, func(j int) bool { return at(i+j) >= end })
	}
	return out, false
}

var listingPage = template.Must(template.New("listing").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Folder}}</title></head><body><h1>{{.Folder}}</h1><ul>
{{if .Up}}<li><a href="../">../</a></li>{{end}}
{{range .List}}<li><a href="{{.Href}}">{{.Name}}{{if .Folder}}/{{end}}</a>{{if not .Folder}} {{.Size}}{{end}}</li>
{{end}}</ul>{{if .More}}<p>There is more than that.</p>{{end}}</body></html>
`))

// listing answers with what a folder holds.
func (s *Server) listing(w http.ResponseWriter, r *http.Request, v *view, folder string) error {
	list, more := v.list(folder)
	return s.page(w, r, v, listingPage, map[string]any{"Folder": path.Clean("/" + folder), "Up": folder != "",
		"List": list, "More": more})
}
