// Package fault has the error that the packages below publish return to people:
// what it is about, the fact, what to do, and what a caller can do about it. It
// chooses no exit code and prints nothing.
package fault

import (
	"strings"
	"time"
)

// Kind is what a caller can do about an error.
type Kind int

const (
	// Failed: something went wrong; production is unchanged.
	Failed Kind = iota
	// Usage: the request or the configuration is wrong.
	Usage
	// Invalid: validation found errors; see stage.FindingsError.
	Invalid
	// Locked: another process holds the lock.
	Locked
	// NotFound: no such generation, product, version, tag or file.
	NotFound
	// Refused: held, reverted by an operator, revoked, or called from a hook.
	Refused
	// Switched: production was switched, and a later step failed.
	Switched
	// Interrupted: stopped by a signal or a deadline before the switch.
	Interrupted
)

// Error is a failure as people read it: the path first, then the fact, and apart
// from it what to do.
type Error struct {
	Kind Kind
	Path string // what it is about; may be empty
	Fact string
	Hint string // the remedy; may be empty
	// Since is when what stands in the way began; zero if nothing does.
	Since time.Time
	Err   error // the cause; may be nil
}

func (e *Error) Error() string {
	var parts []string
	for _, part := range []string{e.Path, e.Fact} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if e.Err != nil && e.Kind != Interrupted { // where it was interrupted is an internal place
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, ": ")
}

func (e *Error) Unwrap() error { return e.Err }
