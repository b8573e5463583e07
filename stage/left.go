package stage

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// LeftOut is what a tree holds and no client is served: uploads in progress,
// and files that look like an index's, which none names and none named in
// production. Files of versions that were dropped are not counted: they wait
// for a prune.
type LeftOut struct {
	Files    int      `json:"files"`
	Bytes    int64    `json:"bytes"`
	Examples []string `json:"examples"` // a path of each kind, the most frequent first; never nil
}

// leave notes a file that is left out.
func (r *Report) leave(e tree.Entry, uploading bool) {
	if uploading {
		r.uploads = append(r.uploads, e)
	} else {
		r.unnamed = append(r.unnamed, e)
	}
}

// maxExamples bounds the kinds of files that a warning names.
const maxExamples = 6

// sumLeft makes a warning of what was left out, and its sum.
func (r *Report) sumLeft() {
	r.LeftOut = LeftOut{Examples: []string{}}
	for _, side := range []struct {
		list              []tree.Entry
		what, many, after string
	}{
		{r.unnamed, "file that no index names is left out", "files that no index names are left out",
			"; the key include of publish.yaml publishes such files"},
		{r.uploads, "upload in progress is left out", "uploads in progress are left out", ""},
	} {
		if len(side.list) == 0 {
			continue
		}
		var bytes int64
		for _, e := range side.list {
			bytes += e.Stat.Size
		}
		var kinds []string
		all := kindsOf(side.list)
		for i, k := range all {
			if i == maxExamples {
				kinds = append(kinds, fmt.Sprintf("and %s", english.Plural(len(all)-i, "more kind", "more kinds")))
				break
			}
			text := k.example
			if k.files > 1 {
				text = fmt.Sprintf("%d %s, such as %s", k.files, k.name, k.example)
			}
			kinds = append(kinds, text)
			r.LeftOut.Examples = append(r.LeftOut.Examples, k.example)
		}
		r.LeftOut.Files += len(side.list)
		r.LeftOut.Bytes += bytes
		r.add(catalog.Warning, "left-out", "", "%s (%s): %s%s", english.Plural(len(side.list), side.what, side.many),
			humanize.IBytes(uint64(bytes)), strings.Join(kinds, "; "), side.after)
	}
}

// kind is files with one name, or with one ending.
type kind struct {
	name    string
	files   int
	example string
}

// kindsOf sorts files into kinds, the most frequent first: by their names as
// far as these return, which says more, else by their endings.
func kindsOf(list []tree.Entry) []kind {
	times := map[string]int{}
	for _, e := range list {
		times[path.Base(e.Path)]++
	}
	kinds := map[string]*kind{}
	for _, e := range list {
		name := path.Base(e.Path)
		if times[name] == 1 {
			name = "*" + ending(name)
		}
		if kinds[name] == nil {
			kinds[name] = &kind{name: name, example: e.Path}
		}
		kinds[name].files++
	}
	out := make([]kind, 0, len(kinds))
	for _, k := range kinds {
		out = append(out, *k)
	}
	slices.SortFunc(out, func(a, b kind) int {
		return cmp.Or(cmp.Compare(b.files, a.files), cmp.Compare(a.name, b.name))
	})
	return out
}

// ending is the last one of a name, with .tar before it.
func ending(name string) string {
	ext := path.Ext(name)
	if before := strings.TrimSuffix(name, ext); strings.HasSuffix(before, ".tar") && before != ".tar" {
		return ".tar" + ext
	}
	return ext
}
