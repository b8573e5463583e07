package main

import "testing"

// A small heap is left alone; a larger one may grow by less, and less of it is garbage.
func TestThrift(t *testing.T) {
	for name, by := range map[string]*thrift{"files": &forFiles, "images": &forImages} {
		before := uint64(by.first)
		for _, live := range []uint64{0, 5 << 20, by.large - 1, by.huge - 1} {
			grows := uint64(by.percent(live)) * max(live, 4<<20) / 100
			if grows > before+before/20 { // percents are whole
				t.Errorf("%s: a heap of %d MiB may grow by %d MiB", name, live>>20, grows>>20)
			}
			before = grows
		}
	}
	if thriftOf("oci") != &forImages || thriftOf("plain") != &forFiles || thriftOf("none") != &forFiles {
		t.Error("formats have another thrift")
	}
	var none *heap
	none.use(&forImages)
}
