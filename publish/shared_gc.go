package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/publish/site/bucket"
)

// collect is Repo.collect for a production in an object store.
func (b *shared) collect(ctx context.Context, s *state, dryRun bool) (*GCResult, error) {
	r := b.r
	res := &GCResult{Freed: journal.Freed{Generations: []int{}, Items: []journal.FreedItem{}}, DryRun: dryRun,
		ClockBehind: s.clockBehind(), Leftovers: []Leftover{}}
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
		res.Items = append(res.Items, journal.FreedItem{Generation: n,
			Reason: "its window ended " + end.UTC().Format(time.RFC3339)})
	}
	var gone []generation.Carried
	for _, c := range s.current.Carried {
		if s.windows.Open(c.Dropped, s.now) {
			continue
		}
		end, _ := s.windows.End(c.Dropped)
		gone = append(gone, c)
		if s.windows.WasOver(c.Dropped, s.now) {
			continue // an earlier gc deleted it, or will when no kept generation has it
		}
		res.Files++
		res.Items = append(res.Items, journal.FreedItem{Path: c.Path, Reason: fmt.Sprintf(
			"generation %d dropped it, and its window ended %s", c.Dropped, end.UTC().Format(time.RFC3339))})
		res.Bytes += c.Size
	}
	if !dryRun {
		if _, err := b.finishBeside(ctx); err != nil {
			return nil, err
		}
	}
	if dryRun || len(res.Items) == 0 && b.present().Condemned == nil {
		res.Leftovers = r.leftovers().list()
		return res, nil
	}
	got, err := b.site.Collect(ctx, b.at, due, gone, func(on *bucket.Pointer) (event, history []byte, err error) {
		h, err := b.history(ctx, on)
		if err != nil {
			return nil, nil, err
		}
		e := r.note(s, journal.KindGC, "")
		e.Time, e.Body = latest(e.Time, h.Newest(), on.Date), &res.Freed
		if event, err = h.Add(e); err != nil {
			return nil, nil, err
		}
		history, err = h.Summary(append(b.kept(on), dropped(s.current.Manifest)...))
		return event, history, err
	})
	if got != nil && got.Now != nil {
		b.move(got.Now)
		if after, err := b.state(ctx, got.Now); err == nil {
			*s = *after
		}
	}
	if moved := new(bucket.MovedError); errors.As(err, &moved) {
		b.move(moved.Now)
		return res, nil // the gc of whoever was first, or the next one, does it
	}
	if err != nil {
		return res, b.explain(err)
	}
	if !got.Waits.IsZero() {
		r.opt.Warn("another gc is at work, or has died a short time ago: nothing was deleted; it can be tried again after " +
			got.Waits.UTC().Format(time.RFC3339))
		res.Freed = journal.Freed{Generations: []int{}, Items: []journal.FreedItem{}}
		return res, nil
	}
	res.Bytes = got.Bytes
	for _, stay := range got.Stay {
		r.opt.Warn(fmt.Sprintf("%s: could not be deleted, and will be tried again: %v", stay.Key, stay.Err))
	}
	b.trim(s)
	if err := r.emptyTrash(s.now); err != nil {
		r.opt.Warn(fmt.Sprintf("the trash was not emptied: %v", err))
	}
	return res, nil
}

// Strays are objects below production's prefix that nothing of production names.
type Strays struct {
	Keys    []string `json:"keys"`    // those of this repository, which promotes that did not end left
	Bytes   int64    `json:"bytes"`   // of these
	Foreign int      `json:"foreign"` // objects that this repository did not make; they are never touched
	Uploads int      `json:"uploads"` // in parts, that this machine began and did not end
	DryRun  bool     `json:"dry_run"`
}

// strayGrace is orphan_grace for objects, if it is not set: far longer than a promote can
// take, because what it has uploaded is not named until it commits.
const strayGrace = 24 * time.Hour

// GCStrays deletes the objects in the store that nothing names, and that are older than
// the orphans' grace period. It lists all objects below the prefix.
func (r *Repo) GCStrays(ctx context.Context, dryRun bool) (*Strays, error) {
	if r.shared == nil {
		return nil, &Error{Kind: Usage, Fact: "orphans of this kind are in object stores, and production is on this machine",
			Hint: "publish prune deletes files that no index names"}
	}
	s, _, unlock, err := r.exclusive(ctx, actor{verb: "gc"})
	if err != nil {
		return nil, err
	}
	defer unlock()
	out := &Strays{Keys: []string{}, DryRun: dryRun}
	if s.clockBehind() {
		return out, nil
	}
	age := strayGrace
	if r.Config.OrphanGrace > 0 {
		age = time.Duration(r.Config.OrphanGrace)
	}
	mine, foreign, err := r.shared.site.Orphans(ctx, r.shared.at, age, !dryRun)
	if err != nil {
		return nil, r.shared.explain(err)
	}
	for _, o := range mine {
		out.Keys, out.Bytes = append(out.Keys, o.Key), out.Bytes+o.Size
	}
	out.Foreign = foreign
	if err := r.shared.abort(ctx, out, r.now().Add(-age)); err != nil {
		return nil, err
	}
	r.shared.sawForeign(ForeignState{Objects: foreign, Seen: s.now.UTC().Truncate(time.Second)})
	return out, nil
}

// abort ends uploads in parts that nobody has gone on with since a time. One that fails is
// tried again by the next gc.
func (b *shared) abort(ctx context.Context, out *Strays, before time.Time) error {
	store, ok := b.site.Store.(bucket.Resumer)
	if !ok {
		return nil
	}
	list, err := store.Abandoned()
	if err != nil {
		return err
	}
	for _, a := range list {
		if a.Last.After(before) {
			continue
		}
		if !out.DryRun {
			if err := store.Abort(ctx, a); err != nil {
				b.r.opt.Warn(fmt.Sprintf("an upload of %s that did not end stays: %v", a.Key, b.explain(err)))
				continue
			}
		}
		out.Uploads++
	}
	return nil
}
