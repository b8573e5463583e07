package oci

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"example.com/publish/stage/catalog"
)

// A document costs much more memory than it has bytes if it is made for that: of values that
// take three bytes each, a list needs sixteen for each. So its length bounds how many it may
// have. What means anything has less: the shortest descriptor has 111 bytes and four values,
// one of an index of images 29 bytes for each.
const (
	bytesPerValue = 24
	bytesPerEntry = 100
	freeValues    = 1000
	maxMembers    = 1000 // of an index.json itself
)

var (
	errDense   = errors.New("has more objects, members and elements than its size allows")
	errEntries = fmt.Errorf("lists more than one manifest for each %d bytes: a descriptor is longer", bytesPerEntry)
	errMembers = fmt.Errorf("has more than %d members", maxMembers)
)

// dense reports whether a document has more values than one that means anything.
func dense(data []byte) bool {
	most := freeValues + len(data)/bytesPerValue
	n := 0
	for _, c := range []string{"{", "[", ","} {
		n += bytes.Count(data, []byte(c))
	}
	return n > most && values(data) > most
}

// values counts the objects and arrays of a document, and the commas between what they
// have. It need not be valid.
func values(data []byte) (n int) {
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[', ',':
			n++
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		}
	}
	return n
}

// maxEntries is how many manifests a list of so many bytes may have.
func maxEntries(list []byte) int { return freeValues + len(list)/bytesPerEntry }

// tooLarge is what is wrong with one more entry of a list that may have so many.
func tooLarge(raw []byte, there, most int) error {
	switch {
	case there == most:
		return errEntries
	case len(raw) > maxManifest:
		return fmt.Errorf("manifests[%d]: has %d bytes; a descriptor may have %d", there, len(raw), maxManifest)
	}
	return nil
}

// maxFindings is how many findings of one code a repository may have. Whoever has to correct
// more than that corrects what wrote them.
const maxFindings = 5000

// telling is a function that is told of findings.
type telling = func(severity catalog.Severity, code, path, format string, args ...any)

// first returns a function that passes on the first findings of each code, and one that
// says of a document how many more there were.
func first(note telling) (few telling, rest func(document string)) {
	type kind struct {
		code     string
		severity catalog.Severity
	}
	met := map[kind]int{}
	few = func(severity catalog.Severity, code, path, format string, args ...any) {
		of := kind{code, severity}
		if met[of]++; met[of] <= maxFindings {
			note(severity, code, path, format, args...)
		}
	}
	rest = func(document string) {
		left := slices.SortedFunc(maps.Keys(met), func(a, b kind) int { return cmp.Compare(a.code, b.code) })
		for _, of := range left {
			if more := met[of] - maxFindings; more > 0 {
				note(of.severity, of.code, document, "and %d more of this kind in the repository", more)
			}
		}
	}
	return few, rest
}
