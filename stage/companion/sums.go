package companion

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"strings"
)

// maxList bounds a list of checksums, in bytes: some ten thousand lines.
const maxList = 1 << 20

// digests are the hashes that a list may hold, by the length of their hex.
var digests = map[int]func() hash.Hash{
	2 * md5.Size:       md5.New,
	2 * sha1.Size:      sha1.New,
	2 * sha256.Size:    sha256.New,
	2 * sha512.Size384: sha512.New384,
	2 * sha512.Size:    sha512.New,
}

// sum is one checksum in a list.
type sum struct {
	path       string // of the file that it is of
	hex        string
	start, end int // of the hex, in the line
}

// readList reads a list of checksums. big is true if the file is too large to be
// one.
func readList(fsys fs.FS, p string) (list []byte, big bool, err error) {
	f, _, err := open(fsys, p)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	list, err = io.ReadAll(io.LimitReader(f, maxList+1))
	return list, len(list) > maxList, err
}

// sumOf reads one line of a list: those of sha256sum and its like, with or
// without a star, those of BSD (SHA256 (name) = hex), and a checksum alone, in a
// list that belongs to one file.
func (c Companion) sumOf(line []byte) (s sum, ok bool) {
	text := strings.TrimRight(string(line), " \t\r\n")
	name := ""
	if open, rest, found := strings.Cut(text, " ("); found && open == strings.ToUpper(open) &&
		strings.Contains(rest, ") = ") {
		i := strings.LastIndex(rest, ") = ")
		name, s.hex = rest[:i], rest[i+4:]
		s.start = len(text) - len(s.hex)
	} else {
		var after string
		s.hex, after, found = strings.Cut(text, " ")
		name = strings.TrimPrefix(strings.TrimLeft(after, " "), "*")
		if !found && c.Of != "" {
			s.path = c.Of
		}
	}
	s.end = s.start + len(s.hex)
	if digests[len(s.hex)] == nil || strings.Trim(strings.ToLower(s.hex), "0123456789abcdef") != "" {
		return sum{}, false
	}
	if name != "" {
		s.path = path.Join(c.folder(), name)
	}
	return s, s.path != ""
}

// staleList compares the checksums of the documents, and of what is beside
// them, that a list for a folder names; of any other list those of its file.
func (c Companion) staleList(fsys fs.FS, about map[string]bool) (string, error) {
	list, big, err := readList(fsys, c.Path)
	if err != nil {
		return "", err
	}
	if big {
		return fmt.Sprintf("is too large to be compared: more than %d bytes", maxList), nil
	}
	for line := range bytes.Lines(list) {
		s, ok := c.sumOf(line)
		if !ok || c.Of != "" && s.path != c.Of || c.Of == "" && !about[s.path] || s.path == c.Path {
			continue // no list has its own checksum: sha256sum * >SHA256SUMS hashed the empty file
		}
		f, _, err := open(fsys, s.path)
		if errors.Is(err, fs.ErrNotExist) {
			return "names " + s.path + ", which is not there", nil
		}
		if err != nil {
			return "", err
		}
		h := digests[len(s.hex)]()
		_, err = io.Copy(h, f)
		_ = f.Close()
		if err != nil {
			return "", err
		}
		if !strings.EqualFold(hex.EncodeToString(h.Sum(nil)), s.hex) {
			return "has another checksum of " + s.path, nil
		}
	}
	return "", nil
}

// rewrite returns a list with the checksums of what has changed; same if nothing
// in it has changed.
func (c Companion) rewrite(list []byte, changed map[string][]byte) (out []byte, same bool) {
	same = true
	for line := range bytes.Lines(list) {
		s, ok := c.sumOf(line)
		data, is := changed[s.path]
		switch {
		case !ok || !is:
			out = append(out, line...)
		case data == nil:
			same = false
		default:
			h := digests[len(s.hex)]()
			h.Write(data)
			sum := hex.EncodeToString(h.Sum(nil))
			same = same && strings.EqualFold(sum, s.hex)
			out = append(append(append(out, line[:s.start]...), sum...), line[s.end:]...)
		}
	}
	return out, same
}

// ordered returns lists so that each comes after those that it names, as far as
// they do not name each other: a rewritten list changes the next one.
func ordered(found []Companion, lists map[string][]byte) []Companion {
	byPath := map[string]Companion{}
	for _, c := range found {
		if lists[c.Path] != nil {
			byPath[c.Path] = c
		}
	}
	var out []Companion
	seen := map[string]bool{}
	var visit func(c Companion)
	visit = func(c Companion) {
		if seen[c.Path] {
			return
		}
		seen[c.Path] = true
		for line := range bytes.Lines(lists[c.Path]) {
			if s, ok := c.sumOf(line); ok && lists[s.path] != nil {
				visit(byPath[s.path])
			}
		}
		out = append(out, c)
	}
	for _, c := range found {
		if lists[c.Path] != nil {
			visit(c)
		}
	}
	return out
}
