package unpack

import (
	"bufio"
	"bytes"
	"io"
)

// Stream returns the bytes of a stream that may be packed by gzip or zstd, as its
// first bytes tell; what is not packed stays as it is. See Reader.
func Stream(r io.Reader, window int64) (plain io.Reader, done func(), err error) {
	in := bufio.NewReaderSize(r, 1<<16)
	head, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	if kind := Kind(head); kind != "" {
		return Reader(in, kind, window)
	}
	return in, func() {}, nil
}

// Kind returns how a stream with these first bytes is packed: Gzip or Zstd, "" for
// neither.
func Kind(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return Gzip
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return Zstd
	}
	return ""
}
