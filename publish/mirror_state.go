package publish

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"
)

// MirrorState is the queue of the mirror as a monitor watches it. Times are UTC, sizes are
// bytes. It does not look at the trees: a staged job counts as published as soon as a
// runner has seen that it is.
type MirrorState struct {
	Jobs     map[string]int `json:"jobs"`     // by state; those that no job is in are 0
	Failed   map[string]int `json:"failed"`   // by class, without those whose image came by a later job
	Orphaned int            `json:"orphaned"` // running, and their runner is gone
	Due      int            `json:"due"`      // that a runner could begin now: no wait and no host keeps it from that
	// DueSince is since when the first of them is due; null: there is none.
	DueSince *time.Time `json:"due_since"`
	// Oldest is when the oldest job that has not ended was asked for; null: there is none.
	Oldest *time.Time           `json:"oldest"`
	Hosts  map[string]time.Time `json:"hosts"` // that must not be asked until then
	// BytesDone and BytesTotal are of the jobs that run. The total is known once the
	// manifests are here.
	BytesDone  int64 `json:"bytes_done"`
	BytesTotal int64 `json:"bytes_total"`
	// LastSuccess is when a job was staged last, of those that are kept; null: none was.
	LastSuccess *time.Time `json:"last_success"`
	Damaged     []string   `json:"damaged"`           // what is wrong with files of the queue
	Unknown     string     `json:"unknown,omitempty"` // why the queue cannot be read: all else is empty
}

// Unfinished is how many jobs have not ended.
func (m *MirrorState) Unfinished() int {
	return m.Jobs["pending"] + m.Jobs["waiting"] + m.Jobs["running"]
}

// Failures is how many jobs failed.
func (m *MirrorState) Failures() (n int) {
	for _, of := range m.Failed {
		n += of
	}
	return n
}

// working is how many jobs run.
func (m *MirrorState) working() int { return m.Jobs["running"] - m.Orphaned }

// Classes are the failed jobs by class, as text, the most frequent ones first.
func (m *MirrorState) Classes() string {
	var list []string
	for class := range m.Failed {
		list = append(list, class)
	}
	slices.SortFunc(list, func(a, b string) int {
		if d := m.Failed[b] - m.Failed[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, class := range list {
		list[i] = fmt.Sprintf("%d %s", m.Failed[class], class)
	}
	return strings.Join(list, ", ")
}

// mirrorState returns what is known of the mirror; nil if there is none.
func (r *Repo) mirrorState() *MirrorState {
	if r.opt.Mirror == nil {
		return nil
	}
	m, err := r.opt.Mirror(r)
	if err != nil {
		return &MirrorState{Jobs: map[string]int{}, Failed: map[string]int{}, Hosts: map[string]time.Time{},
			Damaged: []string{}, Unknown: err.Error()}
	}
	return m
}

// checkMirror are the checks of the queue. Without a mirror there are none, unless a
// limit is given.
func (m *Measures) checkMirror(maxQueue *time.Duration) (out []Check) {
	q := m.Mirror
	if q != nil && q.Unknown != "" {
		return []Check{{Name: "mirror", Message: "the queue of the mirror cannot be read: " + q.Unknown}}
	}
	if q != nil {
		n := int64(q.Failures())
		failed := Check{Name: "mirror", OK: n == 0, Value: &n, Message: "no job of the mirror failed"}
		if n > 0 {
			failed.Message = fmt.Sprintf("%s of the mirror failed (%s): publish mirror list --state failed lists them",
				english.Plural(int(n), "job", ""), q.Classes())
		}
		damaged := yesOrNo("queue", len(q.Damaged) > 0, "the queue is sound", "")
		if n := len(q.Damaged); n > 0 {
			damaged.Message = fmt.Sprintf("%s of the queue must be repaired or moved away: %s",
				english.Plural(n, "file", ""), q.Damaged[0])
			*damaged.Value = int64(n)
		}
		out = append(out, failed, damaged)
	}
	if maxQueue == nil {
		return out
	}
	due := Check{Name: "due", OK: true, Value: new(int64), Limit: int64(*maxQueue / time.Second),
		Message: "no job of the mirror is due"}
	if q != nil && q.DueSince != nil {
		due.hold(m.Time.Sub(*q.DueSince), *maxQueue, english.Plural(q.Due, "job", "")+
			" of the mirror due, the first for %s")
		switch {
		case due.OK:
		case q.working() > 0:
			due.Message += ": " + english.Plural(q.working(), "other job", "") + " at work"
		default:
			due.Message += ": no runner is at work; publish mirror run is one"
		}
	}
	return append(out, due)
}
