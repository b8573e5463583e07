package durable

import "unsafe"

// directAlign is what the address and the length of a write have to be
// multiples of to go past the page cache, in bytes: the largest sector there is.
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
