package oci

import (
	"encoding/binary"
	"strings"
	"unsafe"

	"example.com/publish/stage/catalog"
)

// An index.json of 20,000 tags has 4 MB, and a plan to prune them asks it for no more than
// tags and digests. So one pass reads what nearly every index.json has and nothing else,
// and checks it on the way. Whatever is otherwise, or wrong, is left to parseIndex.

// scanned is an index.json in the usual form. Its texts are parts of the document.
type scanned struct {
	data      []byte
	mediaType string // "" for none
	entries   []scannedEntry
	canonical bool // it is in its own form: see Format.Own
	compact   bool // it has no white space
	from, to  int  // where the list of entries stands
}

// scannedEntry is an entry. It is one of a manifest or an index, with a sha256.
type scannedEntry struct {
	tag, digest string
	sum         catalog.Sum
	size        int64
	kind        kind
	from, to    int32 // where it stands in the document
}

// kind is a media type that leads on to others; other for the rest.
type kind uint8

const (
	other kind = iota
	kindOCIIndex
	kindOCIManifest
	kindDockerList
	kindDockerManifest
)

func kindOfType(mediaType string) kind {
	switch mediaType {
	case ociIndex:
		return kindOCIIndex
	case ociManifest:
		return kindOCIManifest
	case dockerList:
		return kindDockerList
	case dockerManifest:
		return kindDockerManifest
	}
	return other
}

// mediaType is the reverse of kindOfType.
func (k kind) mediaType() string {
	return [...]string{"", ociIndex, ociManifest, dockerList, dockerManifest}[k]
}

// scan reads an index.json; false for one that parseIndex has to read.
func scan(data []byte) (*scanned, bool) {
	ok, lines := simple(data)
	if !ok || dense(data) || len(data) > catalog.MaxDocument {
		return nil, false
	}
	s := &scanner{data: unsafe.String(unsafe.SliceData(data), len(data)), lines: lines} // nobody writes to a document
	x := &scanned{data: data, canonical: true}
	version, lists := false, false
	last := ""
	ok = s.object(func(key string) bool {
		x.canonical = x.canonical && last < key
		last = key
		switch key {
		case "schemaVersion":
			version = !version && s.number() == 2
			return version
		case "mediaType":
			again := x.mediaType != ""
			x.mediaType = s.text()
			return x.mediaType == ociIndex && !again
		case "manifests":
			if lists {
				return false
			}
			lists = true
			x.entries = make([]scannedEntry, 0, strings.Count(s.data, `"digest"`))
			x.from = s.at
			good := s.array(func() bool { return s.entry(x) })
			x.to = s.at
			return good
		}
		return false
	})
	x.compact = !s.spaced
	x.canonical = x.canonical && x.compact && s.at == len(s.data)
	s.space()
	return x, ok && version && lists && s.at == len(s.data)
}

// own returns the parts of the document in its own form, one after the other.
func (x *scanned) own() [][]byte {
	switch {
	case x.canonical:
		return [][]byte{x.data}
	case x.compact:
		return [][]byte{[]byte(`{"manifests":`), x.data[x.from:x.to], x.end(nil)}
	}
	return [][]byte{x.listing(func(int) bool { return true })}
}

// end appends what stands behind the list of entries in the own form.
func (x *scanned) end(out []byte) []byte {
	if x.mediaType != "" {
		out = append(append(append(out, `,"mediaType":"`...), x.mediaType...), '"')
	}
	return append(out, `,"schemaVersion":2}`...)
}

// listing returns the document with some of its entries, in its own form.
func (x *scanned) listing(keep func(entry int) bool) []byte {
	out := append(make([]byte, 0, len(x.data)+64), `{"manifests":[`...)
	first := true
	for i := range x.entries {
		if !keep(i) {
			continue
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		if raw := x.data[x.entries[i].from:x.entries[i].to]; x.compact {
			out = append(out, raw...)
		} else {
			out = appendCompact(out, raw)
		}
	}
	return x.end(append(out, ']'))
}

// entry reads one of the manifests.
func (s *scanner) entry(x *scanned) bool {
	e := scannedEntry{from: int32(s.at), size: -1}
	pinned, noted, tagged := "", false, false
	ok := s.object(func(key string) (good bool) {
		switch key {
		case "mediaType":
			good = e.kind == other
			e.kind = kindOfType(s.text())
			return good && e.kind != other
		case "digest":
			good = e.digest == ""
			e.digest = s.text()
			digits, is := strings.CutPrefix(e.digest, catalog.SHA256+":")
			if is && good {
				e.sum, good = catalog.ParseSum(digits)
			}
			return good && is
		case "size":
			good = e.size < 0
			e.size = s.number()
			return good && e.size >= 0 && e.size <= maxManifest
		case "annotations":
			good, noted = !noted, true
			return good && s.object(func(key string) bool {
				value := s.text()
				switch key {
				case refName:
					good, tagged = !tagged, true
					if value != "" {
						_, tag, found := cutTag(value)
						if !found {
							tag = value
						}
						e.tag = tag
						good = good && isTag(tag)
					}
				case pinnedNote:
					good, pinned = pinned == "", value
				case childMark, heldMark:
					good = false
				}
				return good
			})
		}
		return false
	})
	e.to = int32(s.at)
	ok = ok && e.kind != other && e.digest != "" && e.size >= 0 && e.to-e.from <= maxManifest &&
		(pinned == "" || pinned == e.digest)
	if ok {
		x.entries = append(x.entries, e)
	}
	return ok
}

// scanner reads a text of which simple is true. After a failure it stands anywhere.
type scanner struct {
	data   string
	at     int
	lines  bool // there may be line feeds and tabs: no string may have one
	spaced bool // there is white space
	failed bool
}

func (s *scanner) space() {
	for s.at < len(s.data) && space(s.data[s.at]) {
		s.at++
		s.spaced = true
	}
}

func (s *scanner) take(c byte) bool {
	if s.at < len(s.data) && s.data[s.at] == c {
		s.at++
		return true
	}
	return false
}

// text reads a string.
func (s *scanner) text() string {
	if s.take('"') {
		if n := strings.IndexByte(s.data[s.at:], '"'); n >= 0 {
			text := s.data[s.at : s.at+n]
			s.at += n + 1
			s.failed = s.failed || s.lines && strings.ContainsAny(text, "\n\r\t")
			return text
		}
	}
	s.failed = true
	return ""
}

// number reads a whole number without a sign; -1 for none, and for one that is huge.
func (s *scanner) number() (n int64) {
	from := s.at
	for s.at < len(s.data) && s.data[s.at] >= '0' && s.data[s.at] <= '9' {
		n = n*10 + int64(s.data[s.at]-'0')
		s.at++
	}
	if digits := s.at - from; digits == 0 || digits > 18 || digits > 1 && s.data[from] == '0' {
		s.failed = true
		return -1
	}
	return n
}

// object calls member with each name, where the value begins, and reports whether all is
// well. member reads the value.
func (s *scanner) object(member func(key string) bool) bool {
	return s.list('{', '}', func() bool {
		key := s.text()
		s.space()
		if s.failed || !s.take(':') {
			return false
		}
		s.space()
		return member(key)
	})
}

func (s *scanner) array(element func() bool) bool { return s.list('[', ']', element) }

func (s *scanner) list(begin, end byte, one func() bool) bool {
	if s.failed || !s.take(begin) {
		return false
	}
	if s.space(); s.take(end) {
		return true
	}
	for {
		if !one() || s.failed {
			return false
		}
		if s.space(); s.take(end) {
			return true
		}
		if !s.take(',') {
			return false
		}
		s.space()
	}
}

// simple reports whether a text is ASCII without backslashes, and without control characters
// but white space, and whether it has more of that than a line feed at its end.
func simple(data []byte) (ok, lines bool) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for at := 0; at < len(data); at++ {
		for len(data)-at >= 8 {
			x := binary.LittleEndian.Uint64(data[at:])
			slash := x ^ '\\'*ones
			if (x|(x-' '*ones)&^x|(slash-ones)&^slash)&tops != 0 {
				break
			}
			at += 8
		}
		for end := min(at+8, len(data)); at < end; at++ {
			switch c := data[at]; {
			case c == '\n' || c == '\t' || c == '\r':
				lines = lines || at < len(data)-1
			case c < ' ' || c >= 0x7f || c == '\\':
				return false, false
			}
		}
		at--
	}
	return true, lines
}
