package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// thrift says how soon the heap is collected. A heap up to first is not collected: most commands
// end before that, and a collection in the middle of a promote of 20,000 files takes a tenth of its
// time to free 17 MiB. After that, the heap may grow by slack before the garbage in it is collected.
// The content of large trees stays until the end: waiting for as much garbage as there is content,
// as the runtime does, would only double the memory. So a large heap may grow by less. A small heap
// needs hardly any collection.
type thrift struct {
	first, slack         int    // bytes
	large, larger, huge  uint64 // bytes, of a heap
	tenth, least, urgent int    // percent, of a large, a larger and a huge heap
}

// A promote of 100,000 files takes 160 MiB instead of 185 if a larger heap may grow only by a
// thirtieth, and a tenth of its processor time is for that. In a huge heap each collection takes
// long, so it may grow by a quarter.
var forFiles = thrift{first: 96 << 20, slack: 48 << 20, large: 80 << 20, larger: 112 << 20, huge: 256 << 20,
	tenth: 10, least: 3, urgent: 25}

// A repository with 100,000 tags has a document of more than 20 MB, and most of what a collection
// finds is still in use.
var forImages = thrift{first: 144 << 20, slack: 44 << 20, large: 256 << 20, larger: 256 << 20, huge: 256 << 20,
	tenth: 25, least: 25, urgent: 25}

// A server makes garbage for as long as it runs: a small heap is collected seldom, and a
// large one stays small.
var forServing = thrift{first: 24 << 20, slack: 24 << 20, large: 48 << 20, larger: 1 << 40, huge: 1 << 40,
	tenth: 50, least: 50, urgent: 50}

// heap says how soon the heap is collected, by a thrift that may change. nil has no say.
type heap struct{ by atomic.Pointer[thrift] }

// economize makes a heap that has its say from now on; nil if the environment has it.
func economize(by *thrift) *heap {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	h := &heap{}
	h.use(by)
	h.watch()
	return h
}

// watch sets how soon the next collection is, again after each.
func (h *heap) watch() {
	h.set()
	// What nothing refers to is gone after the next collection.
	runtime.SetFinalizer(new(*byte), func(**byte) { h.watch() })
}

// use makes another thrift count.
func (h *heap) use(by *thrift) {
	if h != nil {
		h.by.Store(by)
		h.set()
	}
}

func (h *heap) set() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(h.by.Load().percent(live[0].Value.Uint64()))
}

// percent is by how much a heap may grow, of which so many bytes are in use since the last
// collection; 0 for one that was never collected.
func (t *thrift) percent(live uint64) int {
	heap := max(4<<20, int(live)) // of a new heap the runtime takes 4 MiB as a start
	switch {
	case live == 0:
		return 100 * t.first / heap
	case live < t.large:
		return 100 * t.slack / heap
	case live >= t.huge:
		return t.urgent
	case live >= t.larger:
		return t.least
	}
	return t.tenth
}
