//go:build profile

package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
)

// startProfile begins to profile the program if PUBLISH_PROFILE is set. That is
// the beginning of the path of two files; the process's number and .cpu or .alloc
// follow it. The returned function writes them.
func startProfile() (stop func()) {
	name := os.Getenv("PUBLISH_PROFILE")
	if name == "" {
		return func() {}
	}
	name = fmt.Sprintf("%s.%d", name, os.Getpid())
	cpu, err := os.Create(name + ".cpu")
	if err != nil {
		panic(err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		panic(err)
	}
	return func() {
		pprof.StopCPUProfile()
		alloc, err := os.Create(name + ".alloc")
		if err != nil {
			panic(err)
		}
		runtime.GC() // the profile also has what was freed
		if err := pprof.Lookup("allocs").WriteTo(alloc, 0); err != nil {
			panic(err)
		}
		if err := alloc.Close(); err != nil {
			panic(err)
		}
		if err := cpu.Close(); err != nil {
			panic(err)
		}
	}
}
