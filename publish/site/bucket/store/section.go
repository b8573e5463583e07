package store

import (
	"fmt"
	"io"
	"io/fs"
	"sync"

	"example.com/publish/publish/site/bucket"
)

// section is a part of a body as the SDK wants it: it can go back. A Read after a Close,
// of a request that was given up, gets nothing.
type section struct {
	body    bucket.Body
	from, n int64

	mu     sync.Mutex
	r      io.ReadCloser // nil: none is open
	at     int64         // where r stands
	pos    int64
	closed bool
	err    error // of the body, not of the line
}

func newSection(body bucket.Body, from, n int64) *section {
	return &section{body: body, from: from, n: n}
}

func (s *section) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, fs.ErrClosed
	}
	if s.pos >= s.n {
		return 0, io.EOF
	}
	if s.r != nil && s.at != s.pos {
		s.drop()
	}
	if s.r == nil {
		r, err := s.body.Open(s.from + s.pos)
		if err != nil {
			return 0, s.fail(err)
		}
		s.r, s.at = r, s.pos
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.n-s.pos)])
	s.pos += int64(n)
	s.at = s.pos
	switch {
	case err == io.EOF && s.pos < s.n:
		return n, s.fail(fmt.Errorf("ends after %d of %d bytes", s.from+s.pos, s.body.Size))
	case err != nil && err != io.EOF:
		return n, s.fail(err)
	}
	return n, nil
}

func (s *section) fail(err error) error {
	s.err = err
	return err
}

func (s *section) drop() {
	_ = s.r.Close() // it was only read
	s.r = nil
}

// Seek implements [io.Seeker].
func (s *section) Seek(offset int64, whence int) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.n
	}
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	s.pos = offset
	return offset, nil
}

// end closes it, and returns what went wrong with the body itself.
func (s *section) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.r != nil {
		s.drop()
	}
	return s.err
}
