// Package retention decides which versions of which products to keep. It is a
// pure function of versions, policy and now: it opens no file and reads no
// clock, so that a dry run, a reviewed plan and the real run cannot differ.
//
// # Rules
//
// The first rule whose pattern matches a product decides on all its versions;
// a product that no rule matches keeps everything. Within a rule the keeps are
// a union, as in restic's ApplyPolicy (restic, internal/data/snapshot_policy.go):
// what any one of them wants stays.
//
//   - keep_last N: the N newest versions.
//   - keep_within D: versions whose time is not before now - D, those in the
//     future among them. Other than in restic, D ends now, not at the newest
//     version: when builds stop, versions go on ageing, down to min_versions.
//   - keep_daily, keep_weekly, keep_monthly N: the newest version of each of
//     the N newest days, ISO weeks, months that have a version. All in UTC.
//     Other than in restic, the oldest version is not kept besides.
//   - keep: all: every version.
//   - expired: remove: a version whose expiry has passed, or whose product's
//     support ended before today, is not wanted by any keep of this rule and
//     takes no place in its counts. A rule without it ignores both dates.
//   - min_versions N (1 where it is not written): the N newest versions that
//     have not expired stay, whatever else the rule says; where there are fewer
//     than N of these, the newest expired ones also stay. Only a written
//     min_versions: 0 lets a rule remove every version of a product.
//
// min_versions is a keep like the others, not a number to fill up to after
// them: were it filled up, then raising keep_monthly could fill it with an old
// version and so remove a newer one that had filled it before.
//
// # Versions that never count
//
// An incomplete version (a file is missing or wrong) may be an upload in
// progress; a version that clients list and whose name has no time cannot be
// aged. Both are kept, and neither takes a place in any count: a broken build
// must not push out the last good one.
//
// # Versions that clients skip
//
// A rule also decides on the versions that clients skip, complete or not. Such a
// version is kept by what would keep it if every version counted: it stays under
// keep_last N while fewer than N versions are newer. But it takes no place from a
// version that clients list, so half a build does not push out a whole one. A
// skipped version whose name has no time is kept by keep_last and min_versions
// only, and takes no place from one whose name has a time.
//
// # Newest
//
// The newest version is the one that clients take: the lexicographically greatest
// name (Incus, shared/simplestreams/sort.go, "serial" descending). People order
// names as numbers (see [Item.Rank]): to a client 20260101.9 is newer than
// 20260101.10, and 20260102_08:00 newer than 202601022300, because _ is greater
// than any digit. Nobody knows which order was meant, so each keep counts in
// both orders, and keeps what either wants; the reason says where only the order
// of numbers does. Times decide keep_within and name the days, weeks and months,
// and nothing else. They come from names only, never from files: upload tools
// preserve or reset modification times as they like.
//
// # What holds
//
// For every input: nothing that a rule keeps is removed; applying a policy to
// what it kept, at the same now, removes nothing more; raising any keep, or
// min_versions, removes nothing more; the order of items does not matter. Time
// is n log n and memory linear in the number of items.
//
// For products whose versions are all listed, complete and dated, and have one
// order, keep_last N+1 keeps
// what `incus-simplestreams prune -r N` (v6.23.0) keeps: that tool's N counts
// the older versions beside the newest.
package retention

import "time"

// Item is one version of a product, or a part of one: items with the same
// product and version, such as its container and its virtual machine, are
// decided on together. Such a version is complete when all its parts are, and
// skipped when all are; it expires with the last of them, and has the bytes of
// all.
type Item struct {
	Product  string    // os:release:variant:arch, or whatever names a series of versions
	Version  string    // its name
	Ref      string    // what people write for it; "" for product/version
	Rank     int       // its place when the product's names are ordered as numbers; as text among equals
	Time     time.Time // from its name; zero: not known
	Complete bool      // every file is there and right
	Skipped  bool      // clients skip it
	Expires  time.Time // when it expires (expiry_date); zero: never
	// any time of the last day, UTC, on which the product is supported (support_eol); zero: not known
	SupportEOL time.Time
	Bytes      int64 // what its files take
}

// Decision is what is to become of one version, and why.
type Decision struct {
	Product string   `json:"product"`
	Version string   `json:"version"`
	Ref     string   `json:"ref,omitempty"`    // what people write; "" for product/version
	Digest  string   `json:"digest,omitempty"` // of a tag: what it stands for
	Reasons []string `json:"reasons"`          // stable strings, never empty
	Bytes   int64    `json:"bytes"`
	Rule    int      `json:"-"` // the rule that decided, counted from 1; 0: none
}

// Unmatched is a rule that decided on no product: most likely a mistake.
type Unmatched struct {
	Rule     int    // counted from 1
	Match    string // its pattern
	Shadowed bool   // it matches products, and earlier rules took them all
}

// Result is what a policy says of every version. No slice is nil.
type Result struct {
	Keep      []Decision  // by product, then newest version first
	Remove    []Decision  // likewise
	Unmatched []Unmatched // by rule
}

// The reasons, beside "rule N (pattern)" in "not kept by": one vocabulary for
// reports, plans and history, and a promise to everybody who reads their JSON.
const (
	reasonNoRule     = "no rule"
	reasonInvalid    = "invalid policy"
	reasonAll        = "keep: all"
	reasonIncomplete = "incomplete: never counts as kept"
	reasonUndated    = "no date in its name: never counts as kept"
	reasonLast       = "last %d"         // keep_last as written
	reasonWithin     = "within %s"       // keep_within: 30d, 36h, 1h30m
	reasonDaily      = "daily %s"        // 2026-01-02
	reasonWeekly     = "weekly %s"       // 2026-W53
	reasonMonthly    = "monthly %s"      // 2026-01
	reasonMin        = "min_versions %d" // only where nothing else keeps it
	reasonAlthough   = "%s, although %s" // min_versions, and what would have removed it
	reasonExpired    = "expired %s"      // 2026-01-02
	reasonUnsupport  = "support ended %s"
	reasonSkipped    = "clients skip it"             // beside why it is not kept
	reasonNumbers    = "%s, in the order of numbers" // where the order of the text does not keep it
	reasonNotKept    = "not kept by %s"
)
