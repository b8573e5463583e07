package journal

import (
	"slices"
	"time"
)

// Kind is what a line of the history reports.
type Kind string

// The kinds. Those of switches name the generation that production became.
const (
	KindAdopt      Kind = "adopt"
	KindPromote    Kind = "promote"
	KindRevert     Kind = "revert"
	KindAutoRevert Kind = "auto-revert" // a health check failed
	KindRelink     Kind = "relink"      // somebody else pointed production at another kept generation
	KindRevoke     Kind = "revoke"      // content was taken away at once
	KindRedact     Kind = "redact"      // revoked content was deleted everywhere
	KindHealth     Kind = "health"
	KindHold       Kind = "hold"
	KindUnhold     Kind = "unhold"
	KindGC         Kind = "gc"
	KindPrune      Kind = "prune"
	KindPin        Kind = "pin" // this and unpin name the generation that they are about
	KindUnpin      Kind = "unpin"
	KindClock      Kind = "clock" // the clock is right from here on, though it was ahead: see past.correct
	// what came between the switch before this line and generation, from included, is not known
	KindGap Kind = "gap"
)

var kinds = []Kind{KindAdopt, KindPromote, KindRevert, KindAutoRevert, KindRelink, KindHealth, KindHold, KindUnhold,
	KindGC,
	KindPrune, KindPin, KindUnpin, KindRevoke, KindRedact, KindClock, KindGap}

// Kinds returns every kind that a history can hold.
func Kinds() []Kind { return slices.Clone(kinds) }

// Known reports whether this version knows the kind.
func (k Kind) Known() bool { return slices.Contains(kinds, k) }

// Switch reports whether production changed.
func (k Kind) Switch() bool {
	switch k {
	case KindAdopt, KindPromote, KindRevert, KindAutoRevert, KindRelink, KindRevoke:
		return true
	}
	return false
}

// Event is one line of the history: what every line says, and what only lines of
// its kind say.
type Event struct {
	Head
	Body Body // nil for the kinds hold, unhold and clock, which have none
}

// Head is what every line says.
type Head struct {
	Time time.Time `json:"time"` // UTC
	Kind Kind      `json:"kind"`
	// of a switch, what production became; of a pin, what is pinned; else production at that time
	Generation int    `json:"generation"`
	From       int    `json:"from"`   // the generation before; 0 for none
	Origin     int    `json:"origin"` // whose content the generation shows
	Who        string `json:"who,omitempty"`
	Message    string `json:"message,omitempty"`
}

// Body is a [*Switch], [*Health], [*Freed], [*Prune], [*Redact], [*Pin], [*Gap],
// or, of a kind that this version does not know, an [*Other].
type Body interface {
	fill(*Record)
}

// Switch is the body of the kinds for which [Kind.Switch] is true.
type Switch struct {
	TreeID    string
	Seal      string // the manifest's, lower-case hex
	Added     []string
	Removed   []string
	Changed   []string
	Grace     int64     // in seconds, as it was configured
	Health    string    // "", or HealthPending: a check was to follow
	Recovered bool      // the line was derived from the manifest, or from what production resolved to
	Revoked   []Revoked // of revoke
	Unnamed   []Named   // likewise, versions that had no content
}

// What a health check can say, and that it has not been run yet.
const (
	HealthOK      = "ok"
	HealthFailed  = "failed"
	HealthPending = "pending"
)

// Health is what the health check of a generation said.
type Health struct {
	Result string // ok or failed
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
		return slices.ContainsFunc(kept, func(k FreedItem) bool {
			return k.Generation == i.Generation && k.Path == i.Path
		})
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

// Prune is what a prune took out of staging, with the plan's hash and sums.
type Prune struct {
	Pruned          []Pruned
	Orphans         []Orphan
	PlanHash        string
	BytesNow        int64
	BytesAfterGrace int64
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

// Redact is the deletion of revoked content.
type Redact struct {
	Revoked    []Revoked
	Unnamed    []Named
	Redaction  *Redaction
	Tombstones int // how many lines of tombstones it is about
}

// Redaction is what the deletion of revoked content came to.
type Redaction struct {
	Generations []int            `json:"generations"` // kept trees that had it
	Paths       map[int][]string `json:"paths"`       // in each
	Files       int              `json:"files"`       // deleted, in staging and trash too
	Bytes       int64            `json:"bytes"`       // of these, each file once whatever its number of names
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

// Pin is the body of pin and unpin.
type Pin struct {
	TreeID string // of the generation
}

// Gap is the body of a line that notes what is not known.
type Gap struct {
	Grace int64 // in seconds, as it was configured
}

// Other is all that is known of a line of another version's kind.
type Other struct{ Record }

// Switch returns the body of a switch; nil for an event that is none.
func (e *Event) Switch() *Switch {
	s, _ := e.Body.(*Switch)
	return s
}

// Revocation returns what a revoke or its deletion was about.
func (e *Event) Revocation() (revoked []Revoked, unnamed []Named) {
	switch b := e.Body.(type) {
	case *Switch:
		return b.Revoked, b.Unnamed
	case *Redact:
		return b.Revoked, b.Unnamed
	case *Other:
		return b.Revoked, b.Unnamed
	}
	return nil, nil
}

// Names are all that an event names: what came, went or changed, and what a
// prune, a gc or a revoke took away.
func (e *Event) Names() []string {
	r := e.Record()
	out := slices.Concat(r.Added, r.Removed, r.Changed)
	for _, d := range r.Pruned {
		out = append(out, d.Product+"/"+d.Version)
	}
	for _, v := range r.Revoked {
		out = append(out, v.Name())
	}
	for _, v := range r.Unnamed {
		out = append(out, v.String())
	}
	if r.Freed != nil {
		for _, i := range r.Freed.Items {
			if i.Path != "" {
				out = append(out, i.Path)
			}
		}
	}
	return out
}
