package main

import (
	"fmt"
	"io/fs"
	"syscall"
	"testing"
)

// An error of a full disk names its path once, and has a remedy.
func TestExplainFullDisk(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "/a/b", Err: syscall.ENOSPC}
	for _, err := range []error{full, fmt.Errorf("/a/b: %w", full)} {
		f := explain(err)
		if f.Code != exitFailed || f.Message != "/a/b: write: no space left on device" ||
			f.Hint != "publish gc frees what is due; publish help trouble says more" {
			t.Errorf("%v: %+v", err, f)
		}
	}
}
