//go:build !amd64 || purego

package sha256x2

func enabled() bool { return false }

func blocks(_, _ *[8]uint32, _, _ []byte, _ int) { panic("sha256x2: not enabled") }
