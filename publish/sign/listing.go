package sign

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// ListingName is the path of a [Listing] in the tree that it lists.
const ListingName = "publish-manifest"

// Listing is the signed list of the files of a generation. It has a number and a time, so that
// a client also sees that it gets an old one again.
//
//	publish-manifest 1
//	generation 12
//	tree 6f1c...
//	made 2026-11-28T05:00:00Z
//	until 2026-12-28T05:00:00Z
//
//	SHA256 SIZE PATH
//	link SHA256 SIZE PATH
//
// The hash and the size of a link are those of the text that it leads to. A path stands as it
// is: no tree has one with a control character. The rows are sorted by it.
type Listing struct {
	Generation int
	TreeID     string
	Made       time.Time  // in seconds
	Until      time.Time  // zero: it does not expire
	Rows       []tree.Row // sorted by path; read from a text, the role is Content or Link
}

const (
	listingFirst = "publish-manifest 1"
	never        = "never"
	linkWord     = "link "
)

// Encode returns the text of the list.
func (l *Listing) Encode() []byte {
	until := never
	if !l.Until.IsZero() {
		until = stamp(l.Until)
	}
	out := fmt.Appendf(nil, "%s\ngeneration %d\ntree %s\nmade %s\nuntil %s\n\n", listingFirst, l.Generation, l.TreeID,
		stamp(l.Made), until)
	for _, r := range l.Rows {
		if r.Role == catalog.Link {
			out = append(out, linkWord...)
		}
		out = append(append(out, r.SHA256...), ' ')
		out = append(strconv.AppendInt(out, r.Size, 10), ' ')
		out = append(append(out, r.Path...), '\n')
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ParseListing reads what Encode wrote, and nothing else.
func ParseListing(data []byte) (*Listing, error) {
	if len(data) > catalog.MaxDocument {
		return nil, fmt.Errorf("has more than %d bytes", catalog.MaxDocument)
	}
	head, body, ok := strings.Cut(string(data), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || lines[0] != listingFirst || len(lines) != 5 {
		return nil, errors.New("is no list of a generation that this version knows")
	}
	l := new(Listing)
	until := ""
	err := cmp.Or(
		field(lines[1], "generation ", func(s string) (err error) { l.Generation, err = strconv.Atoi(s); return }),
		field(lines[2], "tree ", func(s string) error { l.TreeID = s; return nil }),
		field(lines[3], "made ", func(s string) (err error) { l.Made, err = time.Parse(time.RFC3339, s); return }),
		field(lines[4], "until ", func(s string) error { until = s; return nil }))
	if err == nil && until != never {
		l.Until, err = time.Parse(time.RFC3339, until)
	}
	if err != nil {
		return nil, errors.New("its first lines are not those of a list")
	}
	if l.Generation < 1 || !hexadecimal(l.TreeID) {
		return nil, errors.New("its first lines have no generation and tree")
	}
	l.Rows = make([]tree.Row, 0, strings.Count(body, "\n"))
	for n := 7; body != ""; n++ {
		line, rest, ok := strings.Cut(body, "\n")
		if !ok {
			return nil, errors.New("is cut: the last line has no end")
		}
		r, err := row(line)
		if i := len(l.Rows); err == nil && i > 0 && l.Rows[i-1].Path >= r.Path {
			err = errors.New("the paths are not sorted, or one is there twice")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		l.Rows, body = append(l.Rows, r), rest
	}
	if !bytes.Equal(l.Encode(), data) {
		return nil, errors.New("is not written as this program writes it")
	}
	return l, nil
}

func field(line, name string, take func(string) error) error {
	value, ok := strings.CutPrefix(line, name)
	if !ok || value == "" {
		return errors.New("is missing")
	}
	return take(value)
}

var errRow = errors.New("is no hash, size and path")

func row(line string) (r tree.Row, err error) {
	r.Role = catalog.Content
	if rest, ok := strings.CutPrefix(line, linkWord); ok {
		line, r.Role = rest, catalog.Link
	}
	hash, rest, _ := strings.Cut(line, " ")
	size, path, ok := strings.Cut(rest, " ")
	if r.Size, err = strconv.ParseInt(size, 10, 64); !ok || err != nil || r.Size < 0 || !sum(hash) {
		return r, errRow
	}
	clean, problem, ok := catalog.Clean(path)
	switch {
	case !ok:
		return r, errors.New("the path " + problem)
	case clean != path || catalog.Reserved(path):
		return r, errors.New("the path is none of a file of a tree")
	}
	r.SHA256, r.Path = hash, path
	return r, nil
}

func sum(s string) bool { return len(s) == 64 && hexadecimal(s) }

func hexadecimal(s string) bool { return s != "" && strings.Trim(s, "0123456789abcdef") == "" }

// Trusted is the trusted comment of the list's signature. It repeats what makes the list the
// newest one, so a signature of one generation is not taken for that of another.
func (l *Listing) Trusted() string {
	return fmt.Sprintf("generation:%d time:%s", l.Generation, stamp(l.Made))
}

// ParseTrusted reads what Trusted wrote.
func ParseTrusted(comment string) (generation int, made time.Time, err error) {
	bad := errors.New("the trusted comment is not that of a list of a generation")
	number, at, ok := strings.Cut(strings.TrimPrefix(comment, "generation:"), " time:")
	if !ok {
		return 0, made, bad
	}
	if generation, err = strconv.Atoi(number); err != nil {
		return 0, made, bad
	}
	if made, err = time.Parse(time.RFC3339, at); err != nil {
		return 0, made, bad
	}
	if l := (&Listing{Generation: generation, Made: made}); generation < 1 || l.Trusted() != comment {
		return 0, time.Time{}, bad
	}
	return generation, made, nil
}
