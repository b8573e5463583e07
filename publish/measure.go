package publish

import (
	"context"
	"errors"
	"time"

	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// Measures are the values that a monitor watches. Times are UTC, sizes are bytes. The
// size of a tree is the sum of its files. Trees share content, so the sum over all
// trees is more than the disk holds.
type Measures struct {
	*Status
	Time        time.Time  // when it was measured
	LastPromote *time.Time // the newest switch by promote or adopt that no health check undid; nil before the first
	OldestLock  *time.Time // since when the longest-held lock has been held; nil if none is held
	// Unfinished is RecoveryPending while no command runs. While a promote runs its
	// health check, a reader cannot distinguish it from one that was killed.
	Unfinished   bool
	StagingBytes int64 // all files there, including orphans and uploads
	// Waiting is the newest change to staging or production, while they differ; nil
	// while they are equal. They have differed at least since then. Staged files may
	// have waited for longer; that is not recorded.
	Waiting   *time.Time
	KeptBytes int64
	FreeBytes int64     // -1: unknown
	GC        *GCResult // what gc would delete now; nil: unknown
	// NextExpiry is when the next open window ends, so that gc has more to delete; nil if none is open.
	NextExpiry *time.Time
	GCNext     *GCResult // what gc would delete at NextExpiry, in total; nil if NextExpiry is nil
	// The numbers of versions that clients see, by product; nil: unknown. If StagedVersions
	// is nil, nothing is known of staging: StagingBytes, Waiting and Status.Staging are zero.
	StagedVersions     map[string]int
	ProductionVersions map[string]int
}

// Measure takes the measures. It takes no lock and writes nothing. If some of them cannot
// be taken, it returns the error, and the others with it; nil if there are none.
func (r *Repo) Measure(ctx context.Context) (*Measures, error) {
	var m *Measures
	told := r.hasten()
	err := told(r.steady(ctx, func(s *state) (err error) {
		m, err = r.measure(ctx, s)
		return err
	}))
	return m, err
}

func (r *Repo) measure(ctx context.Context, s *state) (*Measures, error) {
	st, staged, err := r.statusOf(ctx, s)
	m := &Measures{Status: st, Time: r.now().UTC(), FreeBytes: -1}
	if err == nil {
		err = r.measureStaging(ctx, m, staged)
	}
	errs := []error{err}
	if free, err := durable.Free(r.Dir); err == nil {
		m.FreeBytes = free
	} else if !errors.Is(err, durable.ErrUnsupported) {
		errs = append(errs, err)
	}
	// This is the plan of gc itself, not an estimate.
	if m.GC, err = r.collect(ctx, s, true); err == nil {
		err = r.foretell(ctx, s, m)
	}
	errs = append(errs, err)
	if s.current == nil {
		m.ProductionVersions = map[string]int{}
	} else if cat, err := r.catalogOf(ctx, s.current); err == nil {
		m.ProductionVersions = versionsOf(cat)
	} else {
		errs = append(errs, err)
	}
	if at, ok := s.history.LastPromote(); ok {
		at = at.UTC()
		m.LastPromote = &at
	}
	for _, k := range st.Generations {
		m.KeptBytes += k.Bytes
	}
	m.locks()
	return m, errors.Join(errs...)
}

// measureStaging takes the measures of staging that its status does not have.
func (r *Repo) measureStaging(ctx context.Context, m *Measures, staged *stage.Checked) error {
	bytes, touched, err := r.Stage.Extent(ctx)
	if err != nil {
		return err
	}
	m.StagingBytes, m.StagedVersions = bytes, versionsOf(staged.Catalog)
	if !m.Staging.Equal {
		if m.Production != nil && m.Production.Since.After(touched) {
			touched = m.Production.Since
		}
		m.Waiting = &touched
	}
	return nil
}

// foretell finds the next window that ends, of a kept generation or of a carried file,
// and what gc would delete then.
func (r *Repo) foretell(ctx context.Context, s *state, m *Measures) error {
	if s.current == nil {
		return nil
	}
	var next time.Time
	consider := func(end time.Time) {
		if end.After(s.now) && (next.IsZero() || end.Before(next)) {
			next = end.UTC()
		}
	}
	kept, err := r.beside(s)
	if err != nil {
		return err
	}
	for _, t := range r.tenures(s.history, kept, s.windows) {
		if t.By == KeptByWindow {
			consider(t.Until)
		}
	}
	for _, c := range s.current.Carried {
		if end, ok := s.windows.End(c.Dropped); ok {
			consider(end)
		}
	}
	if next.IsZero() {
		return nil
	}
	then := *s
	then.now, then.behind = next, 0
	if m.GCNext, err = r.collect(ctx, &then, true); err == nil {
		m.NextExpiry = &next
	}
	return err
}

func (m *Measures) locks() {
	m.Unfinished = m.RecoveryPending
	for _, l := range m.Locks {
		if m.OldestLock == nil || l.Since.Before(*m.OldestLock) {
			since := l.Since.UTC()
			m.OldestLock = &since
		}
		if l.Name == "production" {
			m.Unfinished = false
		}
	}
}

// versionsOf counts the versions of each product. A tree without an index has files,
// not products.
func versionsOf(cat *catalog.Catalog) map[string]int {
	out := map[string]int{}
	seen := map[catalog.Name]bool{}
	for _, i := range cat.Images {
		if key := i.Of(); !seen[key] {
			seen[key] = true
			out[i.Product]++
		}
	}
	return out
}
