//go:build race

package publish

import "flag"

// The model test runs one command at a time, so the race detector finds nothing, and
// with it a sequence takes ten times as long. `make check` runs many sequences without
// it.
func init() {
	if err := flag.Set("rapid.checks", "10"); err != nil { // a default: the command line comes later
		panic(err)
	}
}
