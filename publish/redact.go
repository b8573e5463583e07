package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
	"example.com/publish/stage/tree"
)

// redact makes in the draft the tree of a generation without the rows that are gone,
// and without the versions of unnamed that have no content:
// its indexes are made anew, and what is left is validated and flushed.
func (r *Repo) redact(ctx context.Context, s *state, g *generation.Tree, gone func(tree.Row) bool, unnamed catalog.Names, draft *generation.Draft) (*stage.Valid, error) {
	left := *g.Manifest
	left.Own = slices.DeleteFunc(slices.Clone(g.Own), gone)
	if err := r.rebuild(ctx, s, &generation.Tree{Manifest: &left, Dir: g.Dir}, draft); err != nil {
		return nil, err
	}
	valid, report, changed, err := stage.Strip(ctx, draft.Dir, r.format, g.Own, gone, unnamed, r.now())
	if err != nil {
		return nil, err
	}
	if valid == nil {
		return nil, &FindingsError{Report: report}
	}
	for _, p := range report.Dropped {
		r.opt.Warn(fmt.Sprintf("production/%s: is left out, since what it belongs to has changed; sign or make it again", p))
	}
	base, err := r.stageBase(s)
	if err != nil {
		return nil, err
	}
	defer base.Source.Close()
	rewritten := slices.DeleteFunc(slices.Clone(valid.Rows), func(row tree.Row) bool { return !slices.Contains(changed, row.Path) })
	if err := base.Settle(draft.Dir, rewritten, s.now); err != nil {
		return nil, err
	}
	for _, row := range rewritten {
		if err := durable.SyncFile(filepath.Join(draft.Dir, filepath.FromSlash(row.Path))); err != nil {
			return nil, err
		}
	}
	return valid, nil
}

// sound returns a generation as it can be reverted to: itself, or, when it is
// redacted, what redact makes of it in the draft.
func (r *Repo) sound(ctx context.Context, s *state, g *generation.Tree, draft *generation.Draft) (*generation.Tree, *stage.Valid, error) {
	graves, err := r.graveyard()
	if err != nil {
		return nil, nil, err
	}
	gone := func(row tree.Row) bool { return graves.Redacted(g.Generation, row) }
	unnamed := graves.Unnamed(g.Generation)
	i := slices.IndexFunc(g.Own, gone)
	if i < 0 && len(unnamed) == 0 {
		return g, nil, nil
	}
	if i < 0 {
		// Names alone: most likely it does not have them.
		cat, err := stage.ReadCatalog(ctx, g.Dir, r.format)
		if err != nil {
			return nil, nil, err
		}
		if !slices.ContainsFunc(cat.Images, func(i catalog.Image) bool { return unnamed[i.Of()] }) {
			return g, nil, nil
		}
	} else if row := g.Own[i]; r.format.Class(row.Path) == catalog.Whole {
		return nil, nil, refuse(r.keptHint(), "generation %d had %s, which was revoked %s; a tree without indexes cannot be reverted to in part",
			g.Generation, row.Path, graves.Over(row.SHA256).Reason())
	}
	valid, err := r.redact(ctx, s, g, gone, unnamed, draft)
	if err != nil {
		return nil, nil, err
	}
	m := *g.Manifest
	m.Own, m.TreeID = valid.Rows, valid.TreeID
	return &generation.Tree{Manifest: &m, Dir: g.Dir}, valid, nil
}

// redaction counts what the deletion of revoked content comes to.
type redaction struct {
	Redaction
	inodes map[uint64]bool // of what was counted
}

func (d *redaction) count(st tree.Stat) {
	d.Files++
	if !d.inodes[st.Ino] {
		d.inodes[st.Ino] = true
		d.Bytes += st.Size
	}
}

func contentsOf(list []tombstone.Stone) stage.Contents {
	want := stage.Contents{Sums: map[string]bool{}, Sizes: map[int64]bool{}, Unnamed: catalog.Names{}}
	for _, t := range list {
		maps.Copy(want.Unnamed, tombstone.NamesOf(t.Unnamed))
		for _, c := range t.Revoked {
			want.Sums[c.SHA256], want.Sizes[c.Bytes] = true, true
		}
	}
	return want
}

// erase deletes revoked content from every kept generation, from trash and
// from staging, and says so in the history. The caller holds the production
// lock, and has made the switch away from it durable. It is driven by the
// tombstones alone and may be killed anywhere: whoever recovers next goes on.
//
// Staging belongs to another lock, which comes before production's. Where the
// caller does not hold it, it is tried without waiting; if somebody else has
// it, finished is false, and the next recovery tries again.
func (r *Repo) erase(ctx context.Context, s *state, staging bool) (did *redaction, finished bool, err error) {
	graves, err := r.graveyard()
	if err != nil {
		return nil, false, err
	}
	done, pending := graves.Split()
	r.tryAgain(leftByRevoke)
	if len(pending) == 0 {
		return nil, true, nil
	}
	if err := r.at("before-erase"); err != nil {
		return nil, false, err
	}
	// The gc behind the switch may have failed, which is no failure of its own.
	if err := r.sweepRetired(); err != nil {
		return nil, false, err
	}
	want := contentsOf(pending)
	did, err = r.eraseKept(ctx, s, want, done, false)
	if err == nil {
		err = r.eraseLeft(ctx, want, did)
	}
	if err != nil {
		return did, false, err
	}
	if !staging {
		try := *r.Stage
		try.Wait = 0
		unlock, err := try.Exclusive(ctx, "revoke")
		if held := new(lock.HeldError); errors.As(err, &held) {
			return did, false, nil
		}
		if err != nil {
			return did, false, err
		}
		defer unlock()
	}
	if err := r.at("before-purge"); err != nil {
		return did, false, err
	}
	found, err := r.Stage.Purge(ctx, want)
	for _, e := range found {
		did.count(e.Stat)
	}
	if at := new(fs.PathError); errors.As(err, &at) && strings.HasPrefix(at.Path, r.Stage.Dir) && !gone(at.Path) {
		r.leave(leftByRevoke, at.Path, at)
	} else if err != nil {
		return did, false, errors.Join(fmt.Errorf("staging: %w", err), r.unerased())
	}
	if err := r.unerased(); err != nil {
		return did, false, err
	}
	if err := r.at("after-purge"); err != nil {
		return did, false, err
	}
	// gc and the sweeps do not sync what they remove: to them it is all the
	// same when a power cut brings it back.
	for _, dir := range append(r.Stage.Uploads(), r.path("generations"), r.path(".publish", "trash")) {
		if err := durable.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return did, false, err
		}
	}
	if err := r.logRedaction(s, graves, pending, did); err != nil {
		return did, false, err
	}
	if err := r.at("after-redact-history"); err != nil {
		return did, false, err
	}
	if err := r.bury(tombstone.Stone{Time: s.now, Who: r.who(), Done: true}); err != nil {
		return did, false, err
	}
	return did, true, r.at("after-done")
}

// eraseLeft looks for contents in the trees that the sweep could not delete, and
// deletes at least these.
func (r *Repo) eraseLeft(ctx context.Context, want stage.Contents, did *redaction) error {
	list, err := os.ReadDir(r.path("generations"))
	if err != nil {
		return err
	}
	for _, d := range list {
		n, isTree := parseNumber(d.Name())
		dir := r.path("generations", d.Name())
		left := r.left.holds(d.Name())
		if isTree { // those that are whole were looked at by their manifests
			id, err := identity(dir)
			left = err == nil && id != n
		}
		if !left {
			continue
		}
		found, err := stage.Find(ctx, dir, everyFile{r.format}, tree.OpenCache(""), want)
		if err != nil {
			r.leave(leftByRevoke, dir, err) // what cannot be read cannot be ruled out
			continue
		}
		var paths []string
		for _, e := range found {
			paths = append(paths, e.Path)
		}
		if err := r.unlink(dir, paths, did, false); err != nil {
			return err
		}
	}
	return nil
}

// unerased is an error while something that was revoked could not be deleted.
func (r *Repo) unerased() error {
	left := r.present(r.left)[leftByRevoke]
	if len(left) == 0 {
		return nil
	}
	more := ""
	if len(left) > 1 {
		more = fmt.Sprintf("; and %d more", len(left)-1)
	}
	return &Error{Kind: Switched, Path: left[0].Path, Fact: fmt.Sprintf("has revoked content and cannot be deleted: %s (owner: %s)%s", left[0].Reason, left[0].Owner, more),
		Hint: left[0].Remedy}
}

// logRedaction appends the event, unless the one who was killed before the
// tombstones were marked as done had come as far.
func (r *Repo) logRedaction(s *state, graves *tombstone.Graveyard, pending []tombstone.Stone, did *redaction) error {
	if lines, ok := s.history.Redacted(); ok && lines == graves.Len() {
		return nil
	}
	last := pending[len(pending)-1]
	e := r.note(s, KindRedact, last.Why)
	b := &journal.Redact{Redaction: &did.Redaction, Tombstones: graves.Len()}
	for _, t := range pending {
		b.Revoked = append(b.Revoked, revokedEvent(t.Revoked)...)
		b.Unnamed = append(b.Unnamed, unnamedEvent(t.Unnamed)...)
	}
	e.Who, e.Body = last.Who, b
	return r.log(s.history, e)
}

// eraseKept deletes contents from the kept generations, production's tree
// excepted, and from trash. With look it only counts, production's tree
// included: it is kept after the switch.
func (r *Repo) eraseKept(ctx context.Context, s *state, want stage.Contents, done *tombstone.Graveyard, look bool) (*redaction, error) {
	out := &redaction{Redaction{Generations: []int{}, Paths: map[int][]string{}}, map[uint64]bool{}}
	current := 0
	if s.current != nil {
		current = s.current.Generation
	}
	kept, err := r.kept(current)
	if err != nil {
		return out, err
	}
	for _, n := range kept {
		if n == current && !look || n != current && r.claimed(r.path("generations", number(n))) {
			continue
		}
		paths, err := r.holding(ctx, s, n, want, done)
		if err != nil {
			return out, err
		}
		if len(paths) == 0 {
			continue
		}
		out.Generations, out.Paths[n] = append(out.Generations, n), paths
		if err := r.unlink(r.treeOf(s, n), paths, out, look); err != nil {
			return out, err
		}
		if !look {
			if err := r.at("after-redact"); err != nil {
				return out, err
			}
		}
	}
	trash := r.path(".publish", "trash")
	found, err := stage.Find(ctx, trash, everyFile{r.format}, tree.OpenCache(""), want)
	if err != nil {
		return out, err
	}
	var paths []string
	for _, e := range found {
		paths = append(paths, e.Path)
	}
	return out, r.unlink(trash, paths, out, look)
}

// everyFile is a format to which no path in trash, where each lies below the
// time of its removal, is an index or an upload.
type everyFile struct{ catalog.Format }

func (everyFile) Class(string) catalog.Class { return catalog.Whole }

// holding returns the paths at which generation n had contents before they were
// revoked: those too that a killed deletion has removed, but not those that
// were done with before.
func (r *Repo) holding(ctx context.Context, s *state, n int, want stage.Contents, done *tombstone.Graveyard) ([]string, error) {
	var paths []string
	m, err := r.manifest(n)
	if err != nil {
		// Damaged: the tree itself tells.
		found, err := stage.Find(ctx, r.treeOf(s, n), r.format, tree.OpenCache(""), want)
		for _, e := range found {
			paths = append(paths, e.Path)
		}
		return paths, err
	}
	for row := range m.All() {
		if want.Sums[row.SHA256] && row.Role != catalog.Link && !done.Redacted(n, row) {
			paths = append(paths, row.Path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// unlink removes paths below dir and makes that durable; those that are gone
// already count for nothing, and those that cannot be removed are left over.
// With look it only counts.
func (r *Repo) unlink(dir string, paths []string, out *redaction, look bool) error {
	dirs := map[string]bool{}
	for _, p := range paths {
		full := filepath.Join(dir, filepath.FromSlash(p))
		fi, err := os.Lstat(full)
		if errors.Is(err, fs.ErrNotExist) {
			dirs[filepath.Dir(full)] = true // a removal that was not synced
			continue
		}
		if errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			if !look {
				r.leave(leftByRevoke, full, err)
			}
			continue
		}
		if look || r.drop(leftByRevoke, full) {
			out.count(tree.StatOf(fi))
		}
		dirs[filepath.Dir(full)] = true
	}
	if look {
		return nil
	}
	for d := range dirs {
		if err := durable.SyncDir(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
