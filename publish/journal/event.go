package journal

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Kind is what a line of the history reports.
type Kind string

// The kinds. Those of switches name the generation that production became.
const (
	Adopt      Kind = "adopt"
	Promote    Kind = "promote"
	Revert     Kind = "revert"
	AutoRevert Kind = "auto-revert" // a health check failed
	Relink     Kind = "relink"      // somebody else pointed production at another kept generation
	Revoke     Kind = "revoke"      // content was taken away at once
	Redact     Kind = "redact"      // revoked content was deleted everywhere
	Health     Kind = "health"
	Hold       Kind = "hold"
	Unhold     Kind = "unhold"
	GC         Kind = "gc"
	Prune      Kind = "prune"
	Pin        Kind = "pin" // this and unpin name the generation that they are about
	Unpin      Kind = "unpin"
	Clock      Kind = "clock" // the clock is right from here on, though it was ahead: see correctTimes
	Gap        Kind = "gap"   // what came between the switch before this line and generation, from included, is not known
)

var kinds = []Kind{Adopt, Promote, Revert, AutoRevert, Relink, Health, Hold, Unhold, GC, Prune, Pin, Unpin, Revoke, Redact, Clock, Gap}

// Kinds returns every kind that a history can hold.
func Kinds() []Kind { return slices.Clone(kinds) }

// Known reports whether this version knows the kind.
func (k Kind) Known() bool { return slices.Contains(kinds, k) }

// Switch reports whether production changed.
func (k Kind) Switch() bool {
	switch k {
	case Adopt, Promote, Revert, AutoRevert, Relink, Revoke:
		return true
	}
	return false
}

// Event is one line of the history.
type Event struct {
	Time       time.Time `json:"time"` // UTC
	Kind       Kind      `json:"kind"`
	Generation int       `json:"generation"`
	From       int       `json:"from"`
	Origin     int       `json:"origin"`
	TreeID     string    `json:"tree_id,omitempty"`
	Seal       string    `json:"seal,omitempty"` // of a switch: the manifest's, lower-case hex
	Who        string    `json:"who"`
	Message    string    `json:"message"`
	Added      []string  `json:"added"`
	Removed    []string  `json:"removed"`
	Changed    []string  `json:"changed"`
	Grace      int64     `json:"grace_seconds,omitempty"`
	Health     string    `json:"health"` // "", ok or failed
	Recovered  bool      `json:"recovered,omitempty"`
	Freed      *Freed    `json:"freed,omitempty"` // of gc

	// Of prune: what went from staging, and the plan's hash and sums.
	Pruned          []Pruned   `json:"pruned,omitempty"`
	Orphans         []Orphan   `json:"orphans,omitempty"`
	PlanHash        string     `json:"plan_hash,omitempty"`
	BytesNow        int64      `json:"bytes_now,omitempty"`
	BytesAfterGrace int64      `json:"bytes_after_grace,omitempty"`
	Revoked         []Revoked  `json:"revoked,omitempty"`    // of revoke and redact
	Unnamed         []Named    `json:"unnamed,omitempty"`    // likewise, versions that had no content
	Redacted        *Redaction `json:"redacted,omitempty"`   // of redact
	Graves          int        `json:"tombstones,omitempty"` // of redact: lines of tombstones that it is about
}

// Freed is what a gc deleted, because its window had ended.
type Freed struct {
	Generations []int       `json:"generations"`
	Files       int         `json:"files"` // carried files of production
	Bytes       int64       `json:"bytes"` // of files that no other tree or stage has
	Items       []FreedItem `json:"items"` // each of them, generations first
}

// FreedItem is one tree or one file that a gc deleted.
type FreedItem struct {
	Generation int    `json:"generation"` // the tree; 0 for a file
	Path       string `json:"path"`       // the file's, in production; "" for a tree
	Reason     string `json:"reason"`
}

// Without leaves out what could not be deleted after all.
func (f Freed) Without(kept []FreedItem) Freed {
	stays := func(i FreedItem) bool {
		return slices.ContainsFunc(kept, func(k FreedItem) bool { return k.Generation == i.Generation && k.Path == i.Path })
	}
	if len(kept) == 0 {
		return f
	}
	out := Freed{Generations: []int{}, Items: []FreedItem{}, Bytes: f.Bytes}
	for _, i := range f.Items {
		switch {
		case stays(i):
		case i.Path == "":
			out.Generations, out.Items = append(out.Generations, i.Generation), append(out.Items, i)
		default:
			out.Files, out.Items = out.Files+1, append(out.Items, i)
		}
	}
	if len(out.Items) == 0 {
		out.Bytes = 0
	}
	return out
}

// Pruned is a version that a prune dropped from staging.
type Pruned struct {
	Product string   `json:"product"`
	Version string   `json:"version"`
	Reasons []string `json:"reasons"` // stable strings, never empty
	Bytes   int64    `json:"bytes"`
}

// Orphan is a file that no index named and a prune deleted from staging.
type Orphan struct {
	Path  string    `json:"path"`
	Bytes int64     `json:"bytes"`
	Since time.Time `json:"since"` // when publish first saw it unnamed, UTC
}

// Revoked is one content that was revoked, with a path under which it was
// found and the image that it belonged to.
type Revoked struct {
	Path    string `json:"path"`
	SHA256  string `json:"sha256"`
	Bytes   int64  `json:"bytes"`
	Product string `json:"product"` // "" for a file that no index named
	Version string `json:"version"`
	// Fingerprint is the image's; "" for a file that belongs to none.
	Fingerprint string `json:"fingerprint"`
}

// Name is the product's version that a revoked file was of, or its path.
func (v Revoked) Name() string {
	if v.Product == "" {
		return v.Path
	}
	return v.Product + "/" + v.Version
}

// String names a revoked file for people.
func (v Revoked) String() string {
	if v.Product == "" {
		return v.Path
	}
	return fmt.Sprintf("%s/%s: %s", v.Product, v.Version, v.Path)
}

// Named is a version that was revoked and had no content of its own: no items,
// or none that is there. Version is "" for a product that had no version.
type Named struct {
	Product string `json:"product"`
	Version string `json:"version"`
}

func (v Named) String() string {
	if v.Version == "" {
		return v.Product
	}
	return v.Product + "/" + v.Version
}

// Redaction is what the deletion of revoked content came to.
type Redaction struct {
	Generations []int            `json:"generations"` // kept trees that had it
	Paths       map[int][]string `json:"paths"`       // in each
	Files       int              `json:"files"`       // deleted, in staging and trash too
	Bytes       int64            `json:"bytes"`       // of these, each file once whatever its number of names
}

// Names are all that an event names: what came, went or changed, and what a
// prune, a gc or a revoke took away.
func (e *Event) Names() []string {
	out := slices.Concat(e.Added, e.Removed, e.Changed)
	for _, d := range e.Pruned {
		out = append(out, d.Product+"/"+d.Version)
	}
	for _, v := range e.Revoked {
		out = append(out, v.Name())
	}
	for _, v := range e.Unnamed {
		out = append(out, v.String())
	}
	if e.Freed != nil {
		for _, i := range e.Freed.Items {
			if i.Path != "" {
				out = append(out, i.Path)
			}
		}
	}
	return out
}

// Marshal returns the text of the event's line.
func (e Event) Marshal() ([]byte, error) {
	e.Time = e.Time.UTC()
	e.Added, e.Removed, e.Changed = noNil(e.Added), noNil(e.Removed), noNil(e.Changed)
	return json.Marshal(e)
}

func noNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
