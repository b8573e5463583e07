package generation

import (
	"fmt"
	"strconv"
	"strings"
)

// The names of a store: the folder in which the generations are. A tree has its
// number for a name from the moment on when nothing of it is missing. A name
// with one of these prefixes is no generation's.
const (
	// SnapshotPrefix is for a promote's draft; its owner holds the prepare lock.
	SnapshotPrefix = ".snapshot-"
	// RevertPrefix is for the draft of a revert or a revoke; its owner holds the
	// production lock.
	RevertPrefix = ".revert-"
	// NextPrefix is for a sealed tree that waits for its switch, and for one that
	// an exchange brought back.
	NextPrefix = ".next-"
	// TrashPrefix is for a retired tree on its way out.
	TrashPrefix = ".trash-"
)

const (
	// IdentityName is the file in each generation's tree that holds its number.
	IdentityName = ".publish-generation"
	// MarkName is the file beside it that says whose tree it is. Trees of before
	// there was one have none, until their next switch.
	MarkName = ".publish-tree"
)

// Number is how generation n is called in the file system.
func Number(n int) string { return fmt.Sprintf("%06d", n) }

// ParseNumber is the inverse of Number.
func ParseNumber(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n > 0 && Number(n) == s
}

// numberIn returns the number in a name of the store, whatever is around it: it
// is taken.
func numberIn(name string) (int, bool) {
	name = strings.TrimPrefix(strings.TrimPrefix(name, TrashPrefix), NextPrefix)
	name, _, _ = strings.Cut(name, "-")
	return ParseNumber(name)
}
