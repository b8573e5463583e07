package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// A heap up to first is not collected: most commands end before that, and a collection in the
// middle of a promote of 20,000 files takes a tenth of its time to free 17 MiB. After that,
// the heap may grow by slack before the garbage in it is collected. The content of large trees
// stays until the end: waiting for as much garbage as there is content, as the runtime does, would
// only double the memory. So a large heap may grow by a tenth, and a larger one by a thirtieth: a
// promote of 100,000 files takes 160 MiB instead of 185, and a tenth of its processor time is for
// that. In a huge heap each collection takes long, so it may grow by a quarter. A small heap needs
// hardly any collection.
const (
	first  = 96 << 20  // bytes
	slack  = 48 << 20  // bytes
	large  = 80 << 20  // bytes
	larger = 112 << 20 // bytes
	huge   = 256 << 20 // bytes

	thirtieth = 3  // percent
	tenth     = 10 // percent
	quarter   = 25 // percent
)

// economize sets how soon the heap is collected, anew after each collection,
// unless the environment sets it.
func economize() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	// Of a heap that was never collected the runtime takes 4 MiB as a start.
	heap := max(4<<20, int(live[0].Value.Uint64()))
	percent := tenth
	switch {
	case live[0].Value.Uint64() == 0:
		percent = 100 * first / heap
	case heap < large:
		percent = 100 * slack / heap
	case heap >= huge:
		percent = quarter
	case heap >= larger:
		percent = thirtieth
	}
	debug.SetGCPercent(percent)
	// What nothing refers to is gone after the next collection.
	runtime.SetFinalizer(new(*byte), func(**byte) { economize() })
}
