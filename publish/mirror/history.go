package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"example.com/publish/stage/durable"
)

// Event is a line of the history of a queue: a request, a decision, or a change of
// state, whose name it has then.
type Event struct {
	Time      time.Time `json:"time"` // UTC
	Event     string    `json:"event"`
	ID        string    `json:"id,omitempty"`
	Who       string    `json:"who,omitempty"` // who asked for it; empty: the runner
	Via       string    `json:"via,omitempty"`
	Reference string    `json:"reference,omitempty"`
	Canonical string    `json:"canonical,omitempty"`
	Platforms []string  `json:"platforms,omitempty"`
	Digest    string    `json:"digest,omitempty"`
	Detail    string    `json:"detail,omitempty"` // why
}

// Events that are no state. Those of a state have its name.
const (
	Added       = "added"
	Joined      = "joined"       // somebody asked for what is asked for already
	Resumed     = "resumed"      // its runner was gone
	Pinned      = "pinned"       // to a digest
	Drifted     = "drift"        // the name stands for another digest meanwhile
	AskedToStop = "cancel-asked" // a runner has to see it
	Retried     = "retried"      // by a person
	Amended     = "amended"      // a job that has ended
)

// maxLine is the most bytes of a line. Longer ones are not written, and not read.
const maxLine = 32 << 10

// of fills in what the event says of a job.
func (e Event) of(j Job) Event {
	e.Time, e.ID, e.Reference, e.Canonical, e.Digest = j.Updated, j.ID, j.Reference, j.Canonical, j.Digest
	if e.Event == "" {
		e.Event = string(j.State)
	}
	if e.Event == Added || e.Event == string(Denied) {
		e.Platforms = j.Platforms
	}
	if e.Detail == "" {
		switch j.State {
		case Waiting:
			e.Detail = fmt.Sprintf("%s until %s", j.Reason, j.Until.Format(time.RFC3339))
			if j.Error != "" {
				e.Detail += ": " + j.Error
			}
		case Failed, Denied:
			e.Detail = string(j.Class)
			if e.Detail != "" && j.Error != "" {
				e.Detail += ": "
			}
			e.Detail += j.Error
		}
	}
	return e
}

// by names the requester as who caused the event.
func (e Event) by(r Requester) Event {
	e.Who, e.Via = r.Who, r.Via
	if e.Detail == "" {
		e.Detail = r.Note
	}
	return e
}

// Note appends an event of others to the history, such as a request by file that was
// refused. Its time is now.
func (q *Queue) Note(ctx context.Context, e Event) error {
	e.Time = q.time()
	return q.change(ctx, func() error { return q.record(e) })
}

// record appends lines to the history, durably: one sync for all. The caller holds the
// lock of the queue.
func (q *Queue) record(list ...Event) error {
	var lines []byte
	for _, e := range list {
		line, err := e.line()
		if err != nil {
			return err
		}
		lines = append(lines, line...)
	}
	if err := q.at("write history"); err != nil {
		return err
	}
	path, err := q.lastPart()
	if err != nil {
		return err
	}
	if err := durable.AppendLine(path, lines); err != nil {
		return err
	}
	return q.at("wrote history")
}

func (e Event) line() ([]byte, error) {
	r := Requester{Who: e.Who, Via: e.Via}.bounded()
	e.Who, e.Via, e.Detail, e.Digest = r.Who, r.Via, cut(e.Detail, maxError), cut(e.Digest, maxText)
	e.Reference, e.Canonical = cut(e.Reference, maxError/2), cut(e.Canonical, maxError/2)
	text, err := marshal(e)
	if err == nil && len(text) > maxLine/2 {
		e.Platforms = nil // the job has them
		text, err = marshal(e)
	}
	return durable.Line(bytes.TrimSuffix(text, []byte("\n"))), err
}

// History returns the events of a job, the oldest first; all events for "". The error
// of a line that is damaged does not end it. A torn last line is skipped: it is being
// written, or belongs to a change that was not made.
func (q *Queue) History(id string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		list, err := q.parts()
		if err != nil {
			yield(Event{}, err)
			return
		}
		goOn := true
		for _, part := range list {
			path, n := q.partPath(part), 0
			err := readPart(path, 0, func(text []byte, _, _ int64) bool {
				n++
				var e Event
				switch {
				case text == nil, json.Unmarshal(text, &e) != nil:
					goOn = yield(Event{}, Problem{path, fmt.Errorf("line %d is damaged", n)})
				case id == "" || e.ID == id:
					goOn = yield(e, nil)
				}
				return goOn
			})
			if err != nil && goOn {
				goOn = yield(Event{}, err)
			}
			if !goOn {
				return
			}
		}
	}
}
