package companion

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"path"

	"github.com/klauspost/compress/zstd"

	"example.com/publish/stage/unpack"
)

// maxWindow bounds the memory that a packed file may ask for: the dictionary of
// xz -9. Documents are text, and small.
const maxWindow = 64 << 20

// kinds are the kinds of compression by the endings of packedEndings. Of ".br"
// nothing can be said.
var kinds = map[string]string{".gz": unpack.Gzip, ".zst": unpack.Zstd, ".xz": unpack.Xz, ".bz2": unpack.Bzip2}

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
