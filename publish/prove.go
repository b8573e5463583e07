package publish

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// proof is what has to be true after a prune of tags, or after its undo.
type proof struct {
	absent     catalog.Names
	present    map[catalog.Name]string // what they stand for
	whole      catalog.Names           // those of them that have all files
	production footprint
}

// footprint is the state of files of production.
type footprint struct {
	generation int
	dir        string
	files      map[string]tree.Stat // those that are there
	at         time.Time
}

// proofOf is the proof of a plan that is about to be carried out.
func (sv *survey) proofOf(p *Plan, s *state) proof {
	v := proof{absent: catalog.Names{}, present: map[catalog.Name]string{}, whole: catalog.Names{}}
	for _, d := range p.Remove {
		v.absent[catalog.Name{Group: d.Product, Version: d.Version}] = true
	}
	for _, d := range p.Keep {
		v.present[catalog.Name{Group: d.Product, Version: d.Version}] = d.Digest
	}
	for _, t := range sv.tagged(p.Time) {
		if n := (catalog.Name{Group: t.Repository, Version: t.Tag}); t.Complete && !v.absent[n] {
			v.whole[n] = true
		}
	}
	if s.current == nil {
		return v
	}
	// A prune has nothing to do with production. But it deletes files that
	// production may have, too: the documents and these are compared.
	v.production = footprint{s.current.Generation, s.current.Dir, map[string]tree.Stat{}, s.now}
	paths := slices.Clone(sv.checked.Catalog.Documents)
	for _, i := range sv.checked.Catalog.Images {
		if v.absent[i.Of()] {
			paths = append(paths, i.Paths...)
		}
	}
	for _, o := range p.Orphans {
		paths = append(paths, o.Path)
	}
	for _, path := range paths {
		if st, ok := v.production.look(path); ok {
			v.production.files[path] = st
		}
	}
	return v
}

func (f footprint) look(path string) (tree.Stat, bool) {
	fi, err := os.Lstat(filepath.Join(f.dir, filepath.FromSlash(path)))
	if err != nil {
		return tree.Stat{}, false
	}
	return tree.StatOf(fi), true
}

// prove returns an error of kind Failed if something is not true. The caller holds the
// staging lock.
func (r *Repo) prove(ctx context.Context, v proof) error {
	wrong := func(format string, args ...any) error {
		return &Error{Fact: "staging was changed, but it is not what it should be: " + fmt.Sprintf(format, args...),
			Hint: "does another program write to staging? publish validate shows what is wrong"}
	}
	checked, err := r.Stage.Look(ctx)
	if err != nil {
		return err
	}
	now, sound := map[catalog.Name]string{}, soundIn(checked)
	for _, i := range checked.Catalog.Images {
		now[i.Of()] = i.Fingerprint
		if v.absent[i.Of()] {
			return wrong("%s is still there", i.Called())
		}
	}
	for n, digest := range v.present {
		switch ref := r.format.Ref(n); {
		case now[n] == "":
			return wrong("%s is gone", ref)
		case now[n] != digest:
			return wrong("%s stands for %s", ref, now[n])
		case v.whole[n] && !sound(n):
			return wrong("%s lacks files, or some are wrong", ref)
		}
	}
	live, err := r.site.Live(ctx)
	if err != nil {
		return err
	}
	if live != v.production.generation {
		return nil // another command switched
	}
	for path, before := range v.production.files {
		if st, ok := v.production.look(path); !ok || st.Ino != before.Ino || st.Size != before.Size ||
			st.Mtime != before.Mtime {
			if r.workedOn(v.production.at) {
				return nil
			}
			return wrong("%s of production changed", path)
		}
	}
	return nil
}

// workedOn reports whether another command has worked on production since then, or
// began shortly before. A gc, for one, needs no lock of staging. Each writes its line
// of the history before it deletes anything.
func (r *Repo) workedOn(since time.Time) bool {
	events, err := r.History(HistoryFilter{Since: since.Add(-time.Hour)})
	return err == nil && slices.ContainsFunc(events, func(e journal.Event) bool {
		return e.Kind.Switch() || e.Kind == journal.KindGC || e.Kind == journal.KindRedact
	})
}

// soundIn returns a function that reports whether all files of a tag are there and
// right.
func soundIn(c *stage.Checked) func(catalog.Name) bool {
	sv := &survey{checked: c, tags: &tagSurvey{}}
	sound := catalog.Names{}
	for _, t := range sv.tagged(sv.now) {
		sound[catalog.Name{Group: t.Repository, Version: t.Tag}] = t.Complete
	}
	return func(n catalog.Name) bool { return sound[n] }
}
