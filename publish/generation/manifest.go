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
// the switch and is the intent: recovery completes history from it, and there
// is no other journal. It is never changed; carried files whose window has
// ended, and files that were revoked since, are gone from the tree though their
// rows stay.
type Manifest struct {
	Head
	Own     []tree.Row // sorted by path
	Carried []Carried  // sorted by path
	Barred  []tree.Row // content that an operator's revert took away: promote refuses it
	// Units are what a diff counts, as the catalog told it, so that the next
	// switch need not read this catalog again; see Counts.
	Units []catalog.Unit
}

// UnitScheme is the way in which a catalog's units are made, for Head.Units.
// Raise it when a format digests them in another way.
const UnitScheme = 1

// Counts reports whether Units can be believed: not those of another version of
// this program, and not those of a manifest that has none.
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
	// KindRelink is that of a manifest made anew from a history that only knows
	// that another program pointed production at the generation.
	KindRelink Kind = "relink"
)

func (k Kind) known() bool {
	switch k {
	case KindAdopt, KindPromote, KindRevert, KindAutoRevert, KindRevoke, KindRelink:
		return true
	}
	return false
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

// String names a revoked file for people.
func (c Revoked) String() string {
	if c.Product == "" {
		return c.Path
	}
	return fmt.Sprintf("%s/%s: %s", c.Product, c.Version, c.Path)
}

// Name is the product's version that a revoked file was of, or its path.
func (c Revoked) Name() string {
	if c.Product == "" {
		return c.Path
	}
	return catalog.Name{Group: c.Product, Version: c.Version}.String()
}

// Named is a version that was revoked and had no content of its own: no items,
// or none that is there. Version is "" for a product that had no version.
type Named struct {
	Product string `json:"product"`
	Version string `json:"version"`
}

func (v Named) String() string {
	return catalog.Name{Group: v.Product, Version: v.Version}.String()
}

// Head is a manifest's first part.
type Head struct {
	Generation  int       `json:"generation"`
	From        int       `json:"from"`   // the generation before; 0 for none
	Origin      int       `json:"origin"` // whose content this is: its own number, or what it was reverted to
	TreeID      string    `json:"tree_id"`
	Kind        Kind      `json:"kind"` // adopt, promote, revert, auto-revert or revoke
	Who         string    `json:"who"`
	Message     string    `json:"message"`
	Time        time.Time `json:"time"` // when it was sealed, UTC
	Grace       int64     `json:"grace_seconds"`
	Format      string    `json:"format"`
	Added       []string  `json:"added"` // product/version
	Removed     []string  `json:"removed"`
	Changed     []string  `json:"changed"`
	BarredTrees []string  `json:"barred_trees"`      // tree ids that promote refuses
	Revoked     []Revoked `json:"revoked,omitempty"` // by this switch: it is their tombstones' intent
	Unnamed     []Named   `json:"unnamed,omitempty"` // likewise, versions that had no content
	Units       int       `json:"units,omitempty"`   // the UnitScheme of the manifest's; 0 when it has none
	// TreeSeal is, in a manifest that was made anew, the seal that the tree bears.
	TreeSeal string `json:"tree_seal,omitempty"`
	// Seal is the hash in the last line, lower-case hex, of the manifest as it
	// was read or written last.
	Seal string `json:"-"`
}

// Borne returns the seal that the generation's tree bears.
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
	Dropped int // the generation that no longer had it: its window starts at that switch
}
