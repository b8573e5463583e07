package journal

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"
)

// Record is an event in JSON, on disk and in the output of commands. It has the
// fields of all kinds, in this order. Fields are only ever added.
type Record struct {
	Time       time.Time `json:"time"` // UTC
	Kind       Kind      `json:"kind"`
	Generation int       `json:"generation"`
	From       int       `json:"from"`
	Origin     int       `json:"origin"`
	TreeID     string    `json:"tree_id,omitempty"` // of a switch, a pin and an unpin
	Seal       string    `json:"seal,omitempty"`
	Who        string    `json:"who"`
	Message    string    `json:"message"`
	Added      texts     `json:"added"` // never null
	Removed    texts     `json:"removed"`
	Changed    texts     `json:"changed"`
	Grace      int64     `json:"grace_seconds,omitempty"` // of a switch and a gap
	Health     string    `json:"health"`                  // of a switch and a health check
	Recovered  bool      `json:"recovered,omitempty"`
	Freed      *Freed    `json:"freed,omitempty"` // of gc

	Pruned          []Pruned   `json:"pruned,omitempty"` // this to BytesAfterGrace: of prune
	Orphans         []Orphan   `json:"orphans,omitempty"`
	PlanHash        string     `json:"plan_hash,omitempty"`
	BytesNow        int64      `json:"bytes_now,omitempty"`
	BytesAfterGrace int64      `json:"bytes_after_grace,omitempty"`
	ID              string     `json:"id,omitempty"`
	Undo            string     `json:"undo,omitempty"` // this and Restored: of the undo of a prune
	Restored        []Back     `json:"restored,omitempty"`
	Revoked         []Revoked  `json:"revoked,omitempty"` // of revoke and redact
	Unnamed         []Named    `json:"unnamed,omitempty"` // likewise
	Redacted        *Redaction `json:"redacted,omitempty"`
	Tombstones      int        `json:"tombstones,omitempty"` // of redact
}

// Record returns the event in its JSON form.
func (e *Event) Record() Record {
	r := Record{Time: e.Time.UTC(), Kind: e.Kind, Generation: e.Generation, From: e.From, Origin: e.Origin, Who: e.Who,
		Message: e.Message}
	if e.Body != nil {
		e.Body.fill(&r)
	}
	r.Added, r.Removed, r.Changed = noNil(r.Added), noNil(r.Removed), noNil(r.Changed)
	return r
}

// event is the inverse of [Event.Record]. It drops fields that do not belong to
// the kind of the record, unless this version does not know the kind.
func (r *Record) event() Event {
	e := Event{Head: Head{Time: r.Time, Kind: r.Kind, Generation: r.Generation, From: r.From, Origin: r.Origin,
		Who: r.Who, Message: r.Message}}
	switch k := r.Kind; {
	case k.Switch():
		e.Body = &Switch{TreeID: r.TreeID, Seal: r.Seal, Added: r.Added, Removed: r.Removed, Changed: r.Changed,
			Grace: r.Grace, Health: r.Health,
			Recovered: r.Recovered, Revoked: r.Revoked, Unnamed: r.Unnamed}
	case k == KindHealth:
		e.Body = &Health{r.Health}
	case k == KindGC && r.Freed != nil:
		e.Body = r.Freed
	case k == KindPrune:
		e.Body = &Prune{r.Pruned, r.Orphans, r.PlanHash, r.BytesNow, r.BytesAfterGrace, r.ID, r.Undo, r.Restored}
	case k == KindRedact:
		e.Body = &Redact{r.Revoked, r.Unnamed, r.Redacted, r.Tombstones}
	case k == KindPin, k == KindUnpin:
		e.Body = &Pin{r.TreeID}
	case k == KindGap:
		e.Body = &Gap{r.Grace}
	case !k.Known():
		e.Body = &Other{*r}
	}
	return e
}

func (b *Switch) fill(r *Record) {
	r.TreeID, r.Seal, r.Added, r.Removed, r.Changed = b.TreeID, b.Seal, b.Added, b.Removed, b.Changed
	r.Grace, r.Health, r.Recovered, r.Revoked, r.Unnamed = b.Grace, b.Health, b.Recovered, b.Revoked, b.Unnamed
}

func (b *Health) fill(r *Record) { r.Health = b.Result }

func (b *Freed) fill(r *Record) { r.Freed = b }

func (b *Prune) fill(r *Record) {
	r.Pruned, r.Orphans, r.PlanHash, r.BytesNow, r.BytesAfterGrace = b.Pruned, b.Orphans, b.PlanHash, b.BytesNow,
		b.BytesAfterGrace
	r.ID, r.Undo, r.Restored = b.ID, b.Undo, b.Restored
}

func (b *Redact) fill(r *Record) {
	r.Revoked, r.Unnamed, r.Redacted, r.Tombstones = b.Revoked, b.Unnamed, b.Redaction, b.Tombstones
}

func (b *Pin) fill(r *Record) { r.TreeID = b.TreeID }

func (b *Gap) fill(r *Record) { r.Grace = b.Grace }

func (b *Other) fill(r *Record) {
	head := *r
	*r = b.Record
	r.Time, r.Kind, r.Generation, r.From, r.Origin, r.Who, r.Message = head.Time, head.Kind, head.Generation, head.From,
		head.Origin, head.Who, head.Message
}

// texts is a list of strings that is quick to read: the line of the first promote
// of a large tree has a name for each version, and every command reads it.
type texts []string

// UnmarshalJSON reads a list, which is valid JSON.
func (t *texts) UnmarshalJSON(data []byte) error {
	plain := len(data) > 2 && data[0] == '[' && data[1] == '"' && bytes.IndexByte(data, '\\') < 0 && utf8.Valid(data)
	if !plain {
		return json.Unmarshal(data, (*[]string)(t))
	}
	// The strings are parts of one copy: a command needs all of them, or none.
	list := strings.Split(string(data[1:len(data)-1]), ",")
	for i, s := range list {
		if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' { // a comma in a name, or white space
			return json.Unmarshal(data, (*[]string)(t))
		}
		list[i] = s[1 : len(s)-1]
	}
	*t = list
	return nil
}

// MarshalJSON returns the text of the line of an event.
func (e Event) MarshalJSON() ([]byte, error) { return json.Marshal(e.Record()) }

// UnmarshalJSON reads the text of a line.
func (e *Event) UnmarshalJSON(data []byte) error {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return err
	}
	*e = r.event()
	return nil
}

// eventOf reads the text of a line. It decodes into a Record because that is
// faster: for a type with UnmarshalJSON, the decoder scans the text twice.
func eventOf(text []byte) (Event, bool) {
	var r Record
	if json.Unmarshal(text, &r) != nil {
		return Event{}, false
	}
	return r.event(), true
}

func noNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
