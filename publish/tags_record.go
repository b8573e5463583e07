package publish

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// tagRecord is a firstTagged in the form of its file. A plan asks it for 20,000 tags, in
// its order or nearly so: a map of them takes more time than all the rest of it.
type tagRecord struct {
	lines []tagLine // by name, each once
	at    int       // the line behind the one that was found last
}

// tagLine is a line of the record. Its texts are parts of the file.
type tagLine struct {
	name   string // Name.String
	digest string
	since  int64 // seconds since 1970
}

// find returns the line of a name; nil for none.
func (t *tagRecord) find(n catalog.Name) *tagLine {
	if t == nil {
		return nil
	}
	is := func(i int) bool { return i < len(t.lines) && compareName(t.lines[i].name, n) == 0 }
	if at := t.at; is(at) {
		t.at++
		return &t.lines[at]
	}
	at, ok := slices.BinarySearchFunc(t.lines, n, func(l tagLine, n catalog.Name) int { return compareName(l.name, n) })
	t.at = at
	if !ok {
		return nil
	}
	t.at++
	return &t.lines[at]
}

// compareName compares a text with what String of a Name returns.
func compareName(text string, n catalog.Name) int {
	if n.Version == "" {
		return strings.Compare(text, n.Group)
	}
	group := len(n.Group)
	if len(text) <= group {
		return cmp.Or(strings.Compare(text, n.Group[:len(text)]), -1)
	}
	return cmp.Or(strings.Compare(text[:group], n.Group), cmp.Compare(text[group], '/'),
		strings.Compare(text[group+1:], n.Version))
}

// since returns when the tag was first seen on what it stands for; now if it was not
// seen before. A tag that moved begins anew.
func (t *tagRecord) since(n catalog.Name, digest string, now time.Time) time.Time {
	if l := t.find(n); l != nil && l.digest == digest {
		return time.Unix(l.since, 0).UTC()
	}
	return now.UTC().Truncate(time.Second)
}

// next returns the record for the tags that are there now, and what each stands for. All
// others are forgotten. It is nil if the record has the same already.
func (t *tagRecord) next(there iter.Seq2[catalog.Name, string], now time.Time) *tagRecord {
	same, n := true, 0
	for name, digest := range there {
		n++
		l := t.find(name)
		same = same && l != nil && l.digest == digest
	}
	if same && n == len(t.lines) {
		return nil
	}
	out := &tagRecord{lines: make([]tagLine, 0, n)}
	for name, digest := range there {
		out.lines = append(out.lines, tagLine{name.String(), digest, t.since(name, digest, now).Unix()})
	}
	out.sort()
	return out
}

// with returns the record with these tags also, and what each stands for; nil if the record
// has the same already.
func (t *tagRecord) with(images []catalog.Image, now time.Time) *tagRecord {
	var fresh []tagLine
	for i := range images {
		n, digest := images[i].Of(), images[i].Fingerprint
		l := t.find(n)
		if k := len(fresh) - 1; k >= 0 && compareName(fresh[k].name, n) == 0 { // it has two images
			l = &fresh[k]
		}
		if l == nil || l.digest != digest {
			fresh = append(fresh, tagLine{n.String(), digest, now.UTC().Truncate(time.Second).Unix()})
		}
	}
	if fresh == nil {
		return nil
	}
	out := &tagRecord{lines: append(t.lines, fresh...)}
	out.sort()
	return out
}

// sort sorts the lines. Of two for one name the last one stays.
func (t *tagRecord) sort() {
	byName := func(a, b tagLine) int { return strings.Compare(a.name, b.name) }
	for i := 1; i < len(t.lines); i++ {
		if byName(t.lines[i-1], t.lines[i]) >= 0 {
			slices.SortStableFunc(t.lines, byName)
			slices.Reverse(t.lines)
			t.lines = slices.CompactFunc(t.lines, func(a, b tagLine) bool { return a.name == b.name })
			slices.Reverse(t.lines)
			return
		}
	}
}

// record returns the record of tags. It has a sealed line for each:
//
//	SINCE DIGEST NAME
//
// A damaged line is forgotten; its tag is new. A line of a newer version is an error.
func (file tagFile) record() (*tagRecord, error) {
	data, err := durable.ReadFile(string(file), maxRecord)
	if err != nil {
		return &tagRecord{}, nil
	}
	out := &tagRecord{lines: make([]tagLine, 0, bytes.Count(data, []byte{'\n'}))}
	whole := durable.Text(data)
	for n := 1; len(whole) > 0; n++ {
		line, rest, _ := strings.Cut(whole, "\n")
		sealed, ok := durable.Unline(data[len(data)-len(whole):][:len(line)])
		if whole = rest; !ok {
			continue
		}
		at, text, _ := strings.Cut(line[len(line)-len(sealed):], " ")
		digest, name, ok := strings.Cut(text, " ")
		since, err := strconv.ParseInt(at, 10, 64)
		if !ok || err != nil {
			return nil, newer(fmt.Sprintf("%s:%d", file, n))
		}
		out.lines = append(out.lines, tagLine{name, digest, since})
	}
	out.sort()
	return out, nil
}

// read is record as a map.
func (file tagFile) read() (firstTagged, error) {
	t, err := file.record()
	if err != nil {
		return nil, err
	}
	out := make(firstTagged, len(t.lines))
	for _, l := range t.lines {
		out[catalog.ParseName(l.name)] = tagSighting{time.Unix(l.since, 0).UTC(), l.digest}
	}
	return out, nil
}

// write replaces the record.
func (file tagFile) write(seen firstTagged) error {
	t := &tagRecord{lines: make([]tagLine, 0, len(seen))}
	for n, s := range seen {
		t.lines = append(t.lines, tagLine{n.String(), s.digest, s.since.Unix()})
	}
	t.sort()
	return file.replace(t)
}

// replace is write. It writes in small blocks: the whole text of many tags needs much memory.
func (file tagFile) replace(t *tagRecord) error {
	const block = 64 << 10
	return durable.WriteWith(string(file), 0o644, func(w io.Writer) error {
		out, text := make([]byte, 0, block), []byte(nil)
		for _, l := range t.lines {
			if strings.Contains(l.name, "\n") || strings.Contains(l.digest, "\n") {
				continue
			}
			text = append(strconv.AppendInt(text[:0], l.since, 10), ' ')
			text = append(append(append(text, l.digest...), ' '), l.name...)
			if out = durable.LineTo(out, text); len(out) < block-1024 {
				continue
			}
			if _, err := w.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
		_, err := w.Write(out)
		return err
	})
}
