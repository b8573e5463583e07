package publish

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var ctx = context.Background()

// kindOf returns the kind from which a command makes its exit status.
func kindOf(err error) Kind {
	var e *Error
	var f *FindingsError
	switch {
	case errors.As(err, &f):
		return Invalid
	case errors.As(err, &e):
		return e.Kind
	}
	return Failed
}

func wantKind(t *testing.T, err error, want Kind) {
	t.Helper()
	if err == nil || kindOf(err) != want {
		t.Fatalf("error %v, want one of kind %d", err, want)
	}
}

func wantItems(t *testing.T, w *world, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, w.items()); diff != "" {
		t.Fatalf("production (-want +got):\n%s", diff)
	}
}
