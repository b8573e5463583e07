package durable

import "unsafe"

// directAlign is the alignment, in bytes, that direct writes need for the address
// and the length: the size of the largest disk sectors.
const directAlign = 4096

// Block returns size bytes that are aligned for Direct.
func Block(size int) []byte {
	b := make([]byte, size+directAlign)
	if over := address(b) % directAlign; over > 0 {
		b = b[directAlign-over:]
	}
	return b[:size:size]
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
