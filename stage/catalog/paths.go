package catalog

import (
	"fmt"
	"iter"
	"strings"
)

// PathConflicts returns a finding for each path that is the folder of another. No file
// system can hold both. paths come sorted.
func PathConflicts(paths iter.Seq[string]) (out []Finding) {
	// The folders of a path come before it, but not next to it: "a", "a.b", "a/b".
	var open []string // paths that later ones may be below, each a prefix of the next
	for p := range paths {
		for len(open) > 0 && !strings.HasPrefix(p, open[len(open)-1]) {
			open = open[:len(open)-1]
		}
		for _, dir := range open {
			if len(p) > len(dir) && p[len(dir)] == '/' {
				out = append(out, Finding{Severity: Error, Code: "path-conflict", Path: dir,
					Message: fmt.Sprintf("is a file, and also the folder of %s", Show(p))})
			}
		}
		open = append(open, p)
	}
	return out
}

// MaxKey is how long the name of an object may be, in bytes, in every object store.
const MaxKey = 1024

// KeyFindings returns what makes an object store unable to hold these paths below a
// prefix: names that are too long, and paths that are the folder of another. paths come
// sorted.
func KeyFindings(prefix string, paths iter.Seq[string]) []Finding {
	out, with := PathConflicts(paths), ""
	if prefix != "" {
		with = " with the prefix"
	}
	for p := range paths {
		if n := len(prefix) + len(p); n > MaxKey {
			out = append(out, Finding{Severity: Error, Code: "key-too-long", Path: p,
				Message: fmt.Sprintf("its name in the object store has %d bytes%s; it may have %d", n,
					with, MaxKey)})
		}
	}
	Sort(out)
	return out
}
