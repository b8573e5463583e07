package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// GCResult is what a gc deleted, or would delete.
type GCResult struct {
	journal.Freed
	DryRun      bool `json:"dry_run"`
	ClockBehind bool `json:"clock_behind"` // the clock is behind the history: nothing is deleted
	// Leftovers could not be deleted, by this gc or by an earlier command.
	Leftovers []Leftover `json:"leftovers"`
}

// GC deletes retired generations and carried files whose window has ended.
func (r *Repo) GC(ctx context.Context, dryRun bool) (*GCResult, error) {
	s, _, unlock, err := r.exclusive(ctx, actor{verb: "gc"})
	if err != nil {
		return nil, err
	}
	defer unlock()
	res, err := r.collect(ctx, s, dryRun)
	if err != nil || dryRun {
		return res, err
	}
	res.Leftovers = r.present(r.left).list()
	return res, r.hookGC(ctx, s, res)
}

// collect is gc under the production lock, after recovery. History names every switch
// away from what it deletes, and names a switch only after the switch is durable.
//
// It logs the deletion before it begins. If the clock is set back later, windows look
// open again; the line then shows that they had ended.
func (r *Repo) collect(ctx context.Context, s *state, dryRun bool) (*GCResult, error) {
	if r.shared != nil {
		return r.shared.collect(ctx, s, dryRun)
	}
	res := &GCResult{Freed: journal.Freed{Generations: []int{}, Items: []journal.FreedItem{}}, DryRun: dryRun,
		ClockBehind: s.clockBehind(),
		Leftovers:   []Leftover{}}
	if s.current == nil || res.ClockBehind {
		return res, nil
	}
	due, err := r.due(s)
	if err != nil {
		return nil, err
	}
	for _, n := range due {
		res.Generations = append(res.Generations, n)
		end, _ := s.windows.Retired(n)
		res.Items = append(res.Items, journal.FreedItem{Generation: n, Reason: "its window ended " +
			end.UTC().Format(time.RFC3339)})
	}
	if !dryRun {
		r.tryAgain(leftByGC)
	}
	freed := tally{names: map[uint64]uint32{}}
	files := r.expired(s, res, &freed)
	anew, err := r.shortened(s)
	if err != nil {
		return nil, err
	}
	live, err := tree.OpenSource(s.current.Dir)
	if err != nil {
		return nil, err
	}
	defer live.Close()
	keep := staying(files, anew)
	with := map[string]*tree.Comparison{} // trees that go, or become the spare, with production
	if len(due)+len(files) > 0 {
		for _, dir := range append(r.store.Dirs(due), r.store.SparePath()) {
			with[dir] = freed.beyond(ctx, dir, live, keep, s.due.Of(dir))
		}
	}
	res.Files, res.Bytes = len(files), freed.bytes
	if dryRun {
		res.Leftovers = r.leftovers().list()
		return res, nil
	}
	var again []journal.Event
	if !s.history.FreedAll(res.Items, s.current.Generation) {
		e := r.note(s, journal.KindGC, "")
		e.Body = &res.Freed
		err := errors.Join(r.log(s.history, e), r.at("after-gc-history"))
		if errors.Is(err, syscall.ENOSPC) {
			// The disk is full. Delete first, which frees space, and log after it.
			// Before that, the torn line is cut off, as recovery does.
			again = append(again, e)
		} else if err != nil {
			return res, err
		}
	}
	// The spare first, because it may contain what expires. If gc is killed in
	// between, production still has the files, so the next gc finds them again.
	if len(due)+len(files)+len(anew) > 0 {
		if err := r.reduceSpare(ctx, live, keep, len(due) > 0, with[r.store.SparePath()]); err != nil {
			return res, err
		}
	}
	var kept []journal.FreedItem // what could not be deleted
	for i, n := range due {
		var reuse func(dir string) error
		if i == len(due)-1 { // the newest has most in common with production
			reuse = func(dir string) error { return r.store.KeepSpare(ctx, dir, live, keep, with[r.store.Dir(n)]) }
		}
		ok, err := r.retire(n, reuse)
		if err := errors.Join(err, r.at("after-retire")); err != nil {
			return res, err
		}
		if !ok {
			kept = append(kept, journal.FreedItem{Generation: n})
		}
	}
	stay, err := r.site.Expire(ctx, s.current, files, anew)
	for _, f := range stay {
		if r.leave(leftByGC, f.Path, f.Err); f.Row != "" {
			kept = append(kept, journal.FreedItem{Path: f.Row})
		}
	}
	if err != nil {
		return res, err
	}
	res.Freed = res.Freed.Without(kept)
	for _, e := range again {
		if err := r.journal().Cut(s.history); err != nil {
			return res, err
		}
		if err := r.log(s.history, e); err != nil {
			return res, err
		}
	}
	if err := r.emptyTrash(s.now); err != nil {
		r.opt.Warn(fmt.Sprintf("the trash was not emptied: %v", err))
	}
	return res, nil
}

// compareDue has the tree of which the gc after the switch will make the spare compared
// with the draft, while the draft is sealed. That is a tree whose window has ended
// already. If gc finds another one, it compares that itself. done ends it.
func (r *Repo) compareDue(ctx context.Context, s *state, draft *generation.Draft) (done func()) {
	nothing := func() {}
	s.due = nil // that of a switch which failed its health check was compared with its tree
	if s.current == nil || s.clockBehind() {
		return nothing
	}
	due, err := r.due(s)
	if err != nil || len(due) == 0 {
		return nothing
	}
	var live *tree.Source
	var former *tree.Former
	draft.Whole = func() {
		if live, err = tree.OpenSource(draft.Dir); err == nil {
			former = tree.NewFormer(ctx, r.store.Dir(due[len(due)-1]), live, nil)
			s.due = former
		}
	}
	return func() {
		former.Wait()
		s.due = nil
		if live != nil {
			_ = live.Close() // nothing was written through it
		}
	}
}

// due returns the kept generations whose window has ended. It leaves out those that
// are pinned, those that the configuration keeps, and trees of other repositories that
// somebody moved here.
func (r *Repo) due(s *state) ([]int, error) {
	kept, err := r.beside(s)
	if err != nil {
		return nil, err
	}
	all := r.tenures(s.history, kept, s.windows)
	return slices.DeleteFunc(kept, func(n int) bool {
		return !all[n].Due(s.now) || r.store.Claimed(r.store.Dir(n))
	}), nil
}

// retire deletes the tree of generation n and then its manifest. It renames the tree
// first, so that no incomplete tree has a generation's name. If reuse is not nil, it
// first tries to make something else of the tree. It reports whether nothing of the
// generation is left.
func (r *Repo) retire(n int, reuse func(dir string) error) (bool, error) {
	trash, err := r.store.Aside(n)
	if err == nil {
		err = durable.SyncDir(r.store.Trees)
	}
	if err != nil {
		r.leave(leftByGC, r.store.Dir(n), err)
		return false, nil
	}
	if err := r.at("after-trash"); err != nil {
		return false, err
	}
	if reused := reuse != nil && reuse(trash) == nil; !reused && !r.drop(leftByGC, trash) {
		return false, nil
	}
	return r.drop(leftByGC, r.store.ManifestPath(n)), nil
}

// tally adds up the bytes that a deletion frees. A file counts when its last name is
// removed. A file may have names in the retired tree and, as a carried file, in
// production; both go in the same gc.
type tally struct {
	names map[uint64]uint32 // how many names are removed, by inode
	bytes int64
}

func (t *tally) add(st tree.Stat) {
	if t.names[st.Ino]++; t.names[st.Ino] == st.Links {
		t.bytes += st.Size
	}
}

// beyond adds the files of a tree that are not the same inode at the same path in
// production (live), and those that keep says are to go from there. It returns the
// comparison; nil if the tree cannot be compared. with is one that was made before; nil
// for none.
func (t *tally) beyond(
	ctx context.Context, dir string, live *tree.Source, keep tree.Common, with *tree.Comparison,
) *tree.Comparison {
	var files []tree.Stat
	var err error
	if with == nil {
		with, err = tree.Compare(ctx, dir, live)
	}
	if err == nil {
		err = with.Beyond(dir, keep, func(st tree.Stat) { files = append(files, st) })
	}
	if err != nil { // for example, something is mounted there: then the whole tree is to go
		with, files = nil, nil
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			if fi, err := d.Info(); err == nil {
				files = append(files, tree.StatOf(fi))
			}
			return nil
		})
	}
	for _, st := range files {
		t.add(st)
	}
	return with
}

// staying says what of production stays when rows expire and documents are replaced.
func staying(rows []tree.Row, anew []catalog.Document) tree.Common {
	if len(rows)+len(anew) == 0 {
		return tree.Common{}
	}
	gone, touched := make(map[string]bool, len(rows)), map[string]bool{}
	for _, row := range rows {
		gone[row.Path] = true
		touched[row.Path[:max(0, strings.LastIndexByte(row.Path, '/'))]] = true
	}
	for _, d := range anew {
		gone[d.Path] = true
		touched[d.Path[:max(0, strings.LastIndexByte(d.Path, '/'))]] = true
	}
	return tree.Common{Keep: func(path string) bool { return !gone[path] },
		All: func(dir string, _ int) bool { return !touched[dir] }}
}

// expired returns the carried files of production whose window has ended and that
// still exist. It adds them to the result and to what is freed.
func (r *Repo) expired(s *state, res *GCResult, freed *tally) []tree.Row {
	var files []tree.Row
	for _, c := range s.current.Carried {
		if s.windows.Open(c.Dropped, s.now) {
			continue
		}
		path := filepath.Join(s.current.Dir, filepath.FromSlash(c.Path))
		fi, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			if !res.DryRun {
				r.leave(leftByGC, path, err)
			}
			continue
		}
		files = append(files, c.Row)
		end, _ := s.windows.End(c.Dropped)
		freed.add(tree.StatOf(fi))
		res.Items = append(res.Items, journal.FreedItem{Path: c.Path,
			Reason: fmt.Sprintf("generation %d dropped it, and its window ended %s", c.Dropped,
				end.UTC().Format(time.RFC3339))})
	}
	return files
}
