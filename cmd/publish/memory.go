package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// The heap may grow by this much, or by a quarter, whichever is more, before
// the garbage in it is collected. What large trees need stays until the end,
// so waiting for as much garbage as there is content, as the runtime does,
// would only double the memory; and a small one needs no collection at all.
const (
	slack    = 48 << 20 // bytes
	collects = 25       // percent
)

// economize sets how soon the heap is collected, after each collection anew.
func economize() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	// Of a heap that was never collected the runtime takes 4 MiB as a start.
	percent := 100 * slack / max(4<<20, int(live[0].Value.Uint64()))
	debug.SetGCPercent(max(percent, collects))
	// What nothing refers to is gone after the next collection.
	runtime.SetFinalizer(new(*byte), func(**byte) { economize() })
}
