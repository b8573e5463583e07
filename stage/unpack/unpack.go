// Package unpack reads compressed files of strangers: the memory that one costs
// has a bound, whatever it asks for. It is for all formats, and opens nothing.
package unpack

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// The kinds of compression.
const (
	Gzip  = "gzip"
	Zstd  = "zstd"
	Xz    = "xz"
	Bzip2 = "bzip2"
)

// ErrWindow is a file that cannot be unpacked within the bound.
var ErrWindow = errors.New("it asks for too much memory")

// ErrKind is a kind of compression that is none of the above.
var ErrKind = errors.New("it is packed in a way that is not known")

// Reader returns what is packed in a stream. window bounds, in bytes, what it may
// ask to be remembered of what was unpacked; for xz that is the dictionary of its
// first block. The error wraps ErrWindow for an xz file that asks for more; that of
// zstd comes from the first read. done frees what the decompression holds.
func Reader(in io.Reader, kind string, window int64) (plain io.Reader, done func(), err error) {
	done = func() {}
	switch kind {
	case Gzip:
		plain, err = gzip.NewReader(in)
	case Zstd:
		var z *zstd.Decoder
		z, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(uint64(window)))
		if err == nil {
			plain, done = z, z.Close
		}
	case Xz:
		b := bufio.NewReader(in)
		var head []byte
		if head, err = b.Peek(512); err != nil && err != io.EOF {
			return nil, nil, err
		}
		if dictionary(head) > window {
			return nil, nil, ErrWindow
		}
		plain, err = xz.NewReader(b)
	case Bzip2:
		plain = bzip2.NewReader(in)
	default:
		err = ErrKind
	}
	if err != nil {
		return nil, nil, err
	}
	return plain, done, nil
}

// dictionary is the size of the dictionary that the first block of an xz file
// asks for, in bytes; 0 when it names none. The file format's section 5.3.1:
// the stream's header has 12 bytes; the block's starts with its size, its flags
// (bit 6: packed size, bit 7: unpacked size, each a variable-length number),
// and the filters, LZMA2 last: 0x21, 1, and the size as mantissa and exponent.
func dictionary(head []byte) int64 {
	if len(head) < 24 || head[12] == 0 {
		return 0
	}
	end := min(12+(int(head[12])+1)*4, len(head))
	for i := 14; i+2 < end; i++ {
		if head[i] == 0x21 && head[i+1] == 1 {
			bits := head[i+2] & 0x3f
			if bits >= 40 {
				return 1<<32 - 1
			}
			return int64(2|bits&1) << (bits/2 + 11)
		}
	}
	return 0
}
