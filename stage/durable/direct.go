package durable

import "unsafe"

// Text is data as a text, without a copy. Nobody may write to data from then on.
func Text(data []byte) string { return unsafe.String(unsafe.SliceData(data), len(data)) }

// DirectAlign is the alignment, in bytes, that direct writes need for the address
// and the length: the size of the largest disk sectors.
const DirectAlign = 4096

// hugePage is the size, in bytes, of the large pages of memory that most processors
// have.
const hugePage = 2 << 20

// Block returns size bytes that are aligned for Direct. A large block asks for huge
// pages: the kernel then has one page to look up where it had 512, and the disk gets
// few large pieces. A direct write of 1 GiB takes half the processor time.
func Block(size int) []byte {
	align := DirectAlign
	if size >= hugePage {
		align = hugePage
	}
	b := make([]byte, size+align)
	if over := int(address(b) % uintptr(align)); over > 0 {
		b = b[align-over:]
	}
	b = b[:size:size]
	if align == hugePage {
		askHuge(b)
	}
	return b
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
