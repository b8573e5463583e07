//go:build !linux

package tree

import (
	"os"
	"syscall"
)

func ctime(st *syscall.Stat_t) int64 { return st.Ctimespec.Nano() }

// statAt looks at a name in an open directory, and follows no link.
func statAt(_ *os.File, _, full string) (Stat, error) {
	fi, err := os.Lstat(full)
	if err != nil {
		return Stat{}, err
	}
	return StatOf(fi), nil
}
