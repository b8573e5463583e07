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

// Wreck is what is left of a damaged history, and how to write it again.
type Wreck struct {
	Missing bool     // the file at Path is missing
	Data    []byte   // that file as it is
	Bad     int      // damaged lines, in the files whose lines are in Entries
	Newer   string   // path:line of a line that this version does not know; "" for none
	Base    *History // the history before Entries; nil for none
	Entries []Entry  // in the order in which they were written
	Stray   []string // closed files that do not belong there; Entries or another file has their lines
	Closed  []*Damaged

	sequence int // of the file to write
	segments []segment
	head     []byte // the checkpoint line that Base was read from
	long     bool   // Base has lines behind its checkpoint, so the file to write needs a new checkpoint
	twin     string // second name of the file at Path, left by a Close that was killed; "" for none
}

// broken reports whether more than the chain of the lines has to be repaired.
func (w *Wreck) broken() bool {
	return w.Missing || w.Bad > 0 || w.long || len(w.Stray)+len(w.Closed) > 0
}

// Whole reports whether the file at Path need not be rewritten, unless its chain
// is broken: at most closed files are damaged.
func (w *Wreck) Whole() bool { return !w.Missing && w.Bad == 0 && !w.long && len(w.Stray) == 0 }

// Damaged is a closed file that is missing, or has changed since it was closed.
// The checkpoint after it has what most commands need, so they work without the
// file. Commands that show old lines need it.
type Damaged struct {
	Path    string
	Data    []byte // as it is; nil for a file that is missing
	Bad     int    // damaged lines
	Entries []Entry
	Base    *History // the history before it; nil for none
	Unknown bool     // the history before it is not known, so its chain cannot be repaired
	// Known are switches of the file that the checkpoint after it knows, without
	// what they changed.
	Known []Event
	Next  *Event // the first switch after it; nil for none

	made func(n int) bool

	head  []byte // its checkpoint line
	index int    // in Wreck.segments
}

// Is reports whether the file already has exactly these lines.
func (d *Damaged) Is(entries []Entry) bool {
	data, err := encode(entries)
	return err == nil && d.Data != nil && bytes.Equal(d.Data, slices.Concat(d.head, data))
}

// Made reports whether a line of this file, or of a lost file directly after it,
// is known to have made generation n.
func (d *Damaged) Made(n int) bool { return d.made != nil && d.made(n) }

// Made returns the line that made generation n, and whether there is one, in a
// history that Inspect looked at. Of a line that is lost it returns what the
// checkpoint knows of it.
func (l Log) Made(w *Wreck, n int) (Event, bool) {
	for _, e := range w.Entries {
		if e.Kind.Switch() && e.Generation == n {
			return e.Event, true
		}
	}
	none := Event{Body: &Switch{}}
	if w.Base == nil || !w.Base.Named(n) {
		return none, false
	}
	found, ok := none, false
	look := func(events []Event) bool {
		i := slices.IndexFunc(events, func(e Event) bool { return e.Kind.Switch() && e.Generation == n })
		if i >= 0 {
			found, ok = events[i], true
		}
		return i < 0 || found.Kind == KindRelink
	}
	if look(w.Base.Events) {
		l.Closed(w.Base, func(_ string, h *History, _ error) bool { return look(h.Events) })
	}
	if !ok { // the line is lost, but a checkpoint kept its main fields
		m, _ := w.Base.Made(n)
		found = Event{Head: m.Head, Body: &Switch{TreeID: m.TreeID, Seal: m.Seal, Grace: m.Grace}}
	}
	return found, true
}

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
	f := &file{path: path, data: data, entries: readEntries(data)}
	f.History = l.parse(data)
	return f, nil
}

// parse is like Parse, but the history can read the closed files before it.
func (l Log) parse(data []byte) *History {
	h := Parse(data)
	if h.sequence > 1 {
		h.older = func() (*past, bool) { return l.fold(h.segments) }
	}
	return h
}

// head returns the checkpoint line; empty if there is none or it is damaged.
func (f *file) head() []byte { return f.data[:f.begins] }

// begin returns the history before the lines of the file; nil for none.
func (l Log) begin(f *file) *History {
	if len(f.head()) == 0 {
		return nil
	}
	return l.parse(f.head())
}

// whole reports whether the file has number n and all its lines are sound.
func (f *file) whole(n int) bool {
	return f != nil && f.sequence == n && !f.Torn && len(f.Bad) == 0
}

// Inspect examines all files of a history. If all is set, it ignores checkpoints
// and returns all lines in Entries. The caller needs that to insert a line
// before the newest checkpoint.
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
		// The right files are there; at most their lines are damaged.
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

// closedNames returns the numbers of the closed files that exist, sorted. twin is
// the path of a file that a killed Close left: it is the file at Path under a
// second name, or a prefix of it, and does not count as closed. See stray.
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

// start makes the history before the lines of f the base of the repaired file.
func (w *Wreck) start(l Log, f *file) {
	w.Base, w.head, w.sequence, w.segments = l.begin(f), f.head(), f.sequence, f.segments
}

// take adds the lines of a file, without the first skip lines.
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

// salvage finds a base for the lines of own if its checkpoint is lost, or if
// there are closed files that do not belong beside it. The base is the newest
// sound checkpoint. If all closed files from that one on are whole, the base
// also has their lines. Otherwise their lines go into Entries.
func (l Log) salvage(w *Wreck, own *file, closed map[int]*file, names []int, all bool) {
	from, top := 0, 0 // take the lines of the closed files from number from on
	if len(names) > 0 {
		top = names[len(names)-1]
	}
	have := map[string]bool{}
	for _, e := range own.entries {
		have[string(e.Text)] = true
	}
	done := !w.Missing // own has the lines of all later closed files: a killed recovery left it like this
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
	case len(own.head()) > 0: // own is an older state, and there are closed files that come after it
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
	same := 0 // number of first lines that own has in common with a closed file
	for _, n := range names {
		f := closed[n]
		if n >= own.sequence {
			same = max(same, alike(own, f))
		}
		if n >= from {
			w.Stray = append(w.Stray, f.path)
		}
		if n >= from && (len(f.head()) == 0 || f.sequence == n) { // else it is a copy of another closed file
			w.take(f, 0)
		}
	}
	w.take(own, same)
}

// alike returns how many first lines two files have in common. If there are any,
// somebody put back an older state of the other file.
func alike(a, b *file) int {
	n := 0
	for n < len(a.entries) && n < len(b.entries) && bytes.Equal(a.entries[n].Text, b.entries[n].Text) {
		n++
	}
	return n
}

func seal(n int, data []byte) segment {
	return segment{Number: n, Bytes: int64(len(data)), SHA256: fmt.Sprintf("%x", sha256.Sum256(data))}
}

// inspectClosed finds closed files that are missing or have changed. own is the
// file after them.
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

// as reports whether a closed file is unchanged.
func (l Log) as(s segment) (bool, error) {
	sum, size, err := digest(l.segment(s.Number))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrNotRegular) {
		return false, nil
	}
	return size == s.Bytes && sum == s.SHA256, err
}

// damaged collects what is left of a closed file, and what the files before and
// after it know about its lines.
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
	// Its own checkpoint is missing: the file before it has the history up to here.
	if d.Base == nil && s.Number > 1 {
		before, err := l.optional(s.Number - 1)
		if err != nil {
			return nil, err
		}
		if d.Unknown = !before.whole(s.Number - 1); !d.Unknown {
			d.Base = before.History
		}
	}
	// The next file with a checkpoint knows what this file had made.
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

// optional reads the n-th closed file; nil if it is missing or not a regular file.
func (l Log) optional(n int) (*file, error) {
	f, err := l.file(l.segment(n))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrNotRegular) {
		return nil, nil
	}
	return f, err
}

// RestoreClosed rewrites a closed file. The caller has moved the old file aside.
// The file counts as damaged until [Log.Restore] writes its new checksum into the
// checkpoint.
func (l Log) RestoreClosed(w *Wreck, d *Damaged, entries []Entry) error {
	data, err := encode(entries)
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

// Restore rewrites the file at Path with these lines, and then renames the stray
// closed files to the names that aside returns. This order is safe: after a kill
// between the two, the next Inspect finds that the file has all lines of the
// stray files. keep is as in [Log.Close]. Restore returns the new history.
func (l Log) Restore(w *Wreck, entries []Entry, keep []int, aside func(path string) string) (*History, error) {
	data, err := encode(entries)
	if err != nil {
		return nil, err
	}
	if w.sequence > 1 {
		// Parse the checkpoint again: questions to Base may have loaded more details into it.
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
		return nil, errors.New("the repaired history cannot be read back")
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
