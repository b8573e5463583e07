package main

import (
	"os"
	"runtime"
)

// spare is the number of processors that the runtime may use beyond those that there are.
const spare = 2

// overlap lets goroutines compute while others wait for the disk, until the returned
// function is called. A goroutine in a system call keeps its processor until the runtime
// notices, which takes up to 10 ms, and a direct write takes less. With two processors
// and a file of 1 GiB, of which two hashes are computed while it is written, a fourth of
// the processors' time was lost.
//
// Commands that write large files call it. It does nothing if the environment sets the
// number.
func overlap() (end func()) {
	if os.Getenv("GOMAXPROCS") != "" {
		return func() {}
	}
	n := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(n + spare)
	return func() { runtime.GOMAXPROCS(n) }
}
