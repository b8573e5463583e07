package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"example.com/publish/stage/durable"
)

// Wreck is what is left of the files of a history, as far as it has to be
// repaired.
type Wreck struct {
	Missing bool     // there is no file to append to
	Data    []byte   // that file as it is
	Bad     int      // damaged lines, of all whose lines are in Entries
	Newer   string   // the place of a line that this version does not know; "" for none
	Base    *History // what came before Entries; nil for nothing
	Entries []Entry  // in the order in which they were written
	Stray   []string // paths of closed files that cannot be there: Entries has their lines, or another file
	Closed  []*Damaged

	sequence int // of the file that is to be written
	segments []Segment
	head     []byte // the line of the checkpoint that Base is
	long     bool   // Base has lines, for which a checkpoint has to be made
	twin     string // another name of the file, which was being closed; "" for none
}

// Broken reports whether anything but the chain of the lines has to be repaired.
func (w *Wreck) Broken() bool {
	return w.Missing || w.Bad > 0 || w.long || len(w.Stray)+len(w.Closed) > 0
}

// Whole reports whether the file to which lines are appended can stay as it is,
// if its lines can: only closed files are not what they were.
func (w *Wreck) Whole() bool { return !w.Missing && w.Bad == 0 && !w.long && len(w.Stray) == 0 }

// Damaged is a closed file that is missing, or is not what it was when it was
// closed. The checkpoint behind it knows what verbs ask, so they go on without
// it; who looks at the past does not.
type Damaged struct {
	Path    string
	Data    []byte // as it is; nil for a file that is missing
	Bad     int    // damaged lines
	Entries []Entry
	// Base is what came before it. If that is not known the lines stay as they are.
	Base    *History
	Unknown bool
	// Known are switches of the file, as the checkpoint behind it knows them: not
	// what they changed.
	Known []Event
	Next  *Event // the first switch behind it; nil for none

	made func(n int) bool

	head  []byte // the line of its checkpoint
	index int    // in the segments
}

// Is reports whether the file has these lines already.
func (d *Damaged) Is(entries []Entry) bool {
	data, err := Encode(entries)
	return err == nil && d.Data != nil && bytes.Equal(d.Data, slices.Concat(d.head, data))
}

// Made reports whether a line of the file, or of one that is lost behind it, made
// generation n, as far as that is known.
func (d *Damaged) Made(n int) bool { return d.made != nil && d.made(n) }

// file is a file of a history that was read.
type file struct {
	*History
	path    string
	data    []byte
	entries []Entry
}

func (l Log) file(path string) (*file, error) {
	data, err := durable.ReadFile(path, l.Limit)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, data: data, entries: Entries(data)}
	f.History = l.parse(data)
	return f, nil
}

// parse is Parse of a file that has closed ones before it.
func (l Log) parse(data []byte) *History {
	h := Parse(data)
	if h.sequence > 1 {
		h.older = func() (*past, bool) { return l.fold(h.segments) }
	}
	return h
}

// head is the line of the checkpoint; empty where there is none that is sound.
func (f *file) head() []byte { return f.data[:f.begins] }

// begin is what came before the lines of the file; nil for nothing.
func (l Log) begin(f *file) *History {
	if len(f.head()) == 0 {
		return nil
	}
	return l.parse(f.head())
}

// whole reports whether the file is the n-th and all its lines are sound.
func (f *file) whole(n int) bool {
	return f != nil && f.sequence == n && !f.Torn && len(f.Bad) == 0
}

// Inspect looks at all files of a history. With all set it gives up every
// checkpoint: all lines are in Entries, for one that has to be put before one.
func (l Log) Inspect(all bool) (*Wreck, error) {
	w := &Wreck{}
	own, err := l.file(l.Path)
	if w.Missing = errors.Is(err, fs.ErrNotExist); w.Missing {
		own, err = &file{path: l.Path, History: Parse(nil)}, nil
	}
	if err != nil {
		return nil, err
	}
	names, twin, err := l.closedNames(own)
	if err != nil {
		return nil, err
	}
	w.Data, w.twin = own.data, twin
	ahead := slices.ContainsFunc(names, func(n int) bool { return n >= own.sequence })
	if !all && !ahead && (!w.Missing || len(names) == 0) {
		// As it should be, but for lines.
		w.take(own, 0)
		w.start(l, own)
		if w.Newer == "" {
			err = l.inspectClosed(w, own)
		}
		return w, err
	}
	closed := map[int]*file{}
	for _, n := range names {
		if closed[n], err = l.file(l.segment(n)); err != nil {
			return nil, err
		}
		w.newer(closed[n])
	}
	if w.newer(own); w.Newer != "" {
		return w, nil
	}
	l.salvage(w, own, closed, names, all)
	return w, l.inspectClosed(w, own)
}

// closedNames returns the numbers of the closed files that are there, sorted. A
// file that was being closed, which is the file at Path or has what that begins
// with, is none yet: twin is its path.
func (l Log) closedNames(own *file) (out []int, twin string, err error) {
	list, err := os.ReadDir(filepath.Dir(l.Path))
	if err != nil {
		return nil, "", err
	}
	for _, d := range list {
		number, ok := strings.CutPrefix(d.Name(), filepath.Base(l.Path)+".")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n < 1 || filepath.Base(l.segment(n)) != d.Name() || !d.Type().IsRegular() {
			continue
		}
		if n == own.sequence && len(own.data) > 0 {
			stray, err := l.stray(own.History, own.data)
			if err != nil {
				return nil, "", err
			}
			if stray == "" {
				twin = l.segment(n)
				continue
			}
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return out, twin, nil
}

// start has what comes before the lines of a file for a beginning.
func (w *Wreck) start(l Log, f *file) {
	w.Base, w.head, w.sequence, w.segments = l.begin(f), f.head(), f.sequence, f.segments
}

// take adds lines of a file, those from the skip-th on.
func (w *Wreck) take(f *file, skip int) {
	w.newer(f)
	w.Bad += len(f.Bad)
	w.Entries = append(w.Entries, f.entries[skip:]...)
}

func (w *Wreck) newer(f *file) {
	if f.Newer > 0 && w.Newer == "" {
		w.Newer = fmt.Sprintf("%s:%d", f.path, f.Newer)
	}
}

// salvage finds what came before lines whose checkpoint is lost, or that have
// closed files beside them which cannot be there. It is the newest checkpoint
// that is sound; and if all closed files from there on are whole, these lines too.
func (l Log) salvage(w *Wreck, own *file, closed map[int]*file, names []int, all bool) {
	from, top := 0, 0 // from which closed file on the lines are taken; 0: from the first
	if len(names) > 0 {
		top = names[len(names)-1]
	}
	have := map[string]bool{}
	for _, e := range own.entries {
		have[string(e.Text)] = true
	}
	done := !w.Missing // a recovery that was killed has the lines of all closed files behind it already
	for _, n := range names {
		if n >= own.sequence {
			done = done && !slices.ContainsFunc(closed[n].entries, func(e Entry) bool { return !have[string(e.Text)] })
		}
	}
	w.sequence = 1
	switch {
	case all:
	case done:
		w.start(l, own)
		for _, n := range names {
			if n >= own.sequence {
				w.Stray = append(w.Stray, closed[n].path)
			}
		}
		w.take(own, 0)
		return
	case len(own.head()) > 0: // closed files beside it that come after it
		from = own.sequence
		w.start(l, own)
	default:
		for n := top; n > 0 && from == 0; n-- {
			if f := closed[n]; f != nil && f.sequence == n && (n == 1 || len(f.head()) > 0) {
				from = n
			}
		}
		if from == 0 {
			break
		}
		whole := true
		for n := from; n <= top; n++ {
			whole = whole && closed[n].whole(n)
		}
		if w.start(l, closed[from]); whole {
			f := closed[top]
			w.Base, w.long = f.History, true
			w.segments = append(slices.Clone(f.segments), seal(top, f.data))
			from, w.sequence = top+1, top+1
		}
	}
	same := 0 // lines with which the file that is written to and a closed one begin alike
	for _, n := range names {
		f := closed[n]
		if n >= own.sequence {
			same = max(same, alike(own, f))
		}
		if n >= from {
			w.Stray = append(w.Stray, f.path)
		}
		if n >= from && (len(f.head()) == 0 || f.sequence == n) { // else it is a copy of another one
			w.take(f, 0)
		}
	}
	w.take(own, same)
}

// alike returns with how many lines two files begin alike: one is an older state
// of the other then, which somebody put back.
func alike(a, b *file) int {
	n := 0
	for n < len(a.entries) && n < len(b.entries) && bytes.Equal(a.entries[n].Text, b.entries[n].Text) {
		n++
	}
	return n
}

func seal(n int, data []byte) Segment {
	return Segment{Number: n, Bytes: int64(len(data)), SHA256: fmt.Sprintf("%x", sha256.Sum256(data))}
}

// inspectClosed looks for closed files that are not what they were. own is the
// file behind them.
func (l Log) inspectClosed(w *Wreck, own *file) error {
	for i, s := range w.segments {
		ok, err := l.as(s)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		d, err := l.damaged(w, i, own)
		if err != nil {
			return err
		}
		w.Closed = append(w.Closed, d)
	}
	return nil
}

// as reports whether a closed file is what it was.
func (l Log) as(s Segment) (bool, error) {
	sum, size, err := digest(l.segment(s.Number))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrNotRegular) {
		return false, nil
	}
	return size == s.Bytes && sum == s.SHA256, err
}

// damaged finds what is left of a closed file, and what those beside it know.
func (l Log) damaged(w *Wreck, i int, own *file) (*Damaged, error) {
	s := w.segments[i]
	d := &Damaged{Path: l.segment(s.Number), index: i}
	f, err := l.optional(s.Number)
	if err != nil {
		return nil, err
	}
	if f != nil {
		w.newer(f)
		d.Data, d.Bad, d.Entries, d.head = f.data, len(f.Bad), f.entries, f.head()
		d.Base = l.begin(f)
	}
	// What came before it, if that is not its own to say.
	if d.Base == nil && s.Number > 1 {
		before, err := l.optional(s.Number - 1)
		if err != nil {
			return nil, err
		}
		if d.Unknown = !before.whole(s.Number - 1); !d.Unknown {
			d.Base = before.History
		}
	}
	// What came behind it.
	next := own
	for n := s.Number + 1; n <= len(w.segments); n++ {
		if f, err = l.optional(n); err != nil {
			return nil, err
		}
		if f != nil && len(f.head()) > 0 {
			next = f
			break
		}
	}
	for _, e := range next.Events {
		if e.Kind.Switch() {
			d.Next = &e
			break
		}
	}
	if end := l.begin(next); end != nil && !d.Unknown {
		d.made = func(n int) bool { return end.p.Chain.Made.has(n) && (d.Base == nil || !d.Base.p.Chain.Made.has(n)) }
		for n, m := range end.p.First {
			if d.made(n) && m.Kind != KindRelink {
				d.Known = append(d.Known, Event{Head: m.Head, Body: &Switch{TreeID: m.TreeID, Seal: m.Seal,
					Grace: m.Grace, Health: m.Health, Recovered: true}})
			}
		}
	}
	return d, nil
}

// optional reads the n-th closed file; nil for none that could be one.
func (l Log) optional(n int) (*file, error) {
	f, err := l.file(l.segment(n))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrNotRegular) {
		return nil, nil
	}
	return f, err
}

// RestoreClosed writes a closed file anew. The caller has set what it was aside.
// Until [Log.Restore] has noted it, the file is not what it was.
func (l Log) RestoreClosed(w *Wreck, d *Damaged, entries []Entry) error {
	data, err := Encode(entries)
	if err != nil {
		return err
	}
	data = slices.Concat(d.head, data)
	if !d.Is(entries) {
		if err := durable.WriteFile(d.Path, data, 0o644); err != nil {
			return err
		}
	}
	w.segments[d.index] = seal(w.segments[d.index].Number, data)
	w.segments[d.index].Lost = true
	return l.at("after-segment-anew")
}

// Restore writes the file to which lines are appended anew, with these lines,
// and then gives closed files whose lines it has now other names, which aside
// returns. Killed before that, it is done again. keep are the generations as for
// [Log.Close]. It returns the history as it is then.
func (l Log) Restore(w *Wreck, entries []Entry, keep []int, aside func(path string) string) (*History, error) {
	data, err := Encode(entries)
	if err != nil {
		return nil, err
	}
	if w.sequence > 1 {
		// Questions may have added to Base since.
		c := &checkpoint{Kind: kindCheckpoint, Time: w.Base.Newest().UTC(), Sequence: w.sequence, Segments: w.segments,
			Past: Parse(w.head).p}
		if w.long {
			c.Past = w.Base.trimmed(keep)
		}
		text, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		data = slices.Concat(durable.Line(text), data)
	}
	h := l.parse(data)
	if h.sequence != w.sequence || len(h.Events) != len(entries) {
		return nil, errors.New("the history that was made cannot be read")
	}
	if err := durable.WriteFile(l.Path, data, 0o644); err != nil {
		return nil, err
	}
	if err := l.at("after-mend"); err != nil {
		return nil, err
	}
	if w.twin != "" {
		if err := os.Remove(w.twin); err != nil {
			return nil, err
		}
	}
	for _, path := range w.Stray {
		if err := durable.RenameNew(path, aside(path)); err != nil {
			return nil, err
		}
	}
	if len(w.Stray) > 0 || w.twin != "" {
		if err := durable.SyncDir(filepath.Dir(l.Path)); err != nil {
			return nil, err
		}
	}
	return h, l.at("after-stray")
}
