package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"example.com/publish/publish/generation"
)

// opened is the file of a row, open for a request.
type opened struct {
	generation.Content
	date []string // when it was changed, as a header; nil if that is not known
	own  bool     // the generation itself has it: it is not carried
	kept bool     // as in view
}

// ready asks for what the answer to a request needs of a file that is elsewhere, so that
// an error comes before the first byte. describe sets the headers of the answer. It does
// nothing for a file of this machine.
func (c opened) ready(r *http.Request, size int64, describe func(http.Header)) error {
	if c.Far == nil {
		return nil
	}
	h := http.Header{}
	describe(h)
	from, n, body := extent(r, h, size)
	if !body {
		return nil
	}
	if r.Method == http.MethodHead {
		n = 0
	}
	return c.expect(from, n)
}

// expect is Far.Expect.
func (c opened) expect(from, n int64) error {
	err := c.Far.Expect(from, n)
	if c.own && !c.kept && gone(err) { // then it is never just gone
		return fmt.Errorf("%w: the object is missing", generation.ErrOther)
	}
	return err
}

// extent returns which part of a file the answer to a request has. n is 0 if that is
// several parts, which are then asked for one after the other. body is false for an answer
// without the file: the client has it, or wants something that it does not have. h are the
// headers of the answer, with the tag; net/http decides, as for any file.
func extent(r *http.Request, h http.Header, size int64) (from, n int64, body bool) {
	probe := *r
	probe.Method = http.MethodHead
	p := &planned{header: h}
	http.ServeContent(p, &probe, "", time.Time{}, io.NewSectionReader(zeros{}, 0, size))
	switch p.status {
	case http.StatusOK:
		return 0, size, true
	case http.StatusPartialContent:
		var last, of int64
		k, err := fmt.Sscanf(h.Get("Content-Range"), "bytes %d-%d/%d", &from, &last, &of)
		if err != nil || k != 3 {
			return 0, 0, true
		}
		return from, last - from + 1, true
	}
	return 0, 0, false
}

// planned is an answer that nobody gets.
type planned struct {
	header http.Header
	status int
}

func (p *planned) Header() http.Header         { return p.header }
func (p *planned) Write(b []byte) (int, error) { return len(b), nil }
func (p *planned) WriteHeader(status int) {
	if p.status == 0 {
		p.status = status
	}
}

// zeros stand for a file of which only the size matters.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }

// unreached reports whether an error says that a file is elsewhere and cannot be had now,
// and notes it. A client that has gone is such an error, too, and nobody's fault.
func (s *Server) unreached(err error) bool {
	switch {
	case errors.Is(err, context.Canceled):
		return true
	case !errors.Is(err, generation.ErrAway):
		return false
	}
	s.reject(rejectedStore)
	if !s.away.Swap(true) {
		s.log.Error("the object store does not answer; content is answered with 503", "error", oneLine(err))
	}
	return true
}

// reached notes that a file that is elsewhere could be had.
func (s *Server) reached(c opened) {
	if c.Far != nil && s.away.Load() && s.away.Swap(false) {
		s.log.Warn("the object store answers again")
	}
}

// ended notes why a file that is elsewhere was not sent to its end. The connection is cut
// then: see short. One of this machine is not used again.
func (s *Server) ended(w http.ResponseWriter, r *http.Request, v *view, path string, c opened) {
	if f, here := c.ReadSeekCloser.(*file); here {
		w, ours := w.(*writer)
		f.spoiled = f.spoiled || !ours || w.short(r)
	}
	if c.Far == nil || c.Far.Failed() == nil || r.Context().Err() != nil {
		return
	}
	s.log.Error("an answer was cut: the object store did not send the rest", "generation", v.Generation, "path", path,
		"error", oneLine(c.Far.Failed()))
}

// retryStore is when a client may ask again for content, in seconds.
const retryStore = "5"

// unavailableContent answers if content cannot be had now.
func (s *Server) unavailableContent(w http.ResponseWriter) {
	w.Header()["Retry-After"] = []string{retryStore}
	text(w, http.StatusServiceUnavailable, errAway.fact)
}

// isOther reports whether an error says that an object is not what the manifest says.
func isOther(err error) bool { return errors.Is(err, generation.ErrOther) }

// bad is the line of the log about such an object.
func (s *Server) bad(v *view, path string, err error) {
	s.log.Error("an object of production is damaged", "generation", v.Generation, "path", path,
		"error", strings.TrimPrefix(oneLine(err), path+": "), "hint", "run publish verify")
}
