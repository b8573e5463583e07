package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"example.com/publish/stage/durable"
)

// Log is a history on disk. Lines are appended to the file at Path. When that is
// long, Close gives it another name for ever, and begins a new one: the closed
// files are Path.000001, Path.000002 and so on.
//
// Whoever writes holds the repository's lock. Readers hold none: a file that
// they have open does not change but at its end, and closed files never do.
type Log struct {
	Path  string
	Limit int64                   // of a file that is read, in bytes
	Step  func(name string) error // tests stop a command at a protocol point; nil otherwise
}

func (l Log) at(name string) error {
	if l.Step == nil {
		return nil
	}
	return l.Step(name)
}

// segment is the path of a closed file.
func (l Log) segment(n int) string { return fmt.Sprintf("%s.%06d", l.Path, n) }

// Read reads the file that is written to. What is wrong with it is for the
// caller to judge. The error is fs.ErrNotExist where there is none.
func (l Log) Read() (*History, error) {
	data, err := durable.ReadFile(l.Path, l.Limit)
	if err != nil {
		return nil, err
	}
	h := l.parse(data)
	h.Stray, err = l.stray(h, data)
	return h, err
}

// stray returns the path of a closed file that this history cannot have beside
// it: it begins where that ends, or is an older one that somebody put back.
// While a file is being closed it has two names; a copy of a repository may have
// two files then, of which one has what the other begins with.
func (l Log) stray(h *History, data []byte) (string, error) {
	path := l.segment(h.sequence)
	there, err := regular(path)
	if there == nil || err != nil {
		return "", err
	}
	if next, err := regular(l.segment(h.sequence + 1)); next != nil || err != nil {
		return l.segment(h.sequence + 1), err
	}
	if own, err := os.Lstat(l.Path); err == nil && os.SameFile(own, there) {
		return "", nil
	}
	if there.Size() <= int64(len(data)) {
		closed, err := durable.ReadFile(path, l.Limit)
		if err != nil {
			return "", err
		}
		if bytes.HasPrefix(data, closed) {
			return "", nil
		}
	}
	return path, nil
}

// regular returns what stands at path; nil where that is no file.
func regular(path string) (fs.FileInfo, error) {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !fi.Mode().IsRegular() {
		return nil, nil
	}
	return fi, err
}

// Append appends an event and flushes it.
func (l Log) Append(h *History, e Event) error {
	e.Time = e.Time.UTC()
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line := durable.Line(text)
	if err := durable.AppendLine(l.Path, line); err != nil {
		return err
	}
	h.Whole += int64(len(line))
	h.appended = true
	h.add(e)
	return nil
}

// Cut cuts off what a crash, or an append that failed, left behind the last whole
// line.
func (l Log) Cut(h *History) error {
	if err := durable.Truncate(l.Path, h.Whole); err != nil {
		return err
	}
	h.Torn = false
	return nil
}

// ErrSegment is what is wrong with a closed file that is missing, or is not what
// it was when it was closed.
var ErrSegment = errors.New("is missing, or is not what it was when it was closed")

// Closed reads the closed files that came before a history, the newest first,
// and calls yield with each. The error is ErrSegment for one that is not what it
// was; what can be read of it is in its history all the same.
func (l Log) Closed(h *History, yield func(path string, h *History, err error) bool) {
	for i := len(h.segments) - 1; i >= 0; i-- {
		s := h.segments[i]
		part, err := l.readSegment(s)
		if !yield(l.segment(s.Number), part, err) {
			return
		}
	}
}

// readSegment reads a closed file.
func (l Log) readSegment(s Segment) (*History, error) {
	data, err := durable.ReadFile(l.segment(s.Number), l.Limit)
	if errors.Is(err, fs.ErrNotExist) {
		return Parse(nil), ErrSegment
	}
	if err != nil {
		return Parse(nil), err
	}
	h := Parse(data)
	if seal(s.Number, data) != (Segment{Number: s.Number, Bytes: s.Bytes, SHA256: s.SHA256}) ||
		h.sequence != s.Number && !s.Lost {
		err = ErrSegment
	}
	return h, err
}

// fold reads what the lines of closed files say, and reports whether all of them
// are there.
func (l Log) fold(list []Segment) (*past, bool) {
	p, whole := newPast(), true
	for _, s := range list {
		h, err := l.readSegment(s)
		if !whole && h.sequence > 1 {
			p.Last = h.first // the line that made it may be lost
		}
		whole = whole && err == nil && !s.Lost
		for i := range h.Events {
			p.add(&h.Events[i])
		}
	}
	return p, whole
}

// Missing returns the paths of closed files that are not there, or do not have
// the length that they had. What is in them it does not read.
func (l Log) Missing(h *History) []string {
	var out []string
	for _, s := range h.segments {
		fi, err := os.Lstat(l.segment(s.Number))
		if err != nil || fi.Size() != s.Bytes {
			out = append(out, l.segment(s.Number))
		}
	}
	return out
}

// Long reports whether it is time to close the file: an event was appended, and
// beside the checkpoint it has so many bytes.
func (h *History) Long(bytes int64) bool { return h.appended && h.Whole-h.begins >= bytes }

// Close closes the file: it gets its last name, and in its place comes one that
// begins with a checkpoint, which keeps all about these generations. The chain
// of switches has to be whole. Calls: link, fsync(directory), then those of
// [durable.WriteFile]. Killed before the rename, the file has two names, and goes
// on; from then on there is the new one. No line is ever in neither.
//
// Where it fails the history is as it was.
func (l Log) Close(h *History, keep []int) error {
	if h.Torn || len(h.Bad) > 0 || h.Newer > 0 || h.Stray != "" {
		return errors.New("the history is not whole")
	}
	fi, err := os.Lstat(l.Path)
	if err != nil {
		return err
	}
	sum, size, err := digest(l.Path)
	if err == nil && size != h.Whole {
		err = fmt.Errorf("%s: has %d bytes, and %d were read and written", l.Path, size, h.Whole)
	}
	if err != nil {
		return err
	}
	next := &checkpoint{Kind: kindCheckpoint, Time: h.Newest().UTC(), Sequence: h.sequence + 1, Past: h.trimmed(keep)}
	next.Segments = append(append(next.Segments, h.segments...), Segment{Number: h.sequence, Bytes: size, SHA256: sum})
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	line := durable.Line(text)
	began := l.parse(line) // what the next command reads is what this one goes on with
	if began.sequence != next.Sequence || int64(len(line)) > l.Limit/2 {
		return errors.New("the checkpoint cannot be read")
	}
	if err := l.link(l.segment(h.sequence), fi.Mode().Perm()); err != nil {
		return err
	}
	if err := l.at("after-segment"); err != nil {
		return err
	}
	if err := durable.WriteFile(l.Path, line, fi.Mode().Perm()); err != nil {
		return err
	}
	*h = *began
	return l.at("after-checkpoint")
}

// link gives the file another name, durably. One that a command which was killed
// here gave it counts; so does a copy of that, which has less. Where the file
// system has no links, the other name is that of a copy.
func (l Log) link(name string, mode fs.FileMode) error {
	err := os.Link(l.Path, name)
	if errors.Is(err, fs.ErrExist) {
		// Read has found that it is no stray.
		if fi, err := regular(name); fi == nil {
			return errors.Join(fmt.Errorf("%s: %w", name, durable.ErrNotRegular), err)
		}
		if err := os.Remove(name); err != nil {
			return err
		}
		err = os.Link(l.Path, name)
	}
	if err != nil {
		data, err := durable.ReadFile(l.Path, l.Limit)
		if err != nil {
			return err
		}
		return durable.WriteFile(name, data, mode)
	}
	return durable.SyncDir(filepath.Dir(l.Path))
}

// digest returns the sha256 of a file, and its size.
func digest(path string) (string, int64, error) {
	f, err := durable.Open(path)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), n, errors.Join(err, f.Close())
}
