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

// LeftOut has the files of a tree that are not published: uploads in progress, and
// item-like files that no index names, and that none named in production. Files of
// versions that were dropped do not count, because the next prune deletes them.
type LeftOut struct {
	Files    int      `json:"files"`
	Bytes    int64    `json:"bytes"`
	Examples []string `json:"examples"` // one path of each kind, the most frequent kind first; never nil
}

// leave records a file that is left out.
func (r *Report) leave(e tree.Entry, uploading bool) {
	if uploading {
		r.uploads = append(r.uploads, e)
	} else {
		r.unnamed = append(r.unnamed, e)
	}
}

// maxExamples limits the number of kinds of files in a warning.
const maxExamples = 6

// sumLeft sets LeftOut, and adds a warning about the files that are left out.
func (r *Report) sumLeft() {
	r.LeftOut = LeftOut{Examples: []string{}}
	way := "; the key include of publish.yaml publishes such files"
	if r.addressed { // nobody could ask for them
		way = "; publish prune deletes them when they are older than orphan_grace"
	}
	for _, side := range []struct {
		list              []tree.Entry
		what, many, after string
	}{
		{r.unnamed, "file that no index names is left out", "files that no index names are left out",
			way},
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
			switch {
			case k.files > 1 && k.name == "*":
				text = fmt.Sprintf("%d without an ending, such as %s", k.files, k.example)
			case k.files > 1:
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

// kind is a group of files with the same name or the same ending.
type kind struct {
	name    string
	files   int
	example string
}

// kindsOf groups files into kinds, the most frequent first. Files with the same
// name are a kind, because the name says more; other files are grouped by ending.
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

// ending returns the last extension of a name, together with .tar before it.
func ending(name string) string {
	ext := path.Ext(name)
	if before := strings.TrimSuffix(name, ext); strings.HasSuffix(before, ".tar") && before != ".tar" {
		return ".tar" + ext
	}
	return ext
}
