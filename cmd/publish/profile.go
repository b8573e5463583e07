//go:build profile

package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
)

// startProfile begins to profile the program where PUBLISH_PROFILE is set: the
// beginning of the path of two files, which get the process's number and .cpu
// or .alloc behind it. The function that it returns writes them.
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
		runtime.GC() // what was freed is in the profile, too
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
