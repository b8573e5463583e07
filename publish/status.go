package publish

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lock"
)

// Status describes the state of a repository. Times are UTC.
type Status struct {
	Repository string       `json:"repository"`
	Format     string       `json:"format"`
	Switch     string       `json:"switch"`
	Production *Production  `json:"production"` // null before the first promote
	Staging    StagingState `json:"staging"`
	Carried    CarriedState `json:"carried"`
	// Generations are those that are kept beside production, oldest first.
	Generations     []Kept     `json:"generations"`
	Hold            *HoldState `json:"hold"` // null if there is none
	Locks           []LockHeld `json:"lock"`
	RevertUntil     *time.Time `json:"revert_until"` // until when the previous content is kept; null: see RevertKept
	RecoveryPending bool       `json:"recovery_pending"`
	ClockBehind     bool       `json:"clock_behind"` // the clock is behind the history: nothing is deleted
	// RevertKept is the reason why the previous content is kept, as in Result.
	RevertKept KeptBy `json:"revert_kept_by"`
	// RevertTo is the generation whose content that is, if it is kept.
	RevertTo int `json:"revert_to,omitempty"`
	// LocksUnknown names the locks (prepare, staging, production) that this user may
	// not test, so that it is unknown whether they are held.
	LocksUnknown []string `json:"locks_unknown"`
	// ClockBehindUntil is the time of the newest line of the history, if the clock is
	// behind it.
	ClockBehindUntil *time.Time `json:"clock_behind_until,omitempty"`
	// HistoryFlaw says what the history lost or has out of place; "" if it is whole.
	// publish recover repairs it.
	HistoryFlaw string `json:"history_flaw,omitempty"`
	// Missing are folders and locks that the repository lost, as paths relative to it.
	// publish recover makes them; until then most commands fail.
	Missing []string `json:"missing,omitempty"`
	// Leftovers could not be deleted.
	Leftovers []Leftover `json:"leftovers"`
	// NotAtomic: readers of production meet the changes of a switch one by one. Absent
	// where each switch is one step for them.
	NotAtomic bool `json:"not_atomic,omitempty"`
	// SignaturesDue: half of the time is over for which the signatures of production are good,
	// or it has none, and publish.yaml has a key. publish sign makes new ones.
	SignaturesDue bool `json:"signatures_due,omitempty"`
	// Foreign is what the last gc --orphans here found of others' objects. Absent before it,
	// and where production is no object store.
	Foreign *ForeignState `json:"foreign,omitempty"`
	// Mirror is the queue of publish mirror; absent if nobody has used it.
	Mirror *MirrorState `json:"mirror,omitempty"`
	// Targets are those in publish.yaml, sorted by name; absent if there are none.
	Targets []TargetState `json:"targets,omitempty"`
	// Leader says whose target the repository is; absent if it is none.
	Leader *Leader `json:"leader,omitempty"`
}

// Production describes what is live.
type Production struct {
	Generation int          `json:"generation"`
	Origin     int          `json:"origin"`
	Since      time.Time    `json:"since"`
	Who        string       `json:"who"`
	Message    string       `json:"message"`
	Kind       journal.Kind `json:"kind"`
	Path       string       `json:"path"`
	Health     string       `json:"health"`
	Files      int          `json:"files"`
	Bytes      int64        `json:"bytes"`
	// Signatures are those of publish-manifest; absent where there is none.
	Signatures *generation.Signatures `json:"signatures,omitempty"`
}

// StagingState compares staging with production, without reading content.
type StagingState struct {
	Equal    bool `json:"equal"`
	Added    int  `json:"added"` // versions; files of a plain tree
	Changed  int  `json:"changed"`
	Removed  int  `json:"removed"`
	Errors   int  `json:"errors"` // those that are found without reading content
	Warnings int  `json:"warnings"`
	// Base is the generation that staging was made from, where production is in an object
	// store and other machines promoted since: the next promote brings their changes to
	// staging, which count as changes of staging until then. Absent else.
	Base int `json:"base,omitempty"`
}

// CarriedState is what production serves for clients of earlier generations.
type CarriedState struct {
	Files      int        `json:"files"`
	Bytes      int64      `json:"bytes"`
	NextExpiry *time.Time `json:"next_expiry"` // null when nothing is carried or held
	// Held is how many contents documents name only for these clients: see
	// generation.Hold.
	Held int `json:"held"`
}

// Kept is a generation that can be reverted to.
type Kept struct {
	Generation int        `json:"generation"`
	Origin     int        `json:"origin"`
	Until      *time.Time `json:"until"` // when gc may delete it; null: see KeptBy
	Pinned     bool       `json:"pinned"`
	Bytes      int64      `json:"bytes"` // its own rows, without revoked ones
	Since      time.Time  `json:"since"`
	Message    string     `json:"message"`
	// KeptBy is the reason why it is kept: a window that ends at Until, or a pin or
	// the configuration, which have no end; "" if history does not say.
	KeptBy KeptBy `json:"kept_by"`
}

// HoldState is a hold in force.
type HoldState struct {
	Who   string    `json:"who"`
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
}

// LockHeld is a lock that another process holds.
type LockHeld struct {
	Name string `json:"name"`
	lock.Holder
}

// Status describes the repository. It takes no lock and writes nothing, so it also
// works while a promote runs.
func (r *Repo) Status(ctx context.Context) (*Status, error) {
	var out *Status
	told := r.hasten()
	err := told(r.steady(ctx, func(s *state) (err error) {
		out, _, err = r.statusOf(ctx, s)
		return err
	}))
	if err != nil {
		return nil, err
	}
	return out, nil
}

// statusOf returns the status for a state, and what is staged. The status is also there if
// there is an error, which is about staging; then it says nothing of staging.
func (r *Repo) statusOf(ctx context.Context, s *state) (*Status, *stage.Checked, error) {
	out := &Status{Repository: r.Dir, Format: r.format.Name(), Switch: r.site.Name(), Generations: []Kept{},
		RecoveryPending: r.pending(s), ClockBehind: s.clockBehind(), Leftovers: r.leftovers().list(),
		Mirror: r.mirrorState(), Targets: r.targetStates(s), NotAtomic: !r.Atomic(), Foreign: r.shared.foreign()}
	out.Leader, _ = r.Leader() // a damaged one is the error of each sync
	if s.clockBehind() {
		until := s.now.UTC()
		out.ClockBehindUntil = &until
	}
	// While another command runs, lines may be missing only because it has not
	// written them yet.
	if out.RecoveryPending {
		out.HistoryFlaw, out.Missing = r.historyFlaw(s), r.lostParts()
	}
	back := r.revertTenure(s)
	out.RevertUntil, out.RevertKept = back.End(), back.By
	if out.RevertUntil != nil || out.RevertKept != "" {
		out.RevertTo, _ = s.before()
	}
	if e, ok := s.history.Hold(); ok {
		out.Hold = &HoldState{e.Who, e.Time, e.Message}
	}
	out.Locks, out.LocksUnknown = r.locks().held()
	if s.current != nil {
		r.describe(s, out)
	}
	if out.Leader != nil { // nothing is staged in a target
		out.Staging.Equal = true
		return out, &stage.Checked{Catalog: &catalog.Catalog{}, Report: &stage.Report{}}, nil
	}
	staged, err := r.compareStaging(ctx, s, out)
	if err != nil {
		out.Staging = StagingState{}
	}
	return out, staged, err
}

func (r *Repo) describe(s *state, out *Status) {
	cur := s.current
	p := r.liveAs(cur.Manifest)
	p.Health = s.history.Health(cur.Generation)
	out.SignaturesDue = r.Config.Sign.Set() && cur.Signatures.Due(r.now())
	if e, ok := s.history.Made(cur.Generation); ok {
		if p.Since = e.Time; p.Health == "" {
			p.Health = e.Health // pending, or none
		}
	}
	out.Production = p
	graves, err := r.graveyard()
	if err != nil {
		graves = &tombstone.Graveyard{} // damaged: promote and recover say so
	}
	out.Carried = carriedNow(s, cur, graves)
	kept, err := r.beside(s)
	if err != nil {
		return
	}
	tenures := r.tenures(s.history, kept, s.windows)
	for _, n := range kept {
		e, known := s.history.Made(n)
		if !known {
			continue
		}
		t := tenures[n]
		k := Kept{Generation: n, Origin: e.Origin, Since: e.Time, Message: e.Message, Until: t.End(),
			Pinned: t.By == KeptByPin, KeptBy: t.By}
		if m, err := r.manifest(n); err == nil {
			for _, row := range m.Own {
				if !graves.Redacted(n, row) {
					k.Bytes += row.Size
				}
			}
		}
		out.Generations = append(out.Generations, k)
	}
}

// liveAs describes production as its manifest does.
func (r *Repo) liveAs(m *generation.Manifest) *Production {
	p := &Production{Generation: m.Generation, Origin: m.Origin, Since: m.Time, Who: m.Who, Message: m.Message,
		Kind: journal.Kind(m.Kind), Path: r.Production(), Files: len(m.Own),
		Signatures: m.Signatures}
	for _, row := range m.Own {
		p.Bytes += row.Size
	}
	return p
}

func (r *Repo) compareStaging(ctx context.Context, s *state, out *Status) (*stage.Checked, error) {
	staged, err := r.Stage.Peek(ctx)
	if errors.Is(err, fs.ErrNotExist) && gone(r.Stage.Dir) {
		staged, err = &stage.Checked{Catalog: &catalog.Catalog{}, Report: &stage.Report{}}, nil // recovery is pending
	}
	if err != nil {
		return nil, err
	}
	var own, units = staged.Rows[:0:0], []catalog.Unit(nil)
	if s.current != nil {
		own, units, err = r.side(ctx, s, "production")
		if err != nil {
			return nil, err
		}
	}
	added, removed, changed := generation.DiffUnits(units, r.units(staged.Catalog.Units, staged.Rows))
	st := &out.Staging
	st.Added, st.Removed, st.Changed = len(added), len(removed), len(changed)
	st.Equal = len(diffRows(own, staged.Rows)) == 0
	st.Base = r.shared.behind(s)
	replaced, err := r.replacedBy(ctx, s, staged.Rows, r.Stage.Dir)
	if err != nil {
		return nil, err
	}
	staged.Report.Findings = append(staged.Report.Findings, replaced...)
	catalog.Sort(staged.Report.Findings)
	for _, f := range staged.Report.Findings {
		if f.Severity == catalog.Error {
			st.Errors++
		} else {
			st.Warnings++
		}
	}
	return staged, nil
}
