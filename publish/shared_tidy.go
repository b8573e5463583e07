package publish

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// maxTidied is how many copies one command removes at most: the next one goes on.
const maxTidied = 1000

// trim removes copies that this machine made of what the pointer no longer leads to, because
// another machine collected it, or because the pointer moved on. Whoever holds the production
// lock calls it. Copies of the generation that staging was made from stay, whatever the
// pointer says: without its manifest nobody could tell what is new in staging. A kill in
// between loses nothing: each copy is one name, and what is missing is fetched again.
//
// Lines of the history stay: they never change, and all belong to the present.
func (b *shared) trim(s *state) {
	base, err := b.base()
	if s.current == nil || err != nil {
		return
	}
	p, left := b.present(), maxTidied
	kept := append(b.kept(p), base)
	stays := map[string]bool{"file-" + p.Graves: true}
	for _, ref := range p.Manifests() {
		stays["manifest-"+ref.SHA256] = true
	}
	documents := func(m *generation.Manifest) {
		for row := range m.All() {
			if row.Role != catalog.Content {
				stays["file-"+row.SHA256] = true
			}
		}
	}
	documents(s.current.Manifest)
	if base != 0 && base != s.current.Generation {
		m, err := b.r.store.Manifest(base)
		if err != nil {
			return // promote says what is wrong
		}
		documents(m)
	}
	tidied := func(dir string, goes func(name string) bool) {
		list, _ := os.ReadDir(dir)
		for _, d := range list {
			if left > 0 && goes(d.Name()) {
				left--
				_ = durable.RemoveAll(filepath.Join(dir, d.Name()))
			}
		}
	}
	for _, dir := range []string{b.r.store.Trees, b.r.store.Manifests} {
		tidied(dir, func(name string) bool {
			n, ok := generation.ParseNumber(name)
			return ok && !slices.Contains(kept, n)
		})
	}
	tidied(b.site.Cache, func(name string) bool {
		return !stays[name] && (strings.HasPrefix(name, "manifest-") || strings.HasPrefix(name, "file-"))
	})
}

// tidy is trim for a follower, whose copies are its own, and for what it has open.
func (b *shared) tidy(dir string, p *bucket.Pointer) {
	kept := b.kept(p)
	for _, folder := range []string{b.r.store.Trees, b.r.store.Manifests} {
		list, _ := os.ReadDir(folder)
		for _, d := range list {
			if n, ok := generation.ParseNumber(d.Name()); ok && !slices.Contains(kept, n) {
				_ = durable.RemoveAll(filepath.Join(folder, d.Name()))
			}
		}
	}
	needed := map[string]bool{}
	for _, ref := range p.Manifests() {
		needed["manifest-"+ref.SHA256] = true
	}
	list, _ := os.ReadDir(filepath.Join(dir, "cache"))
	for _, d := range list {
		if !needed[d.Name()] && !strings.HasPrefix(d.Name(), "event-") {
			_ = os.Remove(filepath.Join(dir, "cache", d.Name()))
		}
	}
}
