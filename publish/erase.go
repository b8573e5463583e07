package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
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

// redaction is the result of deleting revoked content.
type redaction struct {
	journal.Redaction
	inodes map[uint64]bool // already counted
}

func newRedaction() *redaction {
	return &redaction{journal.Redaction{Generations: []int{}, Paths: map[int][]string{}}, map[uint64]bool{}}
}

func (d *redaction) count(st tree.Stat) {
	d.Files++
	if !d.inodes[st.Ino] {
		d.inodes[st.Ino] = true
		d.Bytes += st.Size
	}
}

// note records that a generation had some of the content.
func (d *redaction) note(p place) {
	if p.generation != 0 {
		d.Generations, d.Paths[p.generation] = append(d.Generations, p.generation), p.paths
	}
}

// sought is the content to delete, and the tombstones whose deletion is already done.
type sought struct {
	stage.Contents
	done *tombstone.Graveyard
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

// erasure is how far the deletion of revoked content has come.
type erasure int

const (
	// erasePending: something is left, and an error says why. The next recovery
	// continues.
	erasePending erasure = iota
	// eraseWaits: only staging is left; another process holds its lock.
	eraseWaits
	// eraseDone: nothing is left.
	eraseDone
)

// locker takes a lock, and returns a function that releases it.
type locker func(context.Context) (unlock func(), err error)

// tryStaging takes the staging lock if it is free. It never waits: the caller already
// holds the production lock, and the order of the locks is the other way round.
func (r *Repo) tryStaging(ctx context.Context) (unlock func(), err error) {
	try := *r.Stage
	try.Wait = 0
	return try.Exclusive(ctx, "revoke")
}

// haveStaging replaces tryStaging in a caller that already holds the lock.
func haveStaging(context.Context) (unlock func(), err error) { return func() {}, nil }

// erase deletes revoked content from every kept generation, from trash and from
// staging, and records that in the history. The caller holds the production lock. The
// switch away from the content is durable. erase reads only the tombstones, so it may
// be killed at any point: the next recovery continues.
//
// Staging needs its own lock, which comes before production's; lockStaging is
// tryStaging or haveStaging. The redaction is nil if there was nothing to delete.
func (r *Repo) erase(ctx context.Context, s *state, lockStaging locker) (*redaction, erasure, error) {
	graves, err := r.graveyard()
	if err != nil {
		return nil, erasePending, err
	}
	done, pending := graves.Split()
	r.tryAgain(leftByRevoke)
	if len(pending) == 0 {
		return nil, eraseDone, nil
	}
	if err := r.at("before-erase"); err != nil {
		return nil, erasePending, err
	}
	// Trees that gc was to delete may still be there: a failed gc is only a warning.
	if err := errors.Join(r.dropSpare(), r.sweepRetired()); err != nil {
		return nil, erasePending, err
	}
	did, want := newRedaction(), sought{contentsOf(pending), done}
	erase := r.eraseTrees
	if r.shared != nil {
		erase = r.shared.eraseObjects
	}
	if err := erase(ctx, s, want, did); err != nil {
		return did, erasePending, err
	}
	unlock, err := lockStaging(ctx)
	if held := new(lock.HeldError); errors.As(err, &held) {
		return did, eraseWaits, nil
	}
	if err != nil {
		return did, erasePending, err
	}
	defer unlock()
	if err := r.eraseStaged(ctx, want.Contents, did); err != nil {
		return did, erasePending, err
	}
	// gc and the sweeps do not sync after a removal, because to them it does not
	// matter if a power cut brings a file back. Here it does.
	for _, dir := range append(r.Stage.Uploads(), r.store.Trees, r.path(".publish", "trash")) {
		if err := durable.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return did, erasePending, err
		}
	}
	if err := r.logRedaction(s, graves, pending, did); err != nil {
		return did, erasePending, err
	}
	if err := r.at("after-redact-history"); err != nil {
		return did, erasePending, err
	}
	if err := r.bury(tombstone.Stone{Time: s.now, Who: r.who(), Done: true}); err != nil {
		return did, erasePending, err
	}
	return did, eraseDone, r.at("after-done")
}

// eraseTrees deletes contents from the kept trees, except production, and from trash.
func (r *Repo) eraseTrees(ctx context.Context, s *state, want sought, did *redaction) error {
	live := 0 // production does not have the content: it was switched away from it
	if s.current != nil {
		live = s.current.Generation
	}
	for p, err := range r.places(ctx, s, live, want) {
		if err != nil {
			return err
		}
		did.note(p)
		if err := r.unlink(p, did); err != nil {
			return err
		}
		if p.generation != 0 {
			if err := r.at("after-redact"); err != nil {
				return err
			}
		}
	}
	return r.eraseLeft(ctx, want.Contents, did)
}

// eraseStaged deletes contents from staging. It also returns an error if some revoked
// content could not be deleted elsewhere.
func (r *Repo) eraseStaged(ctx context.Context, want stage.Contents, did *redaction) error {
	if err := r.at("before-purge"); err != nil {
		return err
	}
	found, err := r.Stage.Purge(ctx, want)
	for _, e := range found {
		did.count(e.Stat)
	}
	if at := new(fs.PathError); errors.As(err, &at) && strings.HasPrefix(at.Path, r.Stage.Dir) && !gone(at.Path) {
		r.leave(leftByRevoke, at.Path, at)
	} else if err != nil {
		return errors.Join(fmt.Errorf("staging: %w", err), r.undeletable())
	}
	if err := r.undeletable(); err != nil {
		return err
	}
	return r.at("after-purge")
}

// foresee counts what erase will delete after these contents are revoked. It includes
// production's tree, because that tree is kept after the switch.
func (r *Repo) foresee(ctx context.Context, s *state, want sought) (*redaction, error) {
	did := newRedaction()
	for p, err := range r.places(ctx, s, 0, want) {
		if err != nil {
			return nil, err
		}
		did.note(p)
		for _, path := range p.paths {
			if fi, err := os.Lstat(filepath.Join(p.dir, filepath.FromSlash(path))); err == nil {
				did.count(tree.StatOf(fi))
			}
		}
	}
	found, err := r.Stage.Find(ctx, want.Contents)
	for _, e := range found {
		did.count(e.Stat)
	}
	return did, err
}

// eraseLeft searches the trees that the sweep could not delete, and deletes at least
// the revoked content there.
func (r *Repo) eraseLeft(ctx context.Context, want stage.Contents, did *redaction) error {
	list, err := os.ReadDir(r.store.Trees)
	if err != nil {
		return err
	}
	for _, d := range list {
		n, isTree := generation.ParseNumber(d.Name())
		dir := r.path("generations", d.Name())
		left := r.left.holds(d.Name())
		if isTree { // places found the complete trees by their manifests
			id, err := generation.Identity(dir)
			left = err == nil && id != n
		}
		if !left {
			continue
		}
		found, err := stage.Find(ctx, dir, everyFile{r.format}, tree.OpenCache(""), want)
		if err != nil {
			r.leave(leftByRevoke, dir, err) // it may have revoked content
			continue
		}
		p := place{dir: dir}
		for _, e := range found {
			p.paths = append(p.paths, e.Path)
		}
		if err := r.unlink(p, did); err != nil {
			return err
		}
	}
	return nil
}

// undeletable returns an error if some revoked content could not be deleted.
func (r *Repo) undeletable() error {
	left := r.present(r.left)[leftByRevoke]
	if len(left) == 0 {
		return nil
	}
	more := ""
	if len(left) > 1 {
		more = fmt.Sprintf("; and %d more", len(left)-1)
	}
	return &Error{Kind: Switched, Path: left[0].Path, Hint: left[0].Remedy,
		Fact: fmt.Sprintf("has revoked content and cannot be deleted: %s (owner: %s)%s", left[0].Reason, left[0].Owner,
			more)}
}

// logRedaction appends the event, unless an earlier attempt already did. That attempt
// was killed before it could mark the tombstones as done.
func (r *Repo) logRedaction(s *state, graves *tombstone.Graveyard, pending []tombstone.Stone, did *redaction) error {
	if lines, ok := s.history.Redacted(); ok && lines == graves.Len() {
		return nil
	}
	last := pending[len(pending)-1]
	e := r.note(s, journal.KindRedact, last.Why)
	b := &journal.Redact{Redaction: &did.Redaction, Tombstones: graves.Len()}
	for _, t := range pending {
		b.Revoked = append(b.Revoked, revokedEvent(t.Revoked)...)
		b.Unnamed = append(b.Unnamed, unnamedEvent(t.Unnamed)...)
	}
	e.Who, e.Body = last.Who, b
	return r.log(s.history, e)
}

// place is a directory that has, or had, revoked content.
type place struct {
	generation int // 0: trash
	dir        string
	paths      []string // below dir
}

// places finds contents in the kept generations, except the generation without, and in
// trash. It yields one place after the other, so that the caller can delete from one
// place before the next is read.
func (r *Repo) places(ctx context.Context, s *state, without int, want sought) iter.Seq2[place, error] {
	return func(yield func(place, error) bool) {
		current := 0
		if s.current != nil {
			current = s.current.Generation
		}
		kept, err := r.store.Kept(current)
		if err != nil {
			yield(place{}, err)
			return
		}
		for _, n := range kept {
			if n == without || n != current && r.store.Claimed(r.store.Dir(n)) {
				continue
			}
			paths, err := r.holding(ctx, s, n, want)
			if err == nil && len(paths) == 0 {
				continue
			}
			if !yield(place{n, r.treeOf(s, n), paths}, err) || err != nil {
				return
			}
		}
		trash := place{dir: r.path(".publish", "trash")}
		found, err := stage.Find(ctx, trash.dir, everyFile{r.format}, tree.OpenCache(""), want.Contents)
		for _, e := range found {
			trash.paths = append(trash.paths, e.Path)
		}
		yield(trash, err)
	}
}

// everyFile is a format for trash, where paths begin with the time of the removal. So
// no path there is an index or an upload.
type everyFile struct{ catalog.Format }

func (everyFile) Class(string) catalog.Class { return catalog.Whole }

// holding returns the paths at which generation n had contents before they were
// revoked. It includes paths that a killed deletion has already removed, but not those
// of a deletion that is done.
func (r *Repo) holding(ctx context.Context, s *state, n int, want sought) ([]string, error) {
	var paths []string
	m, err := r.manifest(n)
	if err != nil {
		// The manifest is damaged, so search the tree.
		found, err := stage.Find(ctx, r.treeOf(s, n), r.format, tree.OpenCache(""), want.Contents)
		for _, e := range found {
			paths = append(paths, e.Path)
		}
		return paths, err
	}
	for row := range m.All() {
		if want.Sums[row.SHA256] && row.Role != catalog.Link && !want.done.Redacted(n, row) {
			paths = append(paths, row.Path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// unlink removes the files of a place, durably. A file that is already gone is not
// counted. A file that cannot be removed is noted as a leftover.
func (r *Repo) unlink(p place, did *redaction) error {
	dirs := map[string]bool{}
	for _, path := range p.paths {
		full := filepath.Join(p.dir, filepath.FromSlash(path))
		fi, err := os.Lstat(full)
		if errors.Is(err, fs.ErrNotExist) {
			dirs[filepath.Dir(full)] = true // the earlier removal may not be synced
			continue
		}
		if errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			r.leave(leftByRevoke, full, err)
			continue
		}
		if r.drop(leftByRevoke, full) {
			did.count(tree.StatOf(fi))
		}
		dirs[filepath.Dir(full)] = true
	}
	for d := range dirs {
		if err := durable.SyncDir(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// pendingErasure returns an error if revoked content is still to be deleted. A user
// who runs recover must learn that.
func (r *Repo) pendingErasure() error {
	graves, err := r.graveyard()
	if err != nil {
		return err
	}
	if _, pending := graves.Split(); len(pending) > 0 {
		return &Error{Kind: Switched, Fact: "revoked content is not deleted everywhere yet",
			Hint: "fix what the warning names, or wait until staging is unlocked; then run publish recover again"}
	}
	return nil
}
