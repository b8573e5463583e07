//go:build !linux || !(amd64 || arm64) || race

package earlyheap

func small() {}
