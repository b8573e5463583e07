package durable

import "unsafe"

// directAlign is the alignment, in bytes, that the address and the length of a
// write need to go past the page cache: the size of the largest sector.
const directAlign = 4096

// Block returns size bytes at an address from which a Direct can write.
func Block(size int) []byte {
	b := make([]byte, size+directAlign)
	if over := address(b) % directAlign; over > 0 {
		b = b[directAlign-over:]
	}
	return b[:size:size]
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
