package durable

import (
	"io"
	"os"
)

// streamStep is the number of bytes after which the kernel is asked to start writing
// them to the disk. It is so large that the kernel can make large requests.
const streamStep = 16 << 20

// Through copies a file and reads the copy. The kernel copies each piece
// (copy_file_range; package os uses read and write if that is not supported). Then
// the piece is read from the copy, which is still in the page cache. So the reader
// gets exactly the bytes of the copy, even if somebody writes to Src meanwhile. The
// kernel is asked early to write to the disk, so that the final fsync is faster. It
// makes nothing durable.
type Through struct {
	Dst *os.File // new and empty, open for reading and writing
	Src *os.File // at its beginning

	copied, read int64
	ended        bool
}

func (t *Through) Read(p []byte) (int, error) {
	if t.read == t.copied && !t.ended {
		n, err := io.CopyN(t.Dst, t.Src, streamStep)
		if n > 0 {
			startWriteback(t.Dst, t.copied, n)
			t.copied += n
		}
		if t.ended = err == io.EOF; err != nil && !t.ended {
			return 0, err
		}
	}
	if t.read == t.copied {
		return 0, io.EOF
	}
	n, err := t.Dst.ReadAt(p[:min(int64(len(p)), t.copied-t.read)], t.read)
	t.read += int64(n)
	return n, err
}
