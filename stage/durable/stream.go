package durable

import (
	"io"
	"os"
)

// streamStep is how much is copied before the kernel is asked to begin writing
// it to the disk: enough to make large requests of.
const streamStep = 16 << 20

// Through reads a file by way of a copy of it: each piece is copied by the
// kernel (copy_file_range, where the file systems can; package os falls back
// to reads and writes), and then read from the copy, whose pages are at hand.
// So what is read is what was copied, whatever a writer does to Src meanwhile.
// The kernel starts to write early, so that the fsync at the end waits for less.
// It makes nothing durable.
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
