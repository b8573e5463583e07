package catalog

import (
	"slices"
	"strings"
)

// What is what a person writes to say which images or files a command is about:
// a group (a product, a repository), a group and a version, a fingerprint or a
// sha256, twelve or more of its first digits, or the path of a file. One word
// covers all of these: what it means depends on what is there.
type What struct {
	text   string
	digits string // lower case; "" where the text is not the beginning of a hash
}

// minDigits is how many digits are enough to name a hash: as many as the tables
// of commands print.
const minDigits = 12

// ParseWhat reads a word. Any word may name something. The caller reports one that
// names nothing.
func ParseWhat(text string) What {
	w := What{text: text}
	if low := strings.ToLower(text); len(low) >= minDigits && strings.Trim(low, "0123456789abcdef") == "" {
		w.digits = low
	}
	return w
}

// String is the word as it was written.
func (w What) String() string { return w.text }

// Name reports whether the word is that name, or its group.
func (w What) Name(n Name) bool { return n.Group != "" && (w.text == n.Group || w.text == n.String()) }

// Hash reports whether the word is a hash in lower-case hex, or the beginning
// of one.
func (w What) Hash(hex string) bool { return w.digits != "" && strings.HasPrefix(hex, w.digits) }

// Path reports whether the word is the path.
func (w What) Path(path string) bool { return w.text == path }

// Image reports whether the word is an image's name or fingerprint.
func (w What) Image(i Image) bool { return w.Name(i.Of()) || w.Hash(i.Fingerprint) }

// ImageOrPath reports whether the word is an image's name or fingerprint, or
// the path of a file that it needs.
func (w What) ImageOrPath(i Image) bool { return w.Image(i) || slices.ContainsFunc(i.Paths, w.Path) }

// ParseName reads what String of a Name wrote. A group may have slashes, a
// version has none.
func ParseName(s string) Name {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return Name{Group: s}
	}
	return Name{s[:i], s[i+1:]}
}
