package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// The heap may grow by slack before the garbage in it is collected, and a large
// one by a fifth. The content of large trees stays until the end. Waiting for as
// much garbage as there is content, as the runtime does, would only double the
// memory. A small heap needs hardly any collection.
const (
	slack    = 48 << 20  // bytes
	large    = 128 << 20 // bytes
	collects = 20        // percent
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
	percent := collects
	if heap < large {
		percent = max(percent, 100*slack/heap)
	}
	debug.SetGCPercent(percent)
	// What nothing refers to is gone after the next collection.
	runtime.SetFinalizer(new(*byte), func(**byte) { economize() })
}
