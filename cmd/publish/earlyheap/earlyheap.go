// Package earlyheap has the first part of the heap be in huge pages. The first use of each small page
// costs a fault, which takes a microsecond, and on a virtual machine up to 20: together a quarter of the
// processor time of a promote of 20,000 files. A fault for a huge page takes as long as a few of those.
//
// The runtime of Go maps its heap as it grows, 4 MiB at a time, and asks for huge pages nowhere. So
// memory has to be mapped ahead. This package has a goroutine with a large stack end: the runtime gives
// such a stack back to the heap at once, and uses the lowest free addresses first. The stack is not
// used, so it takes no memory. If the runtime does otherwise one day, nothing but the speed is lost;
// TestHeap tells.
//
// It works when the package is initialized. That is early, before packages that allocate much, as long as
// it imports next to nothing: packages are initialized in the order of their paths once their
// imports are.
package earlyheap

// Small has what is used of the heap from now on be in small pages: for a process that runs for long,
// and gives memory back in small pieces.
func Small() { small() }
