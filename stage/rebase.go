package stage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Rebased is the result of Rebase.
type Rebased struct {
	// Conflicts are what both sides did to the same version or file, and cannot be
	// united, sorted. If there are any, staging is unchanged.
	Conflicts []catalog.Clash
	// Findings are warnings: production's fields and pages that won over those of staging.
	Findings []catalog.Finding
	Written  []string // documents and other files of staging, sorted
	Dropped  []string // files that moved to the trash, sorted
}

// Rebase gives sparse staging, which began from base, another beginning: theirs. What
// staging changed stays changed, and what theirs changed since base comes. base and
// theirs are nil for a production without generations. The caller records then that
// staging begins from theirs, so Elsewhere must return base until Rebase has returned.
//
// The units are those of the format: see [catalog.Rebaser]. In a tree without indexes a
// path is one. Other files that nobody names by digest, such as pages, are theirs where
// both changed them, with a warning.
//
// Rebase holds the staging lock for verb. New files come first, the documents after them
// (see apply), and what goes is moved to the directory trash last. If it is killed, or
// the caller before it has recorded theirs, Rebase is called again with the same base
// and theirs, or later ones: it then finds on both sides what it has brought already.
func (s *Stage) Rebase(ctx context.Context, verb string, base, theirs *Side, trash string) (*Rebased, error) {
	if s.Elsewhere == nil {
		return nil, errors.New("staging has all files of its tree, and cannot be rebased")
	}
	unlock, err := s.Exclusive(ctx, verb)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if base != nil && theirs != nil && slices.Equal(base.Rows, theirs.Rows) {
		return &Rebased{}, nil
	}
	removed, err := s.removedList()
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	r := &rebase{s: s, ctx: ctx, base: base, theirs: theirs, out: &Rebased{}, removed: map[string]bool{}}
	for _, p := range removed {
		r.removed[p] = true
	}
	facts := s.facts(false)
	staged := tree.Contents(root)
	r.ours = memory{base.sparse(ctx).source(staged), facts}
	r.was, r.now = base.source(ctx, staged, facts), theirs.source(ctx, staged, facts)
	if err = s.rewrite(ctx, r.unite); err == nil {
		err = r.files()
	}
	if err = errors.Join(err, facts.Save()); err != nil {
		return nil, err
	}
	catalog.SortClashes(r.out.Conflicts)
	catalog.Sort(r.out.Findings)
	if len(r.out.Conflicts) > 0 {
		return r.out, nil
	}
	return r.out, r.write(verb, trash)
}

// rebase is one call of Rebase.
type rebase struct {
	s              *Stage
	ctx            context.Context
	base, theirs   *Side
	was, ours, now catalog.Source
	out            *Rebased

	docs    []catalog.Document // to write
	known   map[string]bool    // every document of the three trees
	removed map[string]bool    // see RemovedList
	gone    []string           // what it is to have
	fetch   []tree.Row         // files of theirs to write
	drop    []string           // files of staging that go
}

// unite finds the documents to write.
func (r *rebase) unite() error {
	r.known = map[string]bool{}
	for _, src := range []catalog.Source{r.was, r.ours, r.now} {
		list, err := r.s.Format.Documents(src)
		if err != nil {
			return err
		}
		for _, p := range list {
			r.known[p] = true
		}
	}
	f, ok := catalog.As[catalog.Rebaser](r.s.Format)
	if !ok {
		if len(r.known) > 0 {
			return fmt.Errorf("the documents of format %s cannot be united", r.s.Format.Name())
		}
		return nil
	}
	united, err := f.Rebase(r.ctx, r.was, r.ours, r.now)
	if err != nil {
		return err
	}
	r.docs, r.out.Conflicts, r.out.Findings = united.Documents, united.Conflicts, united.Findings
	return nil
}

// what stands at a path: nothing, a file with a hash, or a link.
type content struct {
	sha256 string // "" for nothing
	link   bool
}

func contentIn(rows []tree.Row, path string) content {
	if row, ok := tree.Find(rows, path); ok {
		return content{row.SHA256, row.Role == catalog.Link}
	}
	return content{}
}

// files decides about the files that are neither documents nor named by digest. Of what
// only staging has there is nothing to decide.
func (r *rebase) files() error {
	paths := map[string]tree.Row{}
	for _, rows := range [][]tree.Row{r.base.rows(), r.theirs.rows()} {
		for _, row := range rows {
			if row.Role != catalog.Content && !r.known[row.Path] && r.s.Format.Class(row.Path) != catalog.Index {
				paths[row.Path] = row
			}
		}
	}
	local, err := r.local(paths)
	if err != nil {
		return err
	}
	list := make([]string, 0, len(paths))
	for p := range paths {
		list = append(list, p)
	}
	slices.Sort(list)
	companions := documents(r.s.Format, sortedKeys(r.known), nil)
	for _, p := range list {
		if of := companions.Of(p); of != "" && !r.settled(of) {
			continue // it follows its document
		}
		was, now := contentIn(r.base.rows(), p), contentIn(r.theirs.rows(), p)
		own, here := local[p]
		whole := r.s.Format.Class(p) == catalog.Whole
		if !here && whole && !r.removed[p] {
			own = was // it counts as present
		}
		result := now
		switch choice := catalog.Choose(own == was, now == was, own == now); {
		case choice == catalog.Ours:
			result = own
		case choice == catalog.Neither && whole:
			r.out.Conflicts = append(r.out.Conflicts, catalog.Clash{Ref: p,
				Here:  catalog.DeedOf(was.sha256 != "", own.sha256 != ""),
				There: catalog.DeedOf(was.sha256 != "", now.sha256 != "")})
			continue
		case choice == catalog.Neither:
			r.out.Findings = append(r.out.Findings, catalog.Finding{Severity: catalog.Warning, Code: "both-changed",
				Path: p, Message: "was changed here and in production: production's stays"})
		}
		if whole && result.sha256 == "" {
			r.gone = append(r.gone, p)
		}
		switch {
		case result == own:
		case here && (whole || result.sha256 == ""):
			r.drop = append(r.drop, p) // then it is missing, or the store's counts
		case !whole && result.sha256 != "":
			row, _ := tree.Find(r.theirs.rows(), p)
			r.fetch = append(r.fetch, row)
		}
	}
	return nil
}

func sortedKeys(set map[string]bool) (out []string) {
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// settled reports whether a document of the result is theirs, byte by byte.
func (r *rebase) settled(path string) bool {
	row, ok := tree.Find(r.theirs.rows(), path)
	i := slices.IndexFunc(r.docs, func(d catalog.Document) bool { return d.Path == path })
	var data []byte
	if i >= 0 {
		data = r.docs[i].Data
	} else {
		data, _ = r.ours.Document(path)
	}
	if data == nil {
		return !ok
	}
	sum := sha256.Sum256(data)
	return ok && hex.EncodeToString(sum[:]) == row.SHA256
}

// local returns what staging has at these paths. Something that is neither a file nor a
// link is like nothing else.
func (r *rebase) local(paths map[string]tree.Row) (map[string]content, error) {
	entries, err := tree.Walk(r.ctx, r.s.Dir)
	if err != nil {
		return nil, err
	}
	cache := tree.OpenCache(r.s.Hashes)
	src, err := tree.OpenSource(r.s.Dir)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	out := map[string]content{}
	var needs []*need
	var bytes int64
	for _, e := range entries {
		if _, ok := paths[e.Path]; !ok {
			continue
		}
		switch e.Kind {
		case tree.Symlink:
			out[e.Path] = content{linkRow(e).SHA256, true}
		case tree.File:
			if sum, _, ok := cache.Lookup(e.Path, e.Stat); ok {
				out[e.Path] = content{sha256: sum}
				continue
			}
			needs = append(needs, &need{path: e.Path, stat: e.Stat})
			bytes += e.Stat.Size
		default:
			out[e.Path] = content{sha256: "?"}
		}
	}
	got, _, err := readAll(r.ctx, src.Root(), needs, r.s.progress("compare", bytes))
	for _, n := range got {
		if err := n.got.err(); err != nil {
			return nil, fmt.Errorf("%s: %w", join(r.s.Dir, n.path), err)
		}
		cache.Put(n.path, n.stat, n.got.sha256, r.s.Now())
		out[n.path] = content{sha256: n.got.sha256}
	}
	return out, errors.Join(err, cache.Save())
}

// write changes staging.
func (r *rebase) write(verb, trash string) error {
	d, err := r.s.Receive(r.ctx, verb)
	if err != nil {
		return err
	}
	defer d.Close()
	d.cache = tree.OpenCache(r.s.Hashes)
	batch, err := durable.NewBatch(r.s.Dir)
	if err != nil {
		return err
	}
	defer batch.Close()
	now := r.theirs.sparse(r.ctx)
	var replaced []string
	for _, row := range r.fetch {
		if err := d.bringRow(r.ctx, now, row, batch); err != nil {
			return err
		}
		replaced = append(replaced, row.Path)
		r.out.Written = append(r.out.Written, row.Path)
	}
	if err := batch.Flush(); err != nil {
		return err
	}
	// The companions of documents that are theirs come with the files; the others follow.
	docs, lost, err := follow(r.s.Dir, r.s.Format, r.docs)
	if err != nil {
		return err
	}
	came := func(p string) bool { return slices.Contains(replaced, p) || slices.Contains(r.drop, p) }
	docs = slices.DeleteFunc(docs, func(d catalog.Document) bool { return came(d.Path) })
	if err := r.s.keep(r.ctx, r.there(replaced), trash); err != nil {
		return err
	}
	if err := r.s.at("brought"); err != nil {
		return err
	}
	d.hold(".", r.fetch...)
	apply := func(docs []catalog.Document) error {
		if err := r.s.at("placed"); err != nil {
			return err
		}
		return r.s.apply(docs)
	}
	if _, err := d.land(&catalog.Change{Documents: docs}, apply); err != nil {
		return err
	}
	r.s.lost(slices.DeleteFunc(lost, came))
	if err := r.s.at("applied"); err != nil {
		return err
	}
	// Before files go: where one counts as present by its name alone, the list says that it
	// does not. It has those of base also, until the caller has recorded theirs.
	if err := r.s.writeRemoved(r.gone); err != nil {
		return err
	}
	if err := r.s.at("listed"); err != nil {
		return err
	}
	if err := r.s.discard(r.ctx, r.drop, trash); err != nil {
		return err
	}
	if err := r.s.at("dropped"); err != nil {
		return err
	}
	for _, doc := range docs {
		r.out.Written = append(r.out.Written, doc.Path)
	}
	slices.Sort(r.out.Written)
	r.out.Dropped = r.drop
	return nil
}

// there returns those of some paths that staging has.
func (r *rebase) there(paths []string) []string {
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
		_, err := os.Lstat(join(r.s.Dir, p))
		return errors.Is(err, fs.ErrNotExist)
	})
}

// bringRow brings a mutable file of another generation into the private directory.
func (d *Delivery) bringRow(ctx context.Context, from *sparse, row tree.Row, batch *durable.Batch) error {
	dir, err := durable.MakeBelow(d.up.path(), path.Dir(row.Path), d.s.dirMode(), false)
	if err != nil {
		return err
	}
	defer dir.Close()
	in, err := from.open(ctx, row)
	if err != nil {
		return err
	}
	defer in.Close()
	if row.Role == catalog.Link {
		text, err := io.ReadAll(in)
		if err == nil {
			err = dir.Symlink(string(text), path.Base(row.Path))
		}
		return err
	}
	f, err := dir.Create(path.Base(row.Path))
	if err != nil {
		return err
	}
	if _, err = tree.Spread(ctx, in, f); err == nil {
		err = f.Chmod(0o644)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	batch.Add(filepath.Dir(join(d.up.path(), row.Path)))
	return batch.Take(f)
}
