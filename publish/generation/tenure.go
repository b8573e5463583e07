package generation

import (
	"slices"
	"time"
)

// KeptBy is what keeps a generation beside production from gc.
type KeptBy string

const (
	KeptByWindow KeptBy = "window" // until it ends
	KeptByPin    KeptBy = "pin"    // until unpin
	KeptByKeep   KeptBy = "keep"   // generations: {keep: N}: until it is none of the newest N
)

// Tenure is how long gc leaves a generation. Of a pinned one, and of one that
// the configuration keeps, nobody knows how long: Until is zero.
type Tenure struct {
	By    KeptBy // "": history does not tell when its window began; gc leaves it
	Until time.Time
}

// Outlasts reports whether t is longer than u.
func (t Tenure) Outlasts(u Tenure) bool {
	rank := map[KeptBy]int{KeptByWindow: 1, KeptByKeep: 2, KeptByPin: 3}
	return rank[t.By] > rank[u.By] || t.By == u.By && t.Until.After(u.Until)
}

// Due reports whether gc may delete the generation.
func (t Tenure) Due(now time.Time) bool { return t.By == KeptByWindow && !now.Before(t.Until) }

// End is Until in the form of an answer; nil when there is none.
func (t Tenure) End() *time.Time {
	if t.By != KeptByWindow {
		return nil
	}
	end := t.Until.UTC().Truncate(time.Second)
	return &end
}

// Tenures returns how long gc leaves each of the kept generations, which are
// sorted, production's excepted. It is what gc goes by, and what status, promote
// and the metrics foretell. keep is how many the configuration keeps beside
// their windows.
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
