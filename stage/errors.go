package stage

import (
	"errors"
	"fmt"

	"example.com/publish/stage/catalog"
)

// ErrNotFound is returned for a product, version, fingerprint or file that
// staging does not have.
var ErrNotFound = errors.New("not in staging")

// UsageError is the error for a request that the user must correct.
type UsageError = catalog.UsageError

func usage(hint, format string, args ...any) error { return catalog.Usage(hint, format, args...) }

// FindingsError is returned for input that is not valid. Staging has not changed.
type FindingsError struct{ Report *Report }

func (e *FindingsError) Error() string {
	n := len(e.Report.Errors())
	if n == 1 {
		return "1 error was found"
	}
	return fmt.Sprintf("%d errors were found", n)
}

// failed returns a FindingsError if the report has errors.
func (r *Report) failed() error {
	catalog.Sort(r.Findings)
	if len(r.Errors()) == 0 {
		return nil
	}
	return &FindingsError{Report: r}
}
