package mirror

import (
	"cmp"
	"slices"
	"strings"
)

// newest returns the n newest of some tags, the newest first; 0 is all. A list of tags
// tells no times, so their names decide: see compareTags.
func newest(tags []string, n int) []string {
	out := slices.Clone(tags)
	slices.SortFunc(out, func(a, b string) int { return compareTags(b, a) })
	if n > 0 && n < len(out) {
		out = out[:n]
	}
	return out
}

// compareTags orders the names of versions as people read them: 1.9, 1.10-rc1, 1.10,
// 1.10-alpine, 1.10.1. Numbers count by their value. Separators do not count, and neither
// does a v before the first number. What comes before a version, such as rc, is older than
// it, and all else that goes on after one is newer. It is a total order.
func compareTags(a, b string) int {
	x, y := tagWords(a), tagWords(b)
	for i := 0; ; i++ {
		v, w := wordAt(x, i), wordAt(y, i)
		c := cmp.Compare(v.kind, w.kind)
		if c == 0 && v.kind == numberWord {
			c = cmp.Compare(len(v.text), len(w.text))
		}
		if c = cmp.Or(c, strings.Compare(v.text, w.text)); c != 0 {
			return c
		}
		if v.kind == noWord {
			return strings.Compare(a, b)
		}
	}
}

// tagWord is a part of a tag.
type tagWord struct {
	kind wordKind
	text string // of a number without zeros in front
}

// wordKind says where a word stands among others, the oldest first.
type wordKind int

const (
	beforeWord wordKind = iota // the version is not out yet
	noWord                     // the tag ends
	otherWord
	numberWord
)

// before are words of versions that are not out yet; beforeNumber are such words only if a
// number follows at once: 3.13.0a1 of Python is an alpha, and 1.1.1a of OpenSSL is not.
var (
	before = []string{"alpha", "beta", "canary", "dev", "milestone", "nightly", "pre", "preview", "rc", "snapshot",
		"unstable"}
	beforeNumber = []string{"a", "b", "m"}
)

func wordAt(words []tagWord, i int) tagWord {
	if i < len(words) {
		return words[i]
	}
	return tagWord{kind: noWord}
}

// tagWords splits a tag into numbers and other words.
func tagWords(tag string) (out []tagWord) {
	if len(tag) > 1 && (tag[0] == 'v' || tag[0] == 'V') && digit(tag[1]) {
		tag = tag[1:]
	}
	for i := 0; i < len(tag); {
		begin := i
		for i < len(tag) && digit(tag[i]) == digit(tag[begin]) && !separates(tag[i]) {
			i++
		}
		if begin == i {
			i++
			continue
		}
		text := tag[begin:i]
		switch lower := strings.ToLower(text); {
		case digit(text[0]):
			out = append(out, tagWord{numberWord, strings.TrimLeft(text, "0")})
		case len(out) > 0 && (slices.Contains(before, lower) ||
			slices.Contains(beforeNumber, lower) && i < len(tag) && digit(tag[i])):
			out = append(out, tagWord{beforeWord, lower})
		default:
			out = append(out, tagWord{otherWord, lower})
		}
	}
	return out
}

func digit(c byte) bool     { return c >= '0' && c <= '9' }
func separates(c byte) bool { return c == '.' || c == '-' || c == '_' || c == '+' }
