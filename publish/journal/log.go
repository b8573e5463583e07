// Package journal keeps the history of a repository: one line for each event,
// appended and never changed. Each line begins with a checksum of its text, so a
// damaged line is found; see [ReadSealed].
//
// A history is a chain of files: closed ones, and the one that lines are appended
// to. Each file except the first begins with a checkpoint, which has a summary of
// the files before it. So commands read only the newest file, and the closed ones
// only for questions about the far past.
//
// [Repair] and [Log.Restore] mend a history that lost lines or whole files.
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

// Log is a history on disk. Lines are appended to the file at Path. When the
// file is long, Close renames it and begins a new one. Closed files are named
// Path.000001, Path.000002 and so on, and never change again.
//
// Writers hold the lock of the repository. Readers need no lock: a file that
// they have open changes only at its end.
type Log struct {
	Path  string
	Limit int64                   // of a file, in bytes; longer files are not read
	Step  func(name string) error // tests stop a command at a protocol point; nil otherwise
}

func (l Log) at(name string) error {
	if l.Step == nil {
		return nil
	}
	return l.Step(name)
}

// segment returns the path of the n-th closed file.
func (l Log) segment(n int) string { return fmt.Sprintf("%s.%06d", l.Path, n) }

// Read reads the file at Path. Damage is no error: it is in the Sealed part and
// in Stray of the result, and the caller decides what to do. The error wraps
// fs.ErrNotExist if there is no file.
func (l Log) Read() (*History, error) {
	data, err := durable.ReadFile(l.Path, l.Limit)
	if err != nil {
		return nil, err
	}
	h := l.parse(data)
	h.Stray, err = l.stray(h, data)
	return h, err
}

// stray returns the path of a closed file that does not belong beside h; "" for
// none. A closed file with the number of h, or the next one, shows that somebody
// put back an older state of the file at Path, or lost its checkpoint.
//
// There is one exception. While a file is being closed it has two names; in a
// copy of the repository these may be two files, one a prefix of the other. Such
// a file is not a stray.
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

// regular returns the info of the regular file at path; nil if there is none.
func regular(path string) (fs.FileInfo, error) {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !fi.Mode().IsRegular() {
		return nil, nil
	}
	return fi, err
}

// Append appends an event to the file and syncs it.
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

// Cut truncates the file after its last whole line. What follows that line is
// left from a crash, or from an append that failed.
func (l Log) Cut(h *History) error {
	if err := durable.Truncate(l.Path, h.Whole); err != nil {
		return err
	}
	h.Torn = false
	return nil
}

// ErrSegment is the error of a closed file that is missing, or has changed since
// it was closed.
var ErrSegment = errors.New("is missing, or has changed since it was closed")

// Closed reads the closed files before h, newest first, and calls yield with
// each. The error is ErrSegment for a file that is missing or has changed; its
// history then has the lines that can still be read.
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
func (l Log) readSegment(s segment) (*History, error) {
	data, err := durable.ReadFile(l.segment(s.Number), l.Limit)
	if errors.Is(err, fs.ErrNotExist) {
		return Parse(nil), ErrSegment
	}
	if err != nil {
		return Parse(nil), err
	}
	h := Parse(data)
	if seal(s.Number, data) != (segment{Number: s.Number, Bytes: s.Bytes, SHA256: s.SHA256}) ||
		h.sequence != s.Number && !s.Lost {
		err = ErrSegment
	}
	return h, err
}

// fold reads the lines of closed files, and reports whether all of them are
// there.
func (l Log) fold(list []segment) (*past, bool) {
	p, whole := newPast(), true
	for _, s := range list {
		h, err := l.readSegment(s)
		if !whole && h.sequence > 1 {
			p.Last = h.first // from the checkpoint, because the line of this switch may be lost
		}
		whole = whole && err == nil && !s.Lost
		for i := range h.Events {
			p.add(&h.Events[i])
		}
	}
	return p, whole
}

// Missing returns the paths of closed files that are missing or have another
// length than before. It does not read them.
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

// Long reports whether it is time to close the file: this process appended an
// event, and the file without its checkpoint has at least this many bytes.
func (h *History) Long(bytes int64) bool { return h.appended && h.Whole-h.begins >= bytes }

// Close closes the file: the file gets its final name, and a new file with a
// checkpoint takes its place. The checkpoint keeps the details of the
// generations in keep. The chain of switches must be whole.
//
// Calls: link, fsync(directory), then those of [durable.WriteFile]. A command
// that is killed before the rename leaves one file with two names, and the next
// command continues with it. After the rename the new file is in place. So each
// line is in at least one file at every instant.
//
// If Close fails, h is unchanged.
func (l Log) Close(h *History, keep []int) error {
	if h.Torn || len(h.Bad) > 0 || h.Newer > 0 || h.Stray != "" {
		return errors.New("the history is damaged")
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
	next.Segments = append(append(next.Segments, h.segments...), segment{Number: h.sequence, Bytes: size, SHA256: sum})
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	line := durable.Line(text)
	began := l.parse(line) // continue with exactly what the next command will read
	if began.sequence != next.Sequence || int64(len(line)) > l.Limit/2 {
		return errors.New("the checkpoint cannot be read")
	}
	if err := l.link(l.segment(h.sequence), fi.Mode().Perm()); err != nil {
		return err
	}
	if err := l.at("after-segment"); err != nil {
		return err
	}
	if err := durable.SweepPending(l.Path); err != nil {
		return err
	}
	if err := durable.WriteFile(l.Path, line, fi.Mode().Perm()); err != nil {
		return err
	}
	*h = *began
	return l.at("after-checkpoint")
}

// link gives the file a second name, durably. The name may exist already: a
// command that was killed in Close left it, and a copy of the repository may
// have made a shorter file of it. Then link replaces it. On a file system
// without hard links it makes a copy instead.
func (l Log) link(name string, mode fs.FileMode) error {
	err := os.Link(l.Path, name)
	if errors.Is(err, fs.ErrExist) {
		// Read has already checked that this is not a stray file.
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
