package publish

import (
	"errors"
	"fmt"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/journal"
	"example.com/publish/publish/site"
	"example.com/publish/stage"
)

// Kind says what a caller can do about an error.
type Kind = fault.Kind

// The kinds: see package fault.
const (
	Failed      = fault.Failed
	Usage       = fault.Usage
	Invalid     = fault.Invalid
	Locked      = fault.Locked
	NotFound    = fault.NotFound
	Refused     = fault.Refused
	Switched    = fault.Switched
	Interrupted = fault.Interrupted
)

var errDangling = site.ErrDangling

// Error is an error message for people.
type Error = fault.Error

func refuse(hint, format string, args ...any) error {
	return &Error{Kind: Refused, Fact: fmt.Sprintf(format, args...), Hint: hint}
}

// standing refuses something because of what somebody did.
func standing(hint string, done journal.Head, what string) error {
	return &Error{Kind: Refused, Hint: hint, Since: done.Time,
		Fact: fmt.Sprintf("%s %s since %s: %s", what, done.Who, done.Time.Format(time.RFC3339), done.Message)}
}

func notFound(hint, format string, args ...any) error {
	return &Error{Kind: NotFound, Fact: fmt.Sprintf(format, args...), Hint: hint}
}

// FindingsError is returned when a tree is not valid.
type FindingsError = stage.FindingsError

// afterSwitch wraps an error of a step after the commit point.
func afterSwitch(n int, hint string, err error) error {
	var e *Error
	if errors.As(err, &e) && e.Kind == Switched {
		return err
	}
	return &Error{Kind: Switched, Fact: fmt.Sprintf("production is generation %d now, but a later step failed", n),
		Hint: hint, Err: err}
}
