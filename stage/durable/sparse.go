package durable

import (
	"bytes"
	"io"
	"os"
)

// Sparse reads a file from its beginning. It returns zeros for holes without reading
// them from the disk: a disk image of a few GiB often has only a few KiB of data. If
// the file system does not report holes, it reads everything.
type Sparse struct {
	f      *os.File
	off    int64
	end    int64 // end of the piece that contains off
	hole   bool  // that piece is a hole
	plain  bool  // the file system does not report holes
	ending error // io.EOF, or the error that ended reading
}

// NewSparse returns a reader of f. It ignores the offset of f, and may change it.
func NewSparse(f *os.File) *Sparse { return &Sparse{f: f} }

func (s *Sparse) Read(p []byte) (int, error) {
	if s.ending != nil {
		return 0, s.ending
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !s.plain && s.off == s.end {
		if s.ending = s.look(); s.ending != nil {
			return 0, s.ending
		}
	}
	if s.plain {
		return s.readAt(p)
	}
	p = p[:min(int64(len(p)), s.end-s.off)]
	if s.hole {
		clear(p)
		s.off += int64(len(p))
		return len(p), nil
	}
	n, err := s.readAt(p)
	if err == io.EOF { // the file became shorter
		s.ending = err
	}
	return n, err
}

func (s *Sparse) readAt(p []byte) (int, error) {
	n, err := s.f.ReadAt(p, s.off)
	s.off += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// look finds the piece that begins at off.
func (s *Sparse) look() error {
	data, hole, err := nextPiece(s.f, s.off)
	switch {
	case err != nil:
		s.plain = true
		return nil
	case data > s.off:
		s.hole, s.end = true, data
	case hole > s.off:
		s.hole, s.end = false, hole
	default:
		return io.EOF
	}
	return nil
}

// HoleWriter writes to a new file, and makes holes instead of writing blocks of
// zeros. It makes nothing durable.
type HoleWriter struct {
	f   *os.File // new and empty
	off int64
}

// NewHoleWriter returns a writer to f, which must be new and empty.
func NewHoleWriter(f *os.File) *HoleWriter { return &HoleWriter{f: f} }

// holeSize is the smallest hole, in bytes: the block size of most file systems.
const holeSize = 4096

var zeros [holeSize]byte

func (w *HoleWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		// Write consecutive blocks with data in one call.
		n := 0
		for done+n < len(p) {
			block := p[done+n : min(len(p), done+n+holeSize)]
			if bytes.Equal(block, zeros[:len(block)]) {
				break
			}
			n += len(block)
		}
		if n > 0 {
			m, err := w.f.WriteAt(p[done:done+n], w.off)
			w.off += int64(m)
			if err != nil {
				return done + m, err
			}
			done += n
			continue
		}
		n = min(len(p)-done, holeSize)
		w.off += int64(n)
		done += n
	}
	return done, nil
}

// End sets the size of the file, which matters if it ends with a hole.
func (w *HoleWriter) End() error { return w.f.Truncate(w.off) }
