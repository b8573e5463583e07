package durable

import "os"

// streamStep is how much is written before the kernel is asked to begin
// writing it to the disk: enough to make large requests of.
const streamStep = 16 << 20

// Stream is a writer to a new file, from its beginning, that has the kernel
// begin early with what the fsync at the end would otherwise wait for: the disk
// works while the next bytes are read and hashed. It makes nothing durable.
type Stream struct {
	File         *os.File
	written, due int64
}

func (s *Stream) Write(p []byte) (int, error) {
	n, err := s.File.Write(p)
	s.written += int64(n)
	if s.written-s.due >= streamStep {
		startWriteback(s.File, s.due, s.written-s.due)
		s.due = s.written
	}
	return n, err
}
