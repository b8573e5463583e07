//go:build race

package publish

import "flag"

// The model test runs one command at a time: there is nothing for the race
// detector to find, and with it a sequence takes ten times as long. `make
// check` runs the many without it.
func init() {
	if err := flag.Set("rapid.checks", "10"); err != nil { // a default: the command line comes later
		panic(err)
	}
}
