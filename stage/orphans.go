package stage

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Orphans returns the item-like files of staging that cat does not name, neither
// directly nor through a link. Uploads in progress are not orphans. sure is false
// if the result is uncertain, because of a directory that cannot be listed, or of
// a link that cannot be followed: cat may name a file through such a link.
func (s *Stage) Orphans(ctx context.Context, cat *catalog.Catalog) (list []tree.Entry, sure bool, err error) {
	entries, err := tree.Walk(ctx, s.Dir)
	if err != nil {
		return nil, false, err
	}
	g := newGate(catalog.Within(s.Format, cat.Documents), entries, named(cat), nil, nil)
	g.linked = links(entries, g.format)
	list, sure = g.orphans(entries, cat)
	return list, sure, nil
}

// orphans is Orphans for a tree that was walked.
func (g *gate) orphans(entries []tree.Entry, cat *catalog.Catalog) (list []tree.Entry, sure bool) {
	decoded := map[string]bool{} // clients decode percent signs, so either name may be meant
	for _, i := range cat.Items {
		if strings.IndexByte(i.Path, '%') < 0 {
			continue
		}
		if p, err := url.PathUnescape(i.Path); err == nil {
			decoded[path.Clean(p)] = true
		}
	}
	through := map[string]bool{}
	for _, e := range g.linked.aliases {
		if g.named.has(e.Path) || decoded[e.Path] {
			through[e.Name] = true
		}
	}
	sure = true
	for _, e := range entries {
		if e.Kind == tree.Symlink && (g.linked.followed[e.Path] || !g.linked.verdicts[e.Path].unsure &&
			g.linked.verdicts[e.Path].code != "") {
			continue
		}
		if e.Kind != tree.File {
			sure = false
		} else if through[e.Path] {
			continue
		} else if !g.named.has(e.Path) && !decoded[e.Path] && g.class(e.Path) == catalog.ItemLike {
			if _, _, ok := catalog.Clean(e.Path); ok {
				list = append(list, e)
			}
		}
	}
	return list, sure
}

// Delete deletes files of staging, without trash, and returns the deleted ones. It
// skips a file that has changed since it was walked. The caller holds the staging
// lock. If a file cannot be deleted, Left is called, and Delete continues, because
// no index names the file.
func (s *Stage) Delete(entries []tree.Entry) (gone []tree.Entry, err error) {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	dirs := map[string]bool{}
	for _, e := range entries {
		fi, lerr := root.Lstat(e.Path)
		if errors.Is(lerr, fs.ErrNotExist) {
			continue
		}
		if lerr == nil && !tree.StatOf(fi).Same(e.Stat, true) {
			continue // somebody is writing to it
		}
		if lerr == nil {
			lerr = root.Remove(e.Path)
		}
		if lerr != nil {
			s.leave(e.Path, lerr)
			continue
		}
		gone = append(gone, e)
		dirs[path.Dir(e.Path)] = true
	}
	for d := range dirs {
		if serr := durable.SyncDir(join(s.Dir, d)); serr != nil && !errors.Is(serr, fs.ErrNotExist) {
			err = errors.Join(err, serr)
		}
		s.removeEmpty(d)
	}
	return gone, err
}
