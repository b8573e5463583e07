package main

import "testing"

// A small heap is left alone; a larger one may grow by less, and less of it is garbage.
func TestThrift(t *testing.T) {
	for name, by := range map[string]*thrift{"files": &forFiles, "images": &forImages} {
		for live, most := range map[int]int{
			0: by.first, 5 << 20: by.slack, by.ceiling - by.slack: by.slack,
			by.ceiling: by.least * by.ceiling / 100, by.huge: by.most * by.huge / 100,
		} {
			grows := by.percent(uint64(live)) * max(live, 4<<20) / 100
			if grows > most || grows < most-most/8 { // percents are whole
				t.Errorf("%s: a heap of %d MiB may grow by %d MiB, not %d", name, live>>20, grows>>20, most>>20)
			}
		}
	}
	if thriftOf("oci") != &forImages || thriftOf("plain") != &forFiles || thriftOf("none") != &forFiles {
		t.Error("formats have another thrift")
	}
	var none *heap
	none.use(&forImages)
}
