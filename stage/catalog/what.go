package catalog

import (
	"slices"
	"strings"
)

// What is what a person writes to say which images or files a command is about:
// a group (a product, a repository), a group and a version as the format writes
// them, a group with @ and a fingerprint, a fingerprint or a digest, twelve or more
// of its first digits, or the path of a file. One word covers all of these: what it
// means depends on what is there.
type What struct {
	text   string
	digits string // lower case; "" where the text is not the beginning of a hash
	full   string // the name of which the text leaves out a part; "" where it leaves out none
}

// A Speller is a Format in which people leave out parts of a name.
type Speller interface {
	// Spell returns the whole name: a group, a group and a version, or a group with @
	// and a digest; "" for what is no name.
	Spell(word string) string
}

// minDigits is how many digits are enough to name a hash: as many as the tables
// of commands print.
const minDigits = 12

// ParseWhat reads a word. Any word may name something. The caller reports one that
// names nothing.
func ParseWhat(text string) What {
	w := What{text: text}
	if low := digitsOf(strings.ToLower(text)); len(low) >= minDigits && strings.Trim(low, "0123456789abcdef") == "" {
		w.digits = low
	}
	return w
}

// WhatIn is ParseWhat for the names of a format.
func WhatIn(f Format, text string) What {
	w := ParseWhat(text)
	if s, ok := As[Speller](f); ok {
		w.full = s.Spell(text)
	}
	return w
}

// String is the word as it was written.
func (w What) String() string { return w.text }

// Digits are those of a word that is a hash, or enough of its beginning; "" for
// another word.
func (w What) Digits() string { return w.digits }

// Called reports whether the word is a group, or what people call a version of it.
func (w What) Called(group, ref string) bool {
	return group != "" && (w.text == group || w.text == ref || w.full != "" && (w.full == group || w.full == ref))
}

// Hash reports whether the word is a hash in lower-case hex, or the beginning
// of one. A hash may have its algorithm before it.
func (w What) Hash(hash string) bool {
	return w.digits != "" && strings.HasPrefix(digitsOf(hash), w.digits)
}

// digitsOf returns a hash without its algorithm.
func digitsOf(hash string) string {
	if digits, ok := strings.CutPrefix(hash, SHA256+":"); ok {
		return digits
	}
	return strings.TrimPrefix(hash, SHA512+":")
}

// Path reports whether the word is the path.
func (w What) Path(path string) bool { return w.text == path }

// Image reports whether the word is an image's name or fingerprint, or its group
// with its fingerprint.
func (w What) Image(i Image) bool {
	if w.Called(i.Product, i.Called()) || w.Hash(i.Fingerprint) {
		return true
	}
	digest, ok := w.In(i.Product)
	return ok && digest.Hash(i.Fingerprint)
}

// In returns the digest of a word that is this group with @ and a digest.
func (w What) In(group string) (digest What, ok bool) {
	for _, name := range []string{w.text, w.full} {
		before, after, found := strings.Cut(name, "@")
		if digest = ParseWhat(after); found && before == group && group != "" && digest.digits != "" {
			return digest, true
		}
	}
	return What{}, false
}

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
