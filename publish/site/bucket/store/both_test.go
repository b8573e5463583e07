package store

import (
	"errors"
	"testing"
)

func TestBoth(t *testing.T) {
	refused, cut := errors.New("refused"), errors.New("cut")
	if got := both(errors.New("refused"), refused); got.Error() != "refused" || !errors.Is(got, refused) {
		t.Error(got)
	}
	if got := both(refused, cut); got.Error() != "refused, after: cut" || !errors.Is(got, refused) || !errors.Is(got, cut) {
		t.Error(got)
	}
}
