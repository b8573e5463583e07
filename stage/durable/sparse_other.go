//go:build !linux

package durable

import "os"

func nextPiece(*os.File, int64) (data, hole int64, err error) { return 0, 0, ErrUnsupported }
