package bucket_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage/tree"
)

// contentOf is what a path always has.
func contentOf(path string) string { return "the content of " + path }

func (l modelLine) text() []byte {
	text, err := json.Marshal(l)
	if err != nil {
		panic(err)
	}
	return text
}

func gcLine(id string) func(*bucket.Pointer) (event, history []byte, err error) {
	return func(*bucket.Pointer) (event, history []byte, err error) {
		return modelLine{Op: "gc", ID: id}.text(), []byte(`{}`), nil
	}
}

// always are paths of each tree: manifests are long enough to be written as deltas.
var always = func() (paths []string) {
	for i := range 24 {
		paths = append(paths, fmt.Sprintf("always/%d", i))
	}
	return paths
}()

// treeOf makes the rows of a tree.
func treeOf(paths []string) []tree.Row {
	files := map[string]string{}
	for _, p := range slices.Concat(paths, always) {
		files[p] = contentOf(p)
	}
	return rows(files)
}

// carried are the rows that the next generation carries for the clients of base.
func (s *sim) carried(base *bucket.Pointer, live *generation.Manifest, own []tree.Row) (list []generation.Carried) {
	for _, row := range live.Own {
		if _, ok := tree.Find(own, row.Path); !ok {
			list = append(list, generation.Carried{Row: row, Dropped: base.Generation + 1})
		}
	}
	for _, c := range live.Carried {
		if _, ok := tree.Find(own, c.Path); !ok && !s.over(c, base.Date) {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b generation.Carried) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	return list
}

// gone are the carried rows of production whose windows are over.
func (s *sim) gone(p *bucket.Pointer) (list []generation.Carried) {
	if p.Manifest == nil {
		return nil
	}
	for _, c := range s.rows[p.Manifest.Key].Carried {
		if s.over(c, p.Date) {
			list = append(list, c)
		}
	}
	return list
}

// live returns the manifest of production; an empty one before the first promote.
func (a *actor) live(p *bucket.Pointer) (*generation.Manifest, error) {
	if p.Manifest == nil {
		return &generation.Manifest{}, nil
	}
	return a.site.Manifest(a.ctx, *p.Manifest)
}

// promoting promotes a few times: it adds some paths and takes some away.
func promoting(a *actor) {
	s := a.sim
	for i := range 8 + s.r.IntN(10) {
		l := modelLine{Op: "promote", ID: fmt.Sprintf("%s.%d", a.id, i)}
		for range 1 + s.r.IntN(2) {
			l.Add = append(l.Add, fmt.Sprintf("images/%d", s.r.IntN(paths)))
		}
		for range s.r.IntN(3) {
			if p := fmt.Sprintf("images/%d", s.r.IntN(paths)); !slices.Contains(l.Add, p) {
				l.Remove = append(l.Remove, p)
			}
		}
		s.results[l.ID] = errKilled
		s.results[l.ID] = a.commits(func(base *bucket.Pointer, live *generation.Manifest) (modelLine, []string, bool) {
			var was []string
			for _, row := range live.Own {
				if !slices.Contains(always, row.Path) {
					was = append(was, row.Path)
				}
			}
			return l, changed(was, l.Add, l.Remove), true
		})
		if a.park("sleep", time.Second*time.Duration(s.r.IntN(240))) != nil {
			return
		}
	}
}

// reverting goes back to a kept generation.
func reverting(a *actor) {
	s := a.sim
	for i := range 3 {
		if a.park("sleep", time.Second*time.Duration(s.r.IntN(400))) != nil {
			return
		}
		id := fmt.Sprintf("%s.%d", a.id, i)
		s.results[id] = errKilled
		s.results[id] = a.commits(func(base *bucket.Pointer, _ *generation.Manifest) (modelLine, []string, bool) {
			if len(base.Kept) == 0 {
				return modelLine{}, nil, false
			}
			ref := base.Kept[s.r.IntN(len(base.Kept))]
			return modelLine{Op: "revert", ID: id, To: ref.Generation}, s.trees[ref.Generation], true
		})
	}
}

var errNothing = errors.New("there is nothing to do")

// commits makes a step on top of whatever production is.
func (a *actor) commits(next func(base *bucket.Pointer, live *generation.Manifest) (modelLine, []string, bool)) error {
	base, err := a.site.Read(a.ctx)
	if err != nil {
		return err
	}
	for lost := 0; ; lost++ {
		live, err := a.live(base)
		if err != nil {
			if base, err = a.later(base, err); err != nil {
				return err
			}
			continue
		}
		l, paths, ok := next(base, live)
		if !ok {
			return errNothing
		}
		l.Gen = base.Generation + 1
		done, err := a.site.Turn(a.ctx, lost, 0)
		if err != nil {
			return err
		}
		base, err = a.commit(base, live, l, treeOf(paths))
		done()
		if base == nil {
			return err
		}
	}
}

// later returns the pointer as it is now, if what it led to has been let go since.
func (a *actor) later(base *bucket.Pointer, err error) (*bucket.Pointer, error) {
	if !errors.Is(err, bucket.ErrNotFound) {
		return nil, err
	}
	now, rerr := a.site.Read(a.ctx)
	if rerr != nil {
		return nil, rerr
	}
	if now.Seq == base.Seq {
		return nil, err
	}
	return now, nil
}

// commit uploads and commits one tree. It returns the base to try again with, or nil.
func (a *actor) commit(base *bucket.Pointer, live *generation.Manifest, l modelLine, own []tree.Row) (
	*bucket.Pointer, error) {
	s := a.sim
	var lacks []bucket.Upload
	for _, row := range own {
		if _, ok := tree.Find(live.Own, row.Path); !ok && l.Op == "promote" {
			lacks = append(lacks, uploads(map[string]string{row.Path: contentOf(row.Path)})...)
		}
	}
	nonce := bucket.NewNonce()
	_, err := a.site.Upload(a.ctx, base, lacks)
	if err == nil {
		_, err = a.site.Commit(a.ctx, base, bucket.Commit{Nonce: nonce, Event: l.text(), Settled: true,
			Manifest: &generation.Manifest{Head: generation.Head{Generation: l.Gen, From: base.Generation, Origin: l.Gen,
				TreeID: tree.ID(own), Kind: generation.KindPromote, Who: a.id, Time: epoch}, Own: own,
				Carried: s.carried(base, live, own)}})
	}
	if errors.Is(err, bucket.ErrOutcome) && a.ctx.Err() == nil {
		s.tally.outcomes++
		done, now, oerr := a.site.Outcome(a.ctx, base.Seq, nonce)
		switch {
		case oerr != nil:
			return nil, err
		case done:
			return nil, nil
		case s.r.IntN(2) == 0:
			return nil, errNothing // it is known not to be there, and nobody tries again
		}
		return now, nil
	}
	moved, condemned := new(bucket.MovedError), new(bucket.CondemnedError)
	switch {
	case errors.As(err, &moved):
		return moved.Now, nil
	case errors.As(err, &condemned):
		s.tally.waits++
		if err := a.park("sleep", max(0, condemned.Until.Sub(s.store.Now()))); err != nil {
			return nil, err
		}
		now, err := a.site.Read(a.ctx)
		if err != nil {
			return nil, err
		}
		// Nobody else may come to clear what is void by now.
		if _, err := a.site.Collect(a.ctx, now, nil, nil, gcLine(a.id)); err != nil && !errors.As(err, &moved) {
			return nil, err
		}
		return a.site.Read(a.ctx)
	case err != nil:
		s.tally.refused++
	}
	return nil, err
}

// collecting lets go of what is not among the newest.
func collecting(a *actor) {
	s := a.sim
	for range 8 {
		if a.park("sleep", time.Second*time.Duration(s.r.IntN(300))) != nil {
			return
		}
		p, err := a.site.Read(a.ctx)
		for range 5 {
			if err != nil {
				break
			}
			var drop []int
			for _, ref := range p.Kept[:max(0, len(p.Kept)-s.r.IntN(3))] {
				drop = append(drop, ref.Generation)
			}
			var out *bucket.Collected
			out, err = a.site.Collect(a.ctx, p, drop, s.gone(p), gcLine(a.id))
			moved := new(bucket.MovedError)
			switch {
			case errors.As(err, &moved):
				p, err = moved.Now, nil
			case err == nil && !out.Waits.IsZero() && s.r.IntN(2) == 0:
				if err = a.park("sleep", max(0, out.Waits.Sub(s.store.Now()))); err == nil {
					p, err = a.site.Read(a.ctx)
				}
			case err == nil:
				err = errNothing
			}
		}
	}
}

// sweeping deletes what nothing names, however new it is.
func sweeping(a *actor) {
	for range 3 {
		if a.park("sleep", time.Second*time.Duration(a.sim.r.IntN(600))) != nil {
			return
		}
		_, _, _ = a.site.Orphans(a.ctx, nil, 0, true)
	}
}

// ticking makes many small commits, so that sleepers are left far behind.
func ticking(a *actor) {
	for i := range 150 {
		p, err := a.site.Read(a.ctx)
		if err != nil {
			return
		}
		l := modelLine{Op: "tick", ID: fmt.Sprintf("%s.%d", a.id, i)}
		a.sim.results[l.ID] = errKilled
		_, err = a.site.Commit(a.ctx, p, bucket.Commit{Nonce: bucket.NewNonce(), Event: l.text()})
		a.sim.results[l.ID] = err
		if a.killed {
			return
		}
	}
}
