//go:build linux && (amd64 || arm64) && !race

package earlyheap

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"
)

// What is allocated comes into memory that is in huge pages if the kernel has some, until Small.
func TestHeap(t *testing.T) {
	if first == (span{}) {
		t.Skip("this machine has other pages")
	}
	b := make([]byte, chunk)
	at := uintptr(unsafe.Pointer(&b[0]))
	if at < ahead.from-chunk || at >= ahead.to {
		t.Errorf("allocated at %x, but what was mapped ahead is %x to %x", at, ahead.from, ahead.to)
	}
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip(err)
	}
	middle := ahead.from + size/2
	if flags := flagsOf(t, middle); !strings.Contains(flags, " hg") {
		t.Errorf("the memory that was mapped ahead has the flags %q", flags)
	}
	Small()
	defer ahead.advise(madvHuge)
	if flags := flagsOf(t, middle); !strings.Contains(flags, " nh") {
		t.Errorf("after Small it has the flags %q", flags)
	}
}

// flagsOf returns the flags of the mapping of an address.
func flagsOf(t *testing.T, at uintptr) string {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	in := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			in = from <= at && at < to
		} else if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && in {
			return flags
		}
	}
	t.Fatalf("%x is not mapped", at)
	return ""
}
