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

// actor is who takes the production lock, and what it owns: recovery does not touch
// that.
type actor struct {
	verb      string
	preparing bool   // it also holds the prepare lock: no other promote runs
	draft     string // path of its own draft; "": none
	// began is the state that it has worked for: if another generation is production in an
	// object store by now, the error is a *bucket.MovedError, before anything is done with that
	// one. nil: any is good.
	began *state
}

// exclusive takes the production lock and recovers. done says what recovery did.
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

// Recover finishes or undoes what killed commands left. It returns sentences that say
// what it did. Every other verb that takes the production lock first does the same.
// Recover also makes missing folders and lock files, and repairs a damaged history and
// damaged manifests.
func (r *Repo) Recover(ctx context.Context) ([]string, error) {
	if err := r.allows("recover"); err != nil {
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
	// The lock order is the other way round, so do not wait. Taking the staging
	// lock recovers staging. If another process holds it, that is already done.
	staging := *r.Stage
	staging.Wait = 0
	if unlock, err := staging.Exclusive(ctx, "recover"); err == nil {
		unlock()
	} else if held := new(lock.HeldError); !errors.As(err, &held) {
		r.opt.Warn(fmt.Sprintf("staging was not recovered: %v", err))
	}
	if r.shared != nil {
		return r.shared.recoverAll(ctx, made)
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

// recover removes every trace of a killed command. The generation that production
// resolves to is the truth. The caller holds the production lock.
//
//	killed while             is on disk                        is finished by
//	making a private tree    .snapshot-… or .revert-…          sweep removes it
//	sealing                  .next-n, a manifest               sweep; the number stays taken
//	before the link's rename generations/n, .production.next   sweep, tidy
//	after an exchange        the old tree under .next-n        tidy gives it its own number
//	before the history line  a switch that history lacks       adoptTruth
//	in the health check      a line that says pending          checkHealth
//	in gc                    .trash-n, carried files           sweep, the next gc
//	making the spare         .trash-n, half of it              sweep
//	restoring production     .next-n with identity n           restore
func (r *Repo) recover(ctx context.Context, by actor) (*state, []string, error) {
	if r.shared != nil {
		return r.shared.recover(ctx, by)
	}
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
	// Check this first: in a copy, even what lies beside production belongs to the
	// original.
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
	s, err := r.stateOf(h, n, manifestOf{})
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
		// This must not stop an urgent revert. Later commands try again, and status
		// reports it.
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

// adoptTruth appends the line that history lacks: the switch to the generation that
// production resolves to. If that generation is already in the history, another
// program has moved production back to it.
func (r *Repo) adoptTruth(ctx context.Context, s *state, last journal.Made) error {
	m := s.current.Manifest
	if _, known := s.history.Made(m.Generation); !known {
		for _, f := range flaws(r.store, s.history, s.tip()) {
			if f.Generation != m.Generation || f.Kind != journal.Lost {
				continue
			}
			// The lines before it cannot be rebuilt. Note the gap, because the next
			// line would hide it.
			if err := r.log(s.history, journal.GapBefore(f, journal.Head{Time: s.now, Who: r.who()}, 0)); err != nil {
				return err
			}
		}
		return r.record(s, m, byRecovery)
	}
	// The files should have been newer at the switch. From now on they are.
	if err := r.freshen(ctx, s.history, m.Generation, s.current.Dir); err != nil {
		r.opt.Warn(fmt.Sprintf("%s: a web server may answer that a changed file has not changed: %v", r.Production(),
			err))
	}
	e := journal.Event{
		Head: journal.Head{Time: s.now, Kind: journal.KindRelink, Generation: m.Generation, From: last.Generation,
			Origin: m.Origin, Who: "unknown", Message: "production was changed by another program"},
		Body: &journal.Switch{TreeID: m.TreeID, Grace: int64(r.grace() / time.Second), Recovered: true}}
	err := r.log(s.history, e)
	s.windows = r.window(s.history)
	return err
}

// restore puts back a production that is missing or dangling. It takes the newest kept
// generation with the content that was live; if there is none, the newest of all.
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
		if m, err := r.manifest(n); err == nil { // a lost manifest is rebuilt when production is back
			next.Manifest = m
		}
		if err := r.site.Prepare(ctx, next, nil); err != nil {
			return 0, err
		}
		if err := r.site.Switch(ctx, from, n); err != nil {
			return 0, err
		}
		switched := time.Now()
		if err := r.site.Settle(ctx); err != nil {
			return 0, err
		}
		linger(switched)
		return r.site.Live(ctx)
	}
	return 0, &Error{Path: r.Production(), Err: errDangling,
		Fact: "no generation in the history is left to restore",
		Hint: "restore generations/ from a backup, or start again with publish init"}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// known returns what the store must know to tell litter from generations.
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

// sweep removes trees that never were production, and trees whose deletion has begun.
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
			continue // Tidy handles it
		case generation.PromoteDraft:
			why = "the snapshot of a promote that did not end"
		case generation.RevertDraft:
			why = "the snapshot of a revert that did not end"
		case generation.Unreached:
			why = fmt.Sprintf("generation %d, which production never reached", l.Generation)
			if l.Path != r.store.Dir(l.Generation) {
				break
			}
			// Rename it first: an incomplete tree must not look like a generation.
			if path, err = r.store.Aside(l.Generation); err != nil {
				r.leave(leftByRecovery, l.Path, err)
				// The tree stays. Remove its manifest: otherwise, when there are later
				// generations, it would seem to have been production.
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

// sweepRetired removes retired generations that a gc did not finish deleting.
func (r *Repo) sweepRetired() error {
	trash, err := r.store.Trash()
	for _, path := range trash {
		r.drop(leftByRecovery, path)
	}
	return err
}

// pending reports whether recover would have to do something. It changes nothing. If
// the user may not test the production lock, it may also report true while a command
// runs: see Status.LocksUnknown.
func (r *Repo) pending(s *state) bool {
	if r.shared != nil {
		return r.shared.pending(s)
	}
	if r.locks().state(productionLock) == lock.Held {
		return false // a command is running
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
		// A foreign tree is left alone, unless an exchange may have brought it back:
		// then the site undoes the exchange.
		alone := l.Kind == generation.Foreign && !strings.HasPrefix(name, generation.NextPrefix)
		return !alone && !left.holds(name) // a leftover was already tried
	})
}

// freshen updates file times in a tree that becomes production again without being
// rebuilt: changed files must be newer than what clients got from the last generation.
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
