package main

import (
	"runtime"
	"testing"
)

// TestOverlap sets the environment, so it does not run beside other tests.
func TestOverlap(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Setenv("GOMAXPROCS", "")
	end := overlap()
	if n := runtime.GOMAXPROCS(0); n != before+spare {
		t.Errorf("%d processors while it writes, and %d before", n, before)
	}
	end()
	if n := runtime.GOMAXPROCS(0); n != before {
		t.Errorf("%d processors at the end, and %d before", n, before)
	}
	t.Setenv("GOMAXPROCS", "1")
	defer overlap()()
	if n := runtime.GOMAXPROCS(0); n != before {
		t.Errorf("%d processors, although the environment sets the number", n)
	}
}
