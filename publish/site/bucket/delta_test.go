package bucket

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestDelta(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		var lines []string
		for range r.IntN(30) {
			lines = append(lines, fmt.Sprintf("own %d\n", r.IntN(20)))
		}
		if r.IntN(3) > 0 {
			slices.Sort(lines)
		}
		return strings.Join(lines, "")
	}
	for range 2000 {
		old, want := text(), text()
		d := diff(old, want)
		got, err := patch(old, d, len(want))
		if err != nil || got != want {
			t.Fatalf("%q to %q by %q: %q, %v", old, want, d, got, err)
		}
	}
}

// One line more in many costs little; nothing grows beyond what is promised.
func TestDeltaSize(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "own content 1234 %064d images/%06d/file\n", i, i)
	}
	old := b.String()
	at := strings.Index(old, "own content 1234 "+fmt.Sprintf("%064d", 777))
	d := diff(old, old[:at]+"own content 1 x a\n"+old[at:])
	if len(d) > 100 {
		t.Errorf("the delta has %d bytes", len(d))
	}
	for _, bad := range []string{"=20001\n", "-20001\n", "=-1\n", "x\n", "=\n", "=99999999999999\n",
		"=20000\n+more\n", "=20000\n" + strings.Repeat("+\n", 9)} {
		if _, err := patch(old, bad, len(old)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

func FuzzPatch(f *testing.F) {
	f.Add("a\nb\n", "=1\n-1\n+c\n")
	f.Fuzz(func(t *testing.T, old, delta string) {
		if got, err := patch(old, delta, 100); err == nil && len(got) > 100 {
			t.Errorf("%d bytes", len(got))
		}
	})
}
