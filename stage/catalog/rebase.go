package catalog

import (
	"cmp"
	"context"
	"slices"
)

// A Rebaser is a Format whose trees can be united three ways: what changed from base to
// ours is done to theirs. A format without documents needs no such method: its files are
// the units.
type Rebaser interface {
	// Rebase returns the documents with which ours becomes theirs with our changes.
	// Additions and removals of both sides stay. A version that both changed in the same
	// way is one. Fields that the format does not know survive. A field beside the
	// versions that both changed, to different values, is theirs, with a warning.
	//
	// If there are conflicts, there are no documents. Once the documents are written,
	// Rebase with the same base and theirs has nothing to write. It returns a
	// *DocumentError for a document that clients cannot read, in any of the trees.
	Rebase(ctx context.Context, base, ours, theirs Source) (*Rebased, error)
}

// Rebased is the result of a Rebaser.
type Rebased struct {
	Documents []Document // in the order in which to write them; only those that differ from ours
	Conflicts []Clash    // sorted by Ref
	Findings  []Finding  // warnings
}

// Clash is what both sides did to one version, or to one file, and nobody can unite.
type Clash struct {
	Ref   string `json:"ref"` // Format.Ref of the version, or the path of a file
	Here  Deed   `json:"here"`
	There Deed   `json:"there"`
}

// Deed is what one side did.
type Deed string

// The deeds.
const (
	Added   Deed = "added"
	Removed Deed = "removed"
	Changed Deed = "changed"
)

// DeedOf is what leads from one state to another.
func DeedOf(before, after bool) Deed {
	switch {
	case !before:
		return Added
	case !after:
		return Removed
	}
	return Changed
}

// SortClashes sorts clashes as they are reported.
func SortClashes(list []Clash) {
	slices.SortFunc(list, func(a, b Clash) int { return cmp.Compare(a.Ref, b.Ref) })
}

// Choice is which of three states wins.
type Choice int

// The choices.
const (
	Theirs Choice = iota // also if both sides are the same
	Ours
	Neither // both changed, in different ways
)

// Choose decides by the three states of one thing, which are equal if it is the same.
func Choose(oursIsBase, theirsIsBase, same bool) Choice {
	switch {
	case oursIsBase, same:
		return Theirs
	case theirsIsBase:
		return Ours
	}
	return Neither
}
