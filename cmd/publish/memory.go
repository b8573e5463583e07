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
// time to free 17 MiB. After that, the heap may grow by slack before the garbage in it is collected,
// but not above the ceiling. The content of large trees stays until the end: waiting for as much
// garbage as there is content, as the runtime does, would only double the memory. So a heap at the
// ceiling may grow by the least part only. The larger it is above that, the longer a collection takes,
// and the more it may grow, up to the most part of a huge heap.
type thrift struct {
	first, slack  int // bytes
	ceiling, huge int // bytes, of a heap
	least, most   int // percent
}

// A promote of 100,000 files takes 160 MiB, because its heap may grow only by a fiftieth at the
// moment when most is in use.
var forFiles = thrift{first: 96 << 20, slack: 48 << 20, ceiling: 118 << 20, huge: 256 << 20, least: 2, most: 25}

// A repository with 100,000 tags has a document of more than 20 MB, and most of what a collection
// finds is still in use. Its heap comes near the ceiling only for a few collections.
var forImages = thrift{first: 56 << 20, slack: 40 << 20, ceiling: 216 << 20, huge: 300 << 20, least: 8, most: 25}

// A server makes garbage for as long as it runs: a small heap is collected seldom, and a
// large one stays small.
var forServing = thrift{first: 24 << 20, slack: 24 << 20, ceiling: 72 << 20, huge: 96 << 20, least: 50, most: 50}

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
	case live < 2<<20: // it was never collected
		return 100 * t.first / heap
	case heap >= t.huge:
		return t.most
	case heap > t.ceiling:
		return max(t.least, t.most*(heap-t.ceiling)/(t.huge-t.ceiling))
	}
	return max(t.least, 100*min(t.slack, t.ceiling-heap)/heap)
}
