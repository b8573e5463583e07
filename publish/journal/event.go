package journal

import (
	"cmp"
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
	KindSign       Kind = "sign"        // the same content, signed anew
	KindRedact     Kind = "redact"      // revoked content was deleted everywhere
	KindHealth     Kind = "health"
	KindHold       Kind = "hold"
	KindUnhold     Kind = "unhold"
	KindGC         Kind = "gc"
	KindPrune      Kind = "prune"
	KindPin        Kind = "pin" // Generation is the one that is pinned or unpinned
	KindUnpin      Kind = "unpin"
	KindClock      Kind = "clock" // the clock was ahead, and is right from here on: see past.correct
	// lines are lost between the switch before this line and the switch to Generation
	KindGap Kind = "gap"
)

var kinds = []Kind{KindAdopt, KindPromote, KindRevert, KindAutoRevert, KindRelink, KindHealth, KindHold, KindUnhold,
	KindGC,
	KindPrune, KindPin, KindUnpin, KindRevoke, KindSign, KindRedact, KindClock, KindGap}

// Kinds returns every kind that a history can hold.
func Kinds() []Kind { return slices.Clone(kinds) }

// Known reports whether this version knows the kind.
func (k Kind) Known() bool { return slices.Contains(kinds, k) }

// Switch reports whether production changed.
func (k Kind) Switch() bool {
	switch k {
	case KindAdopt, KindPromote, KindRevert, KindAutoRevert, KindRelink, KindRevoke, KindSign:
		return true
	}
	return false
}

// Event is one line of the history: the fields that every line has, and those
// of its kind.
type Event struct {
	Head
	Body Body // nil for the kinds hold, unhold and clock, which have none
}

// Head has the fields that every line has.
type Head struct {
	Time time.Time `json:"time"` // UTC
	Kind Kind      `json:"kind"`
	// of a switch, the new production; of a pin, what is pinned; else production at that time
	Generation int    `json:"generation"`
	From       int    `json:"from"`   // production before this line; 0 for none
	Origin     int    `json:"origin"` // the generation whose content Generation shows
	Who        string `json:"who,omitempty"`
	Message    string `json:"message,omitempty"`
}

// Body is a [*Switch], [*Health], [*Freed], [*Prune], [*Redact], [*Pin] or
// [*Gap]; or an [*Other], for a kind that this version does not know.
type Body interface {
	fill(*Record)
}

// Switch is the body of the kinds for which [Kind.Switch] is true.
type Switch struct {
	TreeID    string
	Seal      string // of the manifest, lower-case hex
	Added     []string
	Removed   []string
	Changed   []string
	Grace     int64     // in seconds, as configured then
	Health    string    // HealthPending if a health check was to follow, else ""
	Recovered bool      // recovery derived the line from the manifest, or from what production resolved to
	Revoked   []Revoked // only of kind revoke
	Unnamed   []Named   // only of kind revoke: versions that had no content
}

// The results of a health check; HealthPending if it has not run yet.
const (
	HealthOK      = "ok"
	HealthFailed  = "failed"
	HealthPending = "pending"
)

// Health is the result of the health check of a generation.
type Health struct {
	Result string // ok or failed
}

// Freed is what a gc deleted, because the windows had ended.
type Freed struct {
	Generations []int       `json:"generations"`
	Files       int         `json:"files"` // carried files of production
	Bytes       int64       `json:"bytes"` // disk space freed: files that other trees or staging share do not count
	Items       []FreedItem `json:"items"` // each of them, generations first
}

// FreedItem is one tree or one file that a gc deleted.
type FreedItem struct {
	Generation int    `json:"generation"` // the tree; 0 for a file
	Path       string `json:"path"`       // the file's, in production; "" for a tree
	Reason     string `json:"reason"`
}

// Without returns f without the items in kept, which could not be deleted.
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

// Prune is what a prune deleted from staging, with the hash and the totals of
// its plan.
type Prune struct {
	Pruned          []Pruned
	Orphans         []Orphan
	PlanHash        string
	BytesNow        int64
	BytesAfterGrace int64
	ID              string // of a prune of tags, which can be undone
	Undo            string // the id of the prune that this line undoes; the fields above are empty then
	Restored        []Back // by this undo
}

// Back is a tag that an undo brought back.
type Back struct {
	Product string `json:"product"`
	Version string `json:"version"`
	Ref     string `json:"ref,omitempty"` // as in Pruned
	Digest  string `json:"digest"`        // what it stands for
}

// Called is what people write for the tag.
func (d Back) Called() string { return cmp.Or(d.Ref, d.Product+"/"+d.Version) }

// Pruned is a version that a prune dropped from staging.
type Pruned struct {
	Product string   `json:"product"`
	Version string   `json:"version"`
	Ref     string   `json:"ref,omitempty"`    // what people write; "" for product/version
	Digest  string   `json:"digest,omitempty"` // of a tag: what it stood for
	Reasons []string `json:"reasons"`          // stable strings, never empty
	Bytes   int64    `json:"bytes"`
}

// Called is what people write for the version.
func (d Pruned) Called() string { return cmp.Or(d.Ref, d.Product+"/"+d.Version) }

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
	Tombstones int // number of lines of the tombstones file that it covers
}

// Redaction is the result of deleting revoked content.
type Redaction struct {
	Generations []int            `json:"generations"` // kept trees that had the content
	Paths       map[int][]string `json:"paths"`       // its paths in each of them
	Files       int              `json:"files"`       // deleted files, also in staging and trash
	Bytes       int64            `json:"bytes"`       // of these; hard links of one file count once
}

// Revoked is one revoked file content, with a path where it was found and the
// image that it belonged to.
type Revoked struct {
	Path    string `json:"path"`
	SHA256  string `json:"sha256"`
	Bytes   int64  `json:"bytes"`
	Product string `json:"product"` // "" for a file that no index named
	Version string `json:"version"`
	Ref     string `json:"ref,omitempty"` // what people write; "" for product/version
	// Fingerprint is of the image; "" for a file that belongs to no image.
	Fingerprint string `json:"fingerprint"`
}

// Name returns what people write for the version that had a revoked file, or the
// path if no index named it.
func (v Revoked) Name() string {
	if v.Product == "" {
		return v.Path
	}
	return cmp.Or(v.Ref, v.Product+"/"+v.Version)
}

// Named is a revoked version without content: it had no items, or all their
// files were missing. Version is "" for a product without versions.
type Named struct {
	Product string `json:"product"`
	Version string `json:"version"`
	Ref     string `json:"ref,omitempty"` // as in Revoked
}

func (v Named) String() string {
	if v.Version == "" {
		return v.Product
	}
	return cmp.Or(v.Ref, v.Product+"/"+v.Version)
}

// Pin is the body of pin and unpin.
type Pin struct {
	TreeID string // of the generation
}

// Gap is the body of a line of [KindGap].
type Gap struct {
	Grace int64 // in seconds, as configured then
}

// Other is the body of a line of a kind that this version does not know.
type Other struct{ Record }

// Switch returns the body of a switch; nil for other kinds of events.
func (e *Event) Switch() *Switch {
	s, _ := e.Body.(*Switch)
	return s
}

// Revocation returns what a line of kind revoke or redact is about.
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

// Names returns all names in an event: what was added, removed or changed, and
// what a prune, a gc or a revoke deleted.
func (e *Event) Names() []string {
	r := e.Record()
	out := slices.Concat(r.Added, r.Removed, r.Changed)
	for _, d := range r.Pruned {
		out = append(out, d.Called())
	}
	for _, d := range r.Restored {
		out = append(out, d.Called())
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
