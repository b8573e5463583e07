package fanout

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"example.com/publish/publish"
	"example.com/publish/stage/lazyregexp"
	"example.com/publish/stage/tree"
)

// Outcome is what a sync of a target did.
type Outcome struct {
	Generation int // production there; 0 for none, or if that is not known
	From       int
	Switched   bool // it is another generation than before
	Redacted   int  // files of revoked content that were deleted there
	Carried    int
	Sent       int   // contents
	Bytes      int64 // of these
	NotAtomic  bool  // readers there do not see each switch as a whole
	Warnings   []string
}

// Progress shows how much is sent; nil for nothing.
type Progress func(step string, bytes int64) func(done int64)

// errSilent is the error for another end that is not publish receive.
var errSilent = errors.New("does not answer as publish receive does")

var (
	contentKey    = lazyregexp.New(`^(link:)?[0-9a-f]{64}$`)
	otherGreeting = lazyregexp.New(`^publish-receive [0-9]+$`)
)

// Send is the end of a leader: it brings the target at the other end to what lead has. It
// closes out when it has nothing more to say. The result is never nil; the error is that
// of the target, if it sent one.
func Send(ctx context.Context, in io.Reader, out io.WriteCloser, lead *publish.Lead, target string, setup publish.Setup,
	progress Progress) (*Outcome, error) {
	s := &sending{in: bufio.NewReaderSize(in, 64<<10), out: &wire{w: out}, lead: lead, progress: progress, did: &Outcome{}}
	err := s.run(ctx, target, setup)
	return s.did, errors.Join(err, s.end())
}

type sending struct {
	in       *bufio.Reader
	out      *wire
	lead     *publish.Lead
	progress Progress
	did      *Outcome
	ended    bool
}

// end says that nothing else comes.
func (s *sending) end() error {
	if s.ended {
		return nil
	}
	s.ended = true
	return s.out.w.Close()
}

// wire knows whether it was the other end that made a write fail.
type wire struct {
	w   io.WriteCloser
	err error
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

func (s *sending) run(ctx context.Context, target string, setup publish.Setup) error {
	if err := s.greeted(); err != nil {
		return err
	}
	m := s.lead.View.Manifest
	err := writeObject(s.out, hello{Leader: s.lead.ID, Target: target, Setup: setup, Generation: m.Generation,
		TreeID: m.TreeID, Revoked: s.lead.Revoked})
	at, err := s.answer(err)
	if err != nil {
		return err
	}
	s.did.From = at.Generation
	if at.State != "at" {
		return s.odd(at)
	}
	if s.lead.At() == (publish.At{Generation: at.Generation, TreeID: at.TreeID, Tombstones: at.Revoked}) {
		return s.end()
	}
	for err = s.offer(); ; {
		a, err2 := s.answer(err)
		switch {
		case err2 != nil:
			return err2
		case a.State == "lacks":
			if err = s.contents(ctx, a.Lacks); err != nil && s.out.err == nil {
				return err // the target waits for more, and has nothing to say
			}
		case a.State == "done" && a.Generation == m.Generation:
			s.did.Switched, s.did.Carried, s.did.Redacted, s.did.Warnings = a.Switched, a.Carried, a.Redacted, few(a.Warnings)
			return nil
		default:
			return s.odd(a)
		}
	}
}

// greeted reads the first line of the target.
func (s *sending) greeted() error {
	line, err := readLine(s.in, 4096)
	switch {
	case line == greeting:
		return nil
	case err == nil && otherGreeting.MatchString(line):
		return &publish.Error{Fact: fmt.Sprintf("speaks %q, this publish %q", line, greeting),
			Hint: "use the same version of publish at both ends"}
	case err == nil || errors.Is(err, errLong):
		return &publish.Error{Err: errSilent, Fact: fmt.Sprintf("printed %q", clip(line)),
			Hint: "publish must be in the PATH there, and the shell of that user must print nothing"}
	}
	return &publish.Error{Err: errSilent, Hint: "publish must be in the PATH there"}
}

// answer reads the next line of the target. wrote is the error of what was written before: if
// the target had a reason to stop reading, it says so.
func (s *sending) answer(wrote error) (*answer, error) {
	var a answer
	if err := readObject(s.in, &a); err != nil {
		if wrote != nil {
			err = wrote
		}
		return nil, &publish.Error{Fact: "the target broke off", Err: err, Hint: "sync again: what it has is not sent again"}
	}
	if a.Generation < 0 {
		return nil, s.odd(&a)
	}
	s.did.Generation = a.Generation
	if a.State == "failed" {
		return nil, a.fault()
	}
	if wrote != nil {
		return nil, wrote
	}
	return &a, nil
}

// wrongAnswer is the error for an answer that no target gives.
type wrongAnswer struct{ text string }

func (e *wrongAnswer) Error() string { return e.text }

func (s *sending) odd(a *answer) error {
	return &wrongAnswer{fmt.Sprintf("the target answers %q, which makes no sense here", clip(a.State))}
}

// offer sends the manifest and the stones.
func (s *sending) offer() error {
	var stones bytes.Buffer
	for _, st := range s.lead.Stones {
		text, err := st.Marshal()
		if err != nil {
			return err
		}
		stones.Write(append(text, '\n'))
	}
	w := bufio.NewWriterSize(s.out, 64<<10)
	err := writeObject(w, offer{Manifest: int64(len(s.lead.Sealed)), Stones: int64(stones.Len())})
	if err == nil {
		_, err = w.WriteString(s.lead.Sealed)
	}
	if err == nil {
		_, err = stones.WriteTo(w)
	}
	if err == nil {
		err = w.Flush()
	}
	return err
}

// contents reads which contents are asked for, and sends them.
func (s *sending) contents(ctx context.Context, n int) error {
	if n < 1 || n > len(s.lead.View.Own) {
		return &wrongAnswer{fmt.Sprintf("the target asks for %d contents; there are %d", n, len(s.lead.View.Own))}
	}
	keys := make([]string, 0, n)
	for range n {
		key, err := readLine(s.in, digestLen+1)
		if err != nil || !contentKey.MatchString(key) {
			return &wrongAnswer{"the target asks for something that is no sha256"}
		}
		keys = append(keys, key)
	}
	rows, ok := s.lead.Rows(keys)
	if !ok {
		return &wrongAnswer{"the target asks for a content that production does not have"}
	}
	var bytes int64
	for _, row := range rows {
		bytes += row.Size
	}
	s.did.Sent, s.did.Bytes = s.did.Sent+len(rows), s.did.Bytes+bytes
	return s.send(ctx, rows, bytes)
}

func (s *sending) send(ctx context.Context, rows []tree.Row, bytes int64) error {
	done := func(int64) {}
	if s.progress != nil {
		done = s.progress("sync", bytes)
	}
	w := bufio.NewWriterSize(s.out, 256<<10)
	if err := s.lead.Write(ctx, w, rows, done); err != nil {
		return err
	}
	return w.Flush()
}
