//go:build !purego

package sha256x2

// enabled asks the processor for SSSE3, SSE4.1 and the SHA extensions.
func enabled() bool {
	const ssse3, sse41, sha = 1 << 9, 1 << 19, 1 << 29
	most, _, _ := cpuid(0)
	if most < 7 {
		return false
	}
	_, _, one := cpuid(1)
	_, seven, _ := cpuid(7)
	return one&ssse3 != 0 && one&sse41 != 0 && seven&sha != 0
}

// cpuid returns what the processor says of a leaf, subleaf 0.
func cpuid(leaf uint32) (eax, ebx, ecx uint32)

// blocks adds n blocks of p to the state a, and as many of q to b.
func blocks(a, b *[8]uint32, p, q []byte, n int) { blocks2(a, b, &p[0], &q[0], n) }

//go:noescape
func blocks2(a, b *[8]uint32, p, q *byte, n int)
