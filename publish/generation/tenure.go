package generation

import (
	"slices"
	"time"
)

// KeptBy is the reason why gc keeps a generation beside production.
type KeptBy string

const (
	KeptByWindow KeptBy = "window" // its window is open
	KeptByPin    KeptBy = "pin"    // it is pinned
	KeptByKeep   KeptBy = "keep"   // it is one of the newest N of generations: {keep: N}
)

// Tenure is why and until when gc keeps a generation. Until is set only for
// KeptByWindow: the end of the other reasons is unknown.
type Tenure struct {
	By    KeptBy // "" if the history does not tell when its window began; gc keeps it
	Until time.Time
}

// Outlasts reports whether t is longer than u.
func (t Tenure) Outlasts(u Tenure) bool {
	rank := map[KeptBy]int{KeptByWindow: 1, KeptByKeep: 2, KeptByPin: 3}
	return rank[t.By] > rank[u.By] || t.By == u.By && t.Until.After(u.Until)
}

// Due reports whether gc may delete the generation.
func (t Tenure) Due(now time.Time) bool { return t.By == KeptByWindow && !now.Before(t.Until) }

// End returns Until for the output of commands; nil if there is none.
func (t Tenure) End() *time.Time {
	if t.By != KeptByWindow {
		return nil
	}
	end := t.Until.UTC().Truncate(time.Second)
	return &end
}

// Tenures returns the tenure of each kept generation. kept is sorted, and does
// not have production. gc acts on the result; status, promote and the metrics
// print it. keep is the number of newest generations that the configuration keeps
// whatever their windows.
func Tenures(kept []int, w Windows, pinned func(n int) bool, keep int) map[int]Tenure {
	out := map[int]Tenure{}
	for _, n := range slices.Backward(kept) {
		end, known := w.Retired(n)
		switch {
		case pinned(n):
			out[n] = Tenure{By: KeptByPin}
		case keep > 0:
			keep--
			out[n] = Tenure{By: KeptByKeep}
		case known:
			out[n] = Tenure{By: KeptByWindow, Until: end}
		default:
			out[n] = Tenure{}
		}
	}
	return out
}
