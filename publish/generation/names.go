package generation

import (
	"fmt"
	"strconv"
	"strings"
)

// The names in a store, which is the folder of the generations. A complete tree
// has its number as its name. Names with these prefixes are not generations.
const (
	// SnapshotPrefix is for a promote's draft; its owner holds the prepare lock.
	SnapshotPrefix = ".snapshot-"
	// RevertPrefix is for the draft of a revert or a revoke; its owner holds the
	// production lock.
	RevertPrefix = ".revert-"
	// NextPrefix is for a sealed tree that waits for its switch, and for the old
	// tree directly after an exchange.
	NextPrefix = ".next-"
	// copyPrefix is for a copy of a generation that is elsewhere, while it is made.
	copyPrefix = ".copy-"
	// trashPrefix is for a retired tree that is being deleted.
	trashPrefix = ".trash-"
)

const (
	// IdentityName is the file in each generation's tree that holds its number.
	IdentityName = ".publish-generation"
	// MarkName is the file beside it that tells which repository owns the tree.
	// Trees that an old version made have none, until their next switch.
	MarkName = ".publish-tree"
)

// Number returns the name of generation n in the file system.
func Number(n int) string { return fmt.Sprintf("%06d", n) }

// ParseNumber is the inverse of Number.
func ParseNumber(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n > 0 && Number(n) == s
}

// numberIn returns the number in any name in the store, with or without a prefix.
// Such a number is in use.
func numberIn(name string) (int, bool) {
	name = strings.TrimPrefix(strings.TrimPrefix(name, trashPrefix), NextPrefix)
	name, _, _ = strings.Cut(name, "-")
	return ParseNumber(name)
}
