package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage/lock"
)

// actor is who takes the production lock, and what it has of its own: recovery
// leaves that alone.
type actor struct {
	verb      string
	preparing bool   // it holds the prepare lock also: no other promote is at work
	draft     string // path of its own tree in the making; "": none
}

// exclusive takes the production lock and recovers.
func (r *Repo) exclusive(ctx context.Context, by actor) (s *state, done []string, unlock func(), err error) {
	unlock, err = r.lock(ctx, productionLock, by.verb)
	if err != nil {
		return nil, nil, nil, err
	}
	s, done, err = r.recover(ctx, by)
	if err != nil {
		unlock()
		return nil, done, nil, err
	}
	release := unlock
	return s, done, func() {
		warn := warnOfNew
		if by.verb == "gc" {
			warn = warnOfAll
		}
		r.noteLeftovers(warn)
		r.closeHistory(context.WithoutCancel(ctx), s)
		release()
	}, nil
}

// Recover finishes or undoes what killed commands left, and tells in words
// what it did. Every other verb that takes the production lock does the same
// first; this one also makes missing folders and lock files anew, and repairs
// a damaged history and manifest.
func (r *Repo) Recover(ctx context.Context) ([]string, error) {
	if err := r.notInHook("recover"); err != nil {
		return nil, err
	}
	made, err := r.makeParts()
	if err != nil {
		return nil, err
	}
	unlock, err := r.lock(ctx, productionLock, "recover")
	if err != nil {
		return made, err
	}
	defer unlock()
	// Out of order, so without waiting: whoever holds the staging lock has
	// done, or will do, for staging what is done here.
	staging := *r.Stage
	staging.Wait = 0
	if unlock, err := staging.Exclusive(ctx, "recover"); err == nil {
		unlock()
	} else if held := new(lock.HeldError); !errors.As(err, &held) {
		r.opt.Warn(fmt.Sprintf("staging was not recovered: %v", err))
	}
	if err := r.original(); err != nil {
		return nil, err
	}
	mended, err := r.mend(ctx)
	mended = append(made, mended...)
	if err != nil {
		return mended, err
	}
	s, done, err := r.recover(ctx, actor{verb: "recover"})
	if err == nil {
		r.noteLeftovers(warnOfAll)
		r.closeHistory(context.WithoutCancel(ctx), s)
		err = r.pendingErasure()
	}
	return append(mended, done...), err
}

// recover brings the repository into a state that no crash explains. What
// production resolves to is the truth. The caller holds the production lock.
//
//	killed while             is on disk                        is finished by
//	making a private tree    .snapshot-… or .revert-…          sweep removes it
//	sealing                  .next-n, a manifest               sweep; the number stays taken
//	before the link's rename generations/n, .production.next   sweep, tidy
//	after an exchange        the old tree under .next-n        tidy gives it its own number
//	before the history line  a production history lacks        adoptTruth
//	in the health check      a line that says pending          checkHealth
//	in gc                    .trash-n, carried files           sweep, the next gc
//	making the spare         .trash-n, half of it              sweep
//	putting production back  .next-n that says it is n         restore
func (r *Repo) recover(ctx context.Context, by actor) (*state, []string, error) {
	var done []string
	did := func(format string, args ...any) { done = append(done, fmt.Sprintf(format, args...)) }
	h, err := r.readHistory()
	if err != nil {
		return nil, nil, err
	}
	if err := writable(r.historyPath()); err != nil {
		return nil, nil, err
	}
	if h.Torn {
		if err := r.journal().Cut(h); err != nil {
			return nil, nil, err
		}
		did("cut a torn last line off the history")
	}
	r.tryAgain(leftByRecovery)
	// First: what lies around another repository's production is not ours, too.
	if err := r.original(); err != nil {
		return nil, done, err
	}
	if _, err := r.site.Live(ctx); errors.Is(err, generation.ErrForeign) {
		return nil, done, err
	}
	if err := r.site.Tidy(ctx); err != nil {
		return nil, done, err
	}
	n, err := r.site.Live(ctx)
	last, switched := h.Last()
	if errors.Is(err, errDangling) || err == nil && n == 0 && switched {
		if n, err = r.restore(ctx, h, err != nil); err == nil {
			did("put production back to generation %d", n)
		}
	}
	if err != nil {
		return nil, done, err
	}
	s, err := r.stateOf(h, n)
	if err != nil {
		return nil, done, err
	}
	if err := r.whole(s); err != nil {
		return nil, done, err
	}
	if n != 0 && (!switched || last.Generation != n) {
		if err := r.site.Settle(ctx); err != nil {
			return nil, done, err
		}
		if err := r.adoptTruth(ctx, s, last); err != nil {
			return nil, done, err
		}
		did("completed the history: production is generation %d", n)
	}
	swept, err := r.sweep(s, by)
	done = append(done, swept...)
	if err != nil {
		return nil, done, err
	}
	if did, state, err := r.erase(ctx, s, r.tryStaging); err != nil {
		// No reason to refuse a revert at night: it is tried again, and
		// status says that it is due.
		r.opt.Warn(fmt.Sprintf("revoked content is not deleted everywhere yet: %v", err))
	} else if did != nil && state == eraseDone {
		done = append(done, fmt.Sprintf("deleted revoked content: %d files", did.Files))
	}
	if s.current != nil && r.unchecked(h) {
		did("ran the health check of generation %d", s.current.Generation)
		if err := r.checkHealth(context.WithoutCancel(ctx), s); err != nil {
			return s, done, err
		}
	}
	return s, done, nil
}

// unchecked reports whether the newest switch still waits for its health check.
func (r *Repo) unchecked(h *journal.History) bool {
	last, ok := h.Last()
	return ok && last.Health == journal.HealthPending && h.Health(last.Generation) == "" &&
		len(r.Config.HealthCheck.Command) > 0
}

// adoptTruth appends what history lacks: the switch to the generation that
// production resolves to. If history knows that generation from before,
// somebody else has moved production back to it.
func (r *Repo) adoptTruth(ctx context.Context, s *state, last journal.Made) error {
	m := s.current.Manifest
	if _, known := s.history.Made(m.Generation); !known {
		for _, f := range r.flaws(s.history, s.tip()) {
			if f.Generation != m.Generation || f.Kind != journal.Lost {
				continue
			}
			// Nothing is left of what came before, and the line that follows
			// would hide that.
			if err := r.log(s.history, journal.GapBefore(f, journal.Head{Time: s.now, Who: r.who()}, 0)); err != nil {
				return err
			}
		}
		return r.record(s, m, byRecovery)
	}
	// Late, but not too late for a client that asks from now on.
	if err := r.freshen(ctx, s.history, m.Generation, s.current.Dir); err != nil {
		r.opt.Warn(fmt.Sprintf("%s: a client may be told that a file of it has not changed: %v", r.Production(), err))
	}
	e := Event{Head: journal.Head{Time: s.now, Kind: KindRelink, Generation: m.Generation, From: last.Generation,
		Origin: m.Origin,
		Who:    "unknown", Message: "production was changed by another program"},
		Body: &journal.Switch{TreeID: m.TreeID, Grace: int64(r.grace() / time.Second), Recovered: true}}
	err := r.log(s.history, e)
	s.windows = r.window(s.history)
	return err
}

// restore puts a production that is missing or dangling back: to the newest
// generation whose tree is there and shows the content that was live, else to
// the newest at all.
func (r *Repo) restore(ctx context.Context, h *journal.History, dangling bool) (int, error) {
	last, _ := h.Last()
	newest := slices.Collect(h.Shown())
	slices.SortStableFunc(newest, func(a, b journal.Made) int {
		return cmp.Compare(btoi(b.Origin == last.Origin), btoi(a.Origin == last.Origin))
	})
	for _, e := range newest {
		n, dir := e.Generation, r.store.Find(e.Generation)
		if dir == "" {
			continue
		}
		if err := r.freshen(ctx, h, n, dir); err != nil {
			return 0, err
		}
		from := 0
		if dangling {
			from = last.Generation
		}
		next := &generation.Tree{Manifest: &generation.Manifest{Head: generation.Head{Generation: n}}, Dir: dir}
		if m, err := r.manifest(n); err == nil { // a lost one is made anew when production is back
			next.Manifest = m
		}
		if err := r.site.Prepare(ctx, next, nil); err != nil {
			return 0, err
		}
		if err := r.site.Switch(ctx, from, n); err != nil {
			return 0, err
		}
		if err := r.site.Settle(ctx); err != nil {
			return 0, err
		}
		return r.site.Live(ctx)
	}
	return 0, &Error{Path: r.Production(), Err: errDangling,
		Fact: "no generation that history names is left to put there",
		Hint: "restore generations/ from a backup, or start anew with publish init"}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// known is what the store asks to tell litter from generations.
func (r *Repo) known(s *state, by actor, tried func(name string) bool) generation.Known {
	last, _ := s.history.Last()
	k := generation.Known{Top: last.Generation, Tried: tried,
		Reached:   func(n int) bool { _, known := s.history.Made(n); return known },
		Freed:     s.history.Freed,
		Abandoned: func() bool { return by.preparing || r.locks().state(prepareLock) == lock.Free }}
	if s.current != nil {
		k.Live = s.current.Generation
		k.Top = max(k.Top, k.Live)
	}
	return k
}

// sweep removes the trees that production never reached and what was on its way
// out.
func (r *Repo) sweep(s *state, by actor) ([]string, error) {
	before := r.leftovers()[leftByRecovery]
	litter, err := r.store.Litter(r.known(s, by, func(name string) bool {
		at := filepath.Join("generations", name)
		return slices.ContainsFunc(before, func(l Leftover) bool { return l.Path == at })
	}))
	if err != nil {
		return nil, err
	}
	var done []string
	for _, l := range litter {
		if l.Path == by.draft {
			continue
		}
		path, why := l.Path, ""
		switch l.Kind {
		case generation.Foreign:
			r.opt.Warn(fmt.Sprintf("%s: is a tree of another repository, and is left alone; move it away", l.Path))
			continue
		case generation.Returned:
			continue // tidy's business
		case generation.PromoteDraft:
			why = "the snapshot of a promote that did not end"
		case generation.RevertDraft:
			why = "the snapshot of a revert that did not end"
		case generation.Unreached:
			why = fmt.Sprintf("generation %d, which production never reached", l.Generation)
			if l.Path != r.store.Dir(l.Generation) {
				break
			}
			// The name first: half a tree must not look like a generation.
			if path, err = r.store.Aside(l.Generation); err != nil {
				r.leave(leftByRecovery, l.Path, err)
				// Its manifest would prove, once later generations are there,
				// that it was production.
				path = r.store.ManifestPath(l.Generation)
				why = ""
			}
		}
		if r.drop(leftByRecovery, path) && why != "" {
			done = append(done, "removed "+why)
		}
	}
	newest, _ := s.history.Last()
	live := 0
	if s.current != nil {
		live = s.current.Generation
	}
	stale, err := r.store.StaleManifests(newest.Generation, live)
	for _, path := range stale {
		r.drop(leftByRecovery, path)
	}
	return done, err
}

// sweepRetired removes the retired generations that a gc did not get to the
// end of.
func (r *Repo) sweepRetired() error {
	trash, err := r.store.Trash()
	for _, path := range trash {
		r.drop(leftByRecovery, path)
	}
	return err
}

// pending reports, without changing anything, whether recover would have to do
// something. A user who may not ask for the production lock is told so too
// while a command is at work: see Status.LocksUnknown.
func (r *Repo) pending(s *state) bool {
	if r.locks().state(productionLock) == lock.Held {
		return false // somebody is at it
	}
	last, switched := s.history.Last()
	current := 0
	if s.current != nil {
		current = s.current.Generation
	}
	if len(r.lostParts()) > 0 || s.history.Torn || switched && last.Generation != current || !switched && current != 0 {
		return true
	}
	if r.unchecked(s.history) || r.historyFlaw(s) != "" {
		return true
	}
	if g, err := r.graveyard(); err == nil {
		if _, pending := g.Split(); len(pending) > 0 {
			return true
		}
	}
	left := r.leftovers()
	litter, err := r.store.Litter(r.known(s, actor{}, func(string) bool { return false }))
	return err == nil && slices.ContainsFunc(litter, func(l generation.Litter) bool {
		name := filepath.Base(l.Path)
		// One that waits, an exchange may have brought back: the site puts it back.
		alone := l.Kind == generation.Foreign && !strings.HasPrefix(name, generation.NextPrefix)
		return !alone && !left.holds(name) // what it holds was tried
	})
}

// freshen gives the files of a tree that was production before, and becomes it
// again as it stands, the times that they need after the newest switch.
func (r *Repo) freshen(ctx context.Context, h *journal.History, n int, dir string) error {
	last, _ := h.Last()
	if last.Generation == n {
		return nil
	}
	return r.store.Freshen(ctx, n, dir, last.Generation, latest(r.now(), h.Newest()), h.Newest())
}

// latest returns the latest of some times.
func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

func join(dir, path string) string { return filepath.Join(dir, filepath.FromSlash(path)) }
