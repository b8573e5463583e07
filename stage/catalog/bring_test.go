package catalog

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// Code that unpacks a large file in search of a small one stops at a signal.
func TestInterruptible(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r := Interruptible(ctx, strings.NewReader("text"))
	if n, err := r.Read(make([]byte, 2)); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	cancel()
	if data, err := io.ReadAll(r); len(data) > 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%q %v", data, err)
	}
}
