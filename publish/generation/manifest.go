package generation

import (
	"cmp"
	"fmt"
	"iter"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Manifest is the sealed list of what a generation holds. It is written before
// the switch, and recovery completes the history from it. It never changes: rows
// stay after their files were deleted, because the window of a carried file ended
// or the file was revoked.
type Manifest struct {
	Head
	Own     []tree.Row // sorted by path
	Carried []Carried  // sorted by path
	Held    []Held     // sorted by document, then digest
	Barred  []tree.Row // content that an operator reverted: promote refuses it
	// Units are what a diff counts, computed from the catalog. They are kept so
	// that the next switch need not read the catalog again; see Counts.
	Units []catalog.Unit
	// Gone are names that must not come back with another digest, and that the tree
	// does not have; sorted by key.
	Gone []catalog.Unit
}

// UnitScheme is the version of the computation of units, for Head.Units. Raise it
// if a format computes their digests in another way.
const UnitScheme = 1

// Counts reports whether Units can be used: the manifest has them, and they were
// computed in the way of this version.
func (m *Manifest) Counts() bool { return m.Head.Units == UnitScheme }

// Kind is how a generation came to be production.
type Kind string

// The kinds of manifests.
const (
	KindAdopt      Kind = "adopt"
	KindPromote    Kind = "promote"
	KindRevert     Kind = "revert"
	KindAutoRevert Kind = "auto-revert" // a health check failed
	KindRevoke     Kind = "revoke"
	KindSign       Kind = "sign" // the same content with new signatures
	// KindRelink is only for a manifest that recovery rebuilt, if the history only
	// knows that another program pointed production at the generation.
	KindRelink Kind = "relink"
)

func (k Kind) known() bool {
	switch k {
	case KindAdopt, KindPromote, KindRevert, KindAutoRevert, KindRevoke, KindSign, KindRelink:
		return true
	}
	return false
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

// String names a revoked file for people.
func (c Revoked) String() string {
	if c.Product == "" {
		return c.Path
	}
	return fmt.Sprintf("%s: %s", c.Called(), c.Path)
}

// Called is what people write for the version that had the file.
func (c Revoked) Called() string { return cmp.Or(c.Ref, c.Product+"/"+c.Version) }

// Named is a revoked version without content: it had no items, or all their
// files were missing. Version is "" for a product without versions.
type Named struct {
	Product string `json:"product"`
	Version string `json:"version"`
	Ref     string `json:"ref,omitempty"` // as in Revoked
}

func (v Named) String() string {
	return cmp.Or(v.Ref, catalog.Name{Group: v.Product, Version: v.Version}.String())
}

// Head is the first part of a manifest.
type Head struct {
	Generation  int       `json:"generation"`
	From        int       `json:"from"`   // production before it; 0 for none
	Origin      int       `json:"origin"` // the generation whose content it shows: itself, or the target of a revert
	TreeID      string    `json:"tree_id"`
	Kind        Kind      `json:"kind"` // adopt, promote, revert, auto-revert, revoke or sign
	Who         string    `json:"who"`
	Message     string    `json:"message"`
	Time        time.Time `json:"time"` // when it was sealed, UTC
	Grace       int64     `json:"grace_seconds"`
	Format      string    `json:"format"`
	Added       []string  `json:"added"` // versions as people write them
	Removed     []string  `json:"removed"`
	Changed     []string  `json:"changed"`
	BarredTrees []string  `json:"barred_trees"`      // tree ids that promote refuses
	Revoked     []Revoked `json:"revoked,omitempty"` // by this switch; recovery writes tombstones from them
	Unnamed     []Named   `json:"unnamed,omitempty"` // by this switch: versions that had no content
	Units       int       `json:"units,omitempty"`   // the UnitScheme of the Units; 0 without Units
	// Signatures says what was signed with the keys of publish.yaml; absent where nothing was.
	Signatures *Signatures `json:"signatures,omitempty"`
	// TreeSeal is the seal in the mark of the tree, if it differs from Seal: a
	// manifest that recovery rebuilt has another seal.
	TreeSeal string `json:"tree_seal,omitempty"`
	// Seal is the hash in the last line of the manifest, lower-case hex, set by
	// Decode and Encode.
	Seal string `json:"-"`
}

// Signatures says when a generation was signed, and how long that is good.
type Signatures struct {
	Made  time.Time  `json:"made"`            // UTC
	Until *time.Time `json:"until,omitempty"` // null: without end
}

// Due reports whether it is time to sign anew: half of the time is over for which signatures
// are good, or there are none.
func (s *Signatures) Due(now time.Time) bool {
	return s == nil || s.Until != nil && now.After(s.Made.Add(s.Until.Sub(s.Made)/2))
}

// Borne returns the seal in the mark of the tree.
func (h *Head) Borne() string { return cmp.Or(h.TreeSeal, h.Seal) }

// All yields every row, own and carried.
func (m *Manifest) All() iter.Seq[tree.Row] {
	return func(yield func(tree.Row) bool) {
		for _, row := range m.Own {
			if !yield(row) {
				return
			}
		}
		for _, c := range m.Carried {
			if !yield(c.Row) {
				return
			}
		}
	}
}

// Carried is a path that the tree no longer has, kept for clients that
// learned of it from an earlier generation.
type Carried struct {
	tree.Row
	Dropped int // the first generation without it: its window starts at that switch
}
