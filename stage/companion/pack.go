package companion

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"io"
	"path"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxWindow bounds the memory that a packed file may ask for: the dictionary of
// xz -9. Documents are text, and small.
const maxWindow = 64 << 20

var errWindow = errors.New("it asks for too much memory")

// unpack returns what is in a file with an ending of packedEndings.
func unpack(in io.Reader, ending string) (plain io.Reader, done func(), err error) {
	done = func() {}
	switch ending {
	case ".gz":
		plain, err = gzip.NewReader(in)
	case ".zst":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			plain, done = z, z.Close
		}
	case ".xz":
		head := make([]byte, 512)
		n, rerr := io.ReadFull(in, head)
		if rerr != nil && rerr != io.EOF && rerr != io.ErrUnexpectedEOF {
			return nil, nil, rerr
		}
		if dictionary(head[:n]) > maxWindow {
			return nil, nil, errWindow
		}
		plain, err = xz.NewReader(io.MultiReader(bytes.NewReader(head[:n]), in))
	case ".bz2":
		plain = bzip2.NewReader(in)
	default:
		err = errors.New("it is packed in a way that is not known")
	}
	return plain, done, err
}

// dictionary is the size of the dictionary that the first block of an xz file
// asks for, in bytes; 0 when it names none. The file format's section 5.3.1:
// the stream's header has 12 bytes; the block's starts with its size, its flags,
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

// Remade reports whether Pack can make the companion again.
func (c Companion) Remade() bool {
	ending := path.Ext(c.Path)
	return c.Kind == Packed && (ending == ".gz" || ending == ".zst")
}

// Pack makes a compressed copy as the ending of its path says: ".gz", with no
// time and no name in it, or ".zst".
func Pack(p string, doc []byte) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&out)
	if path.Ext(p) == ".zst" {
		z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		w = z
	}
	_, err := w.Write(doc)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
