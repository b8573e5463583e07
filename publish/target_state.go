package publish

import (
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize/english"

	"example.com/publish/publish/tombstone"
)

// TargetState is what was heard last of a target. Times are UTC.
type TargetState struct {
	Name       string `json:"name"`
	To         string `json:"to"`
	Generation int    `json:"generation"` // 0: none, or not known
	// LagS is how many seconds ago the oldest switch was that the target does not have; 0
	// if it has all.
	LagS      int64      `json:"lag_s"`
	LastError string     `json:"last_error"` // of the last sync; "" if it succeeded
	LastTry   *time.Time `json:"last_try"`   // when it was synced last; null: never
	Asked     *time.Time `json:"asked"`      // when the target said last what it has; null: never

	Revoked string `json:"-"` // the Lead.Revoked that is carried out there
}

// targetStates returns what is known of the targets, and how far they are behind. It asks
// no target.
func (r *Repo) targetStates(s *state) []TargetState {
	if r.opt.Targets == nil || len(r.Config.Targets) == 0 {
		return nil
	}
	out := r.opt.Targets(r)
	for i := range out {
		if since, behind := r.behind(s, &out[i]); behind {
			out[i].LagS = max(1, int64(s.now.Sub(since)/time.Second))
		}
	}
	return out
}

// behind returns the time of the oldest switch, or revoke, that a target does not have;
// false if it has all.
func (r *Repo) behind(s *state, t *TargetState) (since time.Time, is bool) {
	if s.current == nil {
		return time.Time{}, false
	}
	if t.Generation >= s.current.Generation {
		return r.unredacted(t)
	}
	for c := range s.history.Changes() {
		if c.Generation > t.Generation && (!is || c.Time.Before(since)) {
			since, is = c.Time, true
		}
	}
	// Old lines may be in closed files: but the target had all when it said what it has.
	if !is || t.Asked != nil && t.Asked.Before(since) && r.forgotten(s, t.Generation) {
		since = s.current.Time
		if t.Asked != nil {
			since = *t.Asked
		}
	}
	return since, true
}

// forgotten reports whether the history in memory may lack switches after generation n.
func (r *Repo) forgotten(s *state, n int) bool {
	_, known := s.history.Made(n)
	return n > 0 && !known
}

// unredacted returns the time of the oldest revoke, if there are some that were not carried
// out at a target that has production's generation.
func (r *Repo) unredacted(t *TargetState) (time.Time, bool) {
	graves, err := r.graveyard()
	if err != nil {
		return time.Time{}, false
	}
	stones := graves.Stones()
	stones = slices.DeleteFunc(slices.Clone(stones), func(s tombstone.Stone) bool { return s.Done })
	if sum, err := digestOf(stones); err != nil || sum == t.Revoked || len(stones) == 0 {
		return time.Time{}, false
	}
	return stones[len(stones)-1].Time, true
}

// checkTargets are the checks of targets that are behind.
func (m *Measures) checkTargets(maxLag time.Duration) []Check {
	if len(m.Targets) == 0 {
		return nil
	}
	c := Check{Name: "targets", OK: true, Value: new(int64), Limit: int64(maxLag / time.Second),
		Message: fmt.Sprintf("%s up to date", english.Plural(len(m.Targets), "target is", "targets are"))}
	late := 0
	var worst *TargetState
	for i, t := range m.Targets {
		if worst == nil || t.LagS > worst.LagS {
			worst = &m.Targets[i]
		}
		if t.LagS > c.Limit {
			late++
		}
	}
	if worst.LagS == 0 {
		return []Check{c}
	}
	*c.Value, c.OK = worst.LagS, late == 0
	c.Message = fmt.Sprintf("the target %s has been behind for %s%s", worst.Name,
		rough(time.Duration(worst.LagS)*time.Second), beyond(c.OK, "more than "+rough(maxLag)))
	if late > 1 {
		c.Message += fmt.Sprintf(", and so are %d more", late-1)
	}
	if worst.LastError != "" {
		c.Message += ": " + worst.LastError
	}
	return []Check{c}
}
