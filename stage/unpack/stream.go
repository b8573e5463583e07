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
	for _, kind := range []struct{ magic, name string }{{"\x1f\x8b", Gzip}, {"\x28\xb5\x2f\xfd", Zstd}} {
		if bytes.HasPrefix(head, []byte(kind.magic)) {
			return Reader(in, kind.name, window)
		}
	}
	return in, func() {}, nil
}
