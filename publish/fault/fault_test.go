package fault

import (
	"errors"
	"testing"
)

var errDamaged = errors.New("the manifest is damaged")

func TestErrorText(t *testing.T) {
	for _, test := range []struct {
		err  *Error
		want string
	}{
		{&Error{Path: "p", Fact: "f", Err: errDamaged}, "p: f: the manifest is damaged"},
		{&Error{Path: "p", Err: errDamaged}, "p: the manifest is damaged"},
		{&Error{Fact: "f"}, "f"},
		{&Error{Err: errDamaged}, "the manifest is damaged"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
