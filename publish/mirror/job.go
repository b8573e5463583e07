package mirror

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// State is where a job is on its way.
type State string

// The states of a job. Those after Running are ends.
const (
	Pending    State = "pending"
	Waiting    State = "waiting" // until a time, for a Reason
	Running    State = "running" // in a Phase
	Staged     State = "staged"
	Published  State = "published"  // production has the name with that digest
	Failed     State = "failed"     // of a class
	Cancelled  State = "cancelled"  // by a person
	Superseded State = "superseded" // another digest of the name was staged first
	Denied     State = "denied"     // by policy, or a request that cannot be read
)

// Ended reports whether nothing happens to such a job by itself any more, except that
// a staged one is published.
func (s State) Ended() bool { return s != Pending && s != Waiting && s != Running }

// Reason is why a job waits.
type Reason string

// The reasons to wait.
const (
	Window    Reason = "window"     // for the hours of large images
	RateLimit Reason = "rate-limit" // its host wants no requests
	Retry     Reason = "retry"      // something failed that may go well later
	Disk      Reason = "disk"       // there is no room
)

// Phase is what a running job does.
type Phase string

// The phases of a running job, in order.
const (
	Resolving Phase = "resolving"
	Copying   Phase = "copying"
	Verifying Phase = "verifying"
	Staging   Phase = "staging"
)

var phases = []Phase{Resolving, Copying, Verifying, Staging}

// Want is what a job is to bring. Two jobs that want the same are one.
type Want struct {
	Reference   string   `json:"reference"` // as the first requester wrote it
	Canonical   string   `json:"canonical"` // that makes it the same, not Reference
	Kind        string   `json:"kind,omitempty"`
	Platforms   []string `json:"platforms,omitempty"` // empty: all
	Versions    int      `json:"versions,omitempty"`  // the newest; 0: all
	Filters     []string `json:"filters,omitempty"`
	Locked      bool     `json:"locked,omitempty"`       // only what the lock file has
	AcceptDrift bool     `json:"accept_drift,omitempty"` // a tag that moved is followed
}

// key is equal for the same Want.
func (w Want) key() string { return fmt.Sprintf("%s %t %t", w.image(), w.Locked, w.AcceptDrift) }

// image is equal for a Want that brings the same of a name, whatever the name stands for.
func (w Want) image() string {
	sorted := func(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }
	return fmt.Sprintf("%q %q %q %d %q", w.Kind, w.Canonical, sorted(w.Platforms), w.Versions, sorted(w.Filters))
}

// Requester is who asked for a job.
type Requester struct {
	Who  string    `json:"who"`
	At   time.Time `json:"at"`
	Via  string    `json:"via,omitempty"` // such as add, file, http, schedule
	Note string    `json:"note,omitempty"`
}

// Moved says that a name stands for another digest than before.
type Moved struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Job is an image to bring, and what became of it. Times are UTC; a zero time, or an
// empty value, means that there is none yet.
type Job struct {
	ID string `json:"id"`
	Want
	State            State           `json:"state"`
	Phase            Phase           `json:"phase,omitempty"`
	Reason           Reason          `json:"reason,omitempty"`
	Until            time.Time       `json:"until,omitzero"` // it waits
	Class            catalog.Failure `json:"class,omitempty"`
	Error            string          `json:"error,omitempty"` // the last one
	Hint             string          `json:"hint,omitempty"`
	Priority         int             `json:"priority"`
	Requesters       []Requester     `json:"requesters"`
	Attempts         int             `json:"attempts"`          // how often it was begun
	Crashes          int             `json:"crashes,omitempty"` // how often its runner died
	Digest           string          `json:"digest,omitempty"`  // that it is pinned to
	MediaType        string          `json:"media_type,omitempty"`
	MissingPlatforms []string        `json:"missing_platforms,omitempty"`
	LeftOut          []string        `json:"left_out,omitempty"` // what the upstream has and did not come, and why
	BytesTotal       int64           `json:"bytes_total"`
	BytesDone        int64           `json:"bytes_done"`
	Drift            *Moved          `json:"drift,omitempty"`
	Endpoint         string          `json:"endpoint,omitempty"`
	Address          string          `json:"address,omitempty"`
	Generation       string          `json:"generation,omitempty"`
	Created          time.Time       `json:"created"`
	PinnedAt         time.Time       `json:"pinned_at,omitzero"` // when its name stood for the digest
	Started          time.Time       `json:"started,omitzero"`
	Updated          time.Time       `json:"updated"`
	Finished         time.Time       `json:"finished,omitzero"`
}

// Limits of a job's file. What strangers cause to be written, such as errors, is cut.
const (
	maxJob        = 64 << 10 // bytes of a file
	maxError      = 4 << 10  // bytes
	maxText       = 512      // bytes of other texts
	maxRequesters = 32
	maxMissing    = 64
	maxWant       = 16 << 10 // bytes of what is asked for
	maxLeftOut    = 5        // texts of maxText/4 bytes
)

// encode returns the file of a job. A job whose Want was checked always fits.
func (j Job) encode() ([]byte, error) {
	j.Error, j.Hint = cut(j.Error, maxError), cut(j.Hint, maxText)
	for _, s := range []*string{&j.Digest, &j.MediaType, &j.Endpoint, &j.Address, &j.Generation} {
		*s = cut(*s, maxText)
	}
	j.Requesters = slices.Clone(j.Requesters[:min(len(j.Requesters), maxRequesters)])
	for i := range j.Requesters {
		j.Requesters[i] = j.Requesters[i].bounded()
	}
	j.MissingPlatforms = slices.Clone(j.MissingPlatforms[:min(len(j.MissingPlatforms), maxMissing)])
	for i, p := range j.MissingPlatforms {
		j.MissingPlatforms[i] = cut(p, maxText/8)
	}
	j.LeftOut = slices.Clone(j.LeftOut[:min(len(j.LeftOut), maxLeftOut)])
	for i, text := range j.LeftOut {
		j.LeftOut[i] = cut(text, maxText/4)
	}
	for _, t := range []*time.Time{&j.Until, &j.Created, &j.PinnedAt, &j.Started, &j.Updated, &j.Finished} {
		*t = t.UTC()
	}
	data, err := marshal(j)
	if err == nil && len(data) > maxJob {
		err = fmt.Errorf("job %s: %w: more than %d bytes", j.ID, durable.ErrTooLong, maxJob)
	}
	return data, err
}

// bounded cuts what a requester says of itself.
func (r Requester) bounded() Requester {
	return Requester{Who: cut(r.Who, 128), At: r.At.UTC(), Via: cut(r.Via, 64), Note: cut(r.Note, 128)}
}

// check returns an error if what is asked for would not fit into a job's file.
func (w Want) check() error {
	data, err := marshal(w)
	switch {
	case err != nil:
		return err
	case len(data) > maxWant:
		return fmt.Errorf("%w: more than %d bytes", durable.ErrTooLong, maxWant)
	}
	return nil
}

// marshal is json.Marshal without its escapes for HTML, with a newline.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return out.Bytes(), err
}

// cut returns at most n bytes of s, as text without control characters: what servers say
// ends on terminals.
func cut(s string, n int) string {
	s = s[:min(len(s), 4*n)] // the rest is cut in any case
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// decode reads the file of a job that lies in a folder. The folder counts more than
// what the file says: a person may have moved it.
func decode(data []byte, id string, f folder) (Job, error) {
	var j Job
	if err := json.Unmarshal(data, &j); err != nil {
		return Job{}, fmt.Errorf("is no job: %w", err)
	}
	if j.ID != id {
		return Job{}, fmt.Errorf("has the id %q inside", cut(j.ID, 2*idLength))
	}
	if len(data) > maxWant { // else it fits
		if err := j.check(); err != nil {
			return Job{}, fmt.Errorf("is no job: %w", err)
		}
	}
	j.fit(f)
	return j, nil
}

// fit gives a job a state that its folder allows, and takes back what others leave.
func (j *Job) fit(f folder) {
	if folderOf(j.State) != f {
		j.State = []State{pendingIn: Pending, runningIn: Running, failedIn: Failed, doneIn: Cancelled}[f]
	}
	if j.State != Waiting {
		j.Reason, j.Until = "", time.Time{}
	}
	if j.State != Running {
		j.Phase = ""
	}
	if !j.State.Ended() {
		j.Finished = time.Time{}
	}
}

// due reports whether a runner may take the job.
func (j *Job) due(now time.Time) bool {
	return j.State == Pending || j.State == Waiting && !j.Until.After(now)
}

// clockSlack is how far a clock may step back without being noticed: daemons that set
// it do so often, by a little.
const clockSlack = time.Minute

// reanchor is for a wait from since until a time, as the clock was then. If the clock was
// set back since, the wait begins anew: it is never shorter than it was meant, and ends.
func reanchor(since, until, now time.Time) (time.Time, bool) {
	if since.IsZero() || !since.After(now.Add(clockSlack)) || !until.After(now) {
		return until, false
	}
	return now.Add(max(0, until.Sub(since))), true
}

// idLength is the number of characters of an ID. Among 10,000 jobs two are equal with a
// chance of one in 10 million, and Add looks for that.
const idLength = 10

// idAlphabet has no vowels, so that no words come up, and no l.
const idAlphabet = "bcdfghjkmnpqrstvwxyz0123456789"

func newID() string {
	id := make([]byte, 0, idLength)
	for len(id) < idLength {
		var b [1]byte
		_, _ = rand.Read(b[:]) // it never fails
		if n := int(b[0] & 31); n < len(idAlphabet) {
			id = append(id, idAlphabet[n])
		}
	}
	return string(id)
}

// isID reports whether a text could be an ID.
func isID(s string) bool {
	if len(s) != idLength {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// folder is one of the four folders of a queue, in the order in which they count.
type folder int

const (
	pendingIn folder = iota
	runningIn
	failedIn
	doneIn
)

var folders = []folder{pendingIn, runningIn, failedIn, doneIn}

func (f folder) String() string { return []string{"pending", "running", "failed", "done"}[f] }

func folderOf(s State) folder {
	switch s {
	case Pending, Waiting:
		return pendingIn
	case Running:
		return runningIn
	case Failed:
		return failedIn
	}
	return doneIn
}

// Problem is a file that is not as it should be. It stops nothing.
type Problem struct {
	Path string
	Err  error
}

func (p Problem) Error() string {
	if text := p.Err.Error(); strings.HasPrefix(text, p.Path) {
		return text
	}
	return p.Path + ": " + p.Err.Error()
}

func (p Problem) Unwrap() error { return p.Err }

// jobID returns the ID in the name of a job's file.
func jobID(name string) (string, bool) {
	id, ok := strings.CutSuffix(filepath.Base(name), ".json")
	return id, ok && isID(id)
}
