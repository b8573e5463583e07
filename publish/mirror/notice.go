package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// Notice is what receivers are told of a job. A field that says nothing is "" or missing.
type Notice struct {
	// Delivery is the same whenever this is told again: by it a receiver knows what it
	// has already.
	Delivery   string      `json:"delivery"`
	Event      string      `json:"event"` // staged, published, failed, drift, denied
	Time       time.Time   `json:"time"`
	ID         string      `json:"id"`
	Reference  string      `json:"reference"`
	Canonical  string      `json:"canonical"`
	Digest     string      `json:"digest"`
	Platforms  []string    `json:"platforms"`
	Requesters []Requester `json:"requesters"`
	Address    string      `json:"address"`
	Pinned     string      `json:"pinned"` // address@digest
	Generation string      `json:"generation"`
	Class      string      `json:"class"`
	Error      string      `json:"error"`
	Drift      *Moved      `json:"drift,omitempty"`
}

// noticed are the events that receivers may be told of.
var noticed = map[string]bool{string(Staged): true, string(Published): true, string(Failed): true, Drifted: true,
	string(Denied): true}

// deliveryOf names a notice. A job is staged, published and denied once, and drifts once to
// a digest; if a kill had the line written twice, both are the same. It may fail again
// after a retry: that is another notice.
func deliveryOf(e Event) string {
	what := ""
	switch {
	case e.ID == "", e.Event == string(Failed):
		what = e.Time.UTC().Format(time.RFC3339Nano)
	case e.Event == Drifted:
		what = e.Detail
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", e.ID, e.Event, e.Digest, what))
	return hex.EncodeToString(sum[:16])
}

// noticeOf is what is told of an event. j is the job now; nil if there is none.
func (m *Mirror) noticeOf(ctx context.Context, e Event, j *Job) Notice {
	n := Notice{Delivery: deliveryOf(e), Event: e.Event, Time: e.Time.UTC(), ID: e.ID, Reference: e.Reference,
		Canonical: e.Canonical, Digest: e.Digest, Platforms: e.Platforms, Requesters: []Requester{}}
	if j != nil {
		n.Reference, n.Canonical, n.Requesters, n.Platforms = j.Reference, j.Canonical, j.Requesters, j.Platforms
		n.Drift = j.Drift
	} else if e.Who != "" {
		n.Requesters = []Requester{{Who: e.Who, At: e.Time, Via: e.Via}}
	}
	if n.Platforms == nil {
		n.Platforms = []string{}
	}
	switch e.Event {
	case string(Staged), string(Published):
		n.Address = m.addressOf(Job{Want: Want{Canonical: n.Canonical}})
		if j != nil && j.Digest == e.Digest && (j.State == Staged || j.State == Published) {
			at := *j
			at.State = State(e.Event)
			n.Pinned, n.Generation = m.PinnedAt(ctx, at), j.Generation
		}
	case string(Failed):
		n.Class, n.Error, _ = strings.Cut(e.Detail, ": ")
	case string(Denied):
		n.Error = e.Detail
		if class, text, ok := strings.Cut(e.Detail, ": "); ok && class == "" {
			n.Error = text // as former versions wrote it
		}
	case Drifted:
		if from, to, ok := strings.Cut(e.Detail, " to "); ok {
			n.Drift = &Moved{From: from, To: to}
		}
		n.Class = string(catalog.Drift)
	}
	return n
}

// Receiver is who is told of jobs.
type Receiver interface {
	// Key is the same as long as the receiver is, whoever runs: the name of a folder.
	Key() string
	// String names it for people, without secrets.
	String() string
	// Wants reports whether it is told of an event.
	Wants(event string) bool
	// Deliver tells it once. It returns soon after ctx has ended. If the error says
	// that this body alone is at fault, as Unwanted does, others may go well.
	Deliver(ctx context.Context, n Delivery) error
}

// Delivery is what a receiver gets.
type Delivery struct {
	ID    string
	Event string
	Body  []byte // the Notice as JSON, on one line, without a newline
}

// Unwanted is an error of a receiver that may be about one notice alone.
type Unwanted interface {
	error
	Unwanted() bool
}

// waitingNotice is the file of a notice that waits for a receiver.
type waitingNotice struct {
	Queued time.Time       `json:"queued"`
	Notice json.RawMessage `json:"notice"`
}
