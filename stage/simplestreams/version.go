package simplestreams

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// dated reports whether the first eight characters of a name are a date. Clients
// skip versions with other names (Incus, shared/simplestreams/products.go, ToAPI).
func dated(name string) bool {
	if len(name) < 8 || strings.IndexFunc(name[:8], func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
		return false
	}
	month, day := time.Month(number(name[4:6])), number(name[6:8])
	date := time.Date(number(name[:4]), month, day, 0, 0, 0, 0, time.UTC)
	return date.Month() == month && date.Day() == day
}

// versionTime returns the time in the name of a version, in UTC. Everything that
// needs such a time uses this function, for example stage list and prune. ok is
// false, and the time zero, for a name without a time.
//
// A time of day may follow the day, YYYYMMDD:
//
//	20260102                        00:00 of that day, as in clients
//	20260102_15:04  20260102_15:04:05
//	20260102_1504   20260102_150405, and T for the _
//	2026010215      202601021504      20260102150405
//
// and any suffix that does not start with a digit (20260102.1, 20260102-1654
// of Debian's build numbers, 20260102_15:04-rc1). A name has no time, even if
// clients list the version, if the day or the time of day does not exist, if the
// year is before 1970, or if the digits are something else (a Unix time, a counter
// without a separator).
func versionTime(name string) (t time.Time, ok bool) {
	day, rest := digits(name)
	clock := ""
	switch len(day) {
	case 8:
		clock, rest = separated(rest)
	case 10, 12, 14:
		day, clock = day[:8], day[8:]
	default:
		return time.Time{}, false
	}
	if rest != "" && (rest[0] == ':' || rest[0] >= '0' && rest[0] <= '9') {
		return time.Time{}, false
	}
	// Check the day: time.Date turns 30 February into a day in March.
	year, month, mday := number(day[:4]), time.Month(number(day[4:6])), number(day[6:])
	date := time.Date(year, month, mday, 0, 0, 0, 0, time.UTC)
	if year < 1970 || date.Month() != month || date.Day() != mday {
		return time.Time{}, false
	}
	var parts [3]int // of the time of day
	for i := range len(clock) / 2 {
		parts[i] = number(clock[2*i : 2*i+2])
	}
	if parts[0] > 23 || parts[1] > 59 || parts[2] > 59 {
		return time.Time{}, false
	}
	return time.Date(year, month, mday, parts[0], parts[1], parts[2], 0, time.UTC), true
}

// separated cuts a time of day with its separator from the front of s. clock is
// its four or six digits, or "". If s has no valid time of day, all of it is in
// rest. But if a colon shows that a time of day was meant, rest starts after the
// separator, so that versionTime rejects the name.
func separated(s string) (clock, rest string) {
	if s == "" || s[0] != '_' && s[0] != 'T' {
		return "", s
	}
	hour, after := digits(s[1:])
	if !strings.HasPrefix(after, ":") {
		if len(hour) == 4 || len(hour) == 6 {
			return hour, after
		}
		return "", s // a counter: 20260102_1
	}
	minute, after := digits(after[1:])
	if len(hour) != 2 || len(minute) != 2 {
		return "", s[1:]
	}
	if !strings.HasPrefix(after, ":") {
		return hour + minute, after
	}
	second, rest := digits(after[1:])
	if len(second) != 2 {
		return "", s[1:]
	}
	return hour + minute + second, rest
}

// digits splits s after the ASCII digits at its front.
func digits(s string) (front, rest string) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}

// number returns the value of a few ASCII digits.
func number(s string) (n int) {
	for i := range len(s) {
		n = n*10 + int(s[i]-'0')
	}
	return n
}

// compareAsNumbers orders version names as people read them: it compares digits
// as numbers, recognizes a date and the time of day after it, and ignores
// separators. It is a total order.
func compareAsNumbers(a, b string) int {
	x, y := words{rest: a, first: true}, words{rest: b, first: true}
	for {
		v, more := x.next()
		w, other := y.next()
		switch {
		case !more && !other:
			return strings.Compare(a, b)
		case !more:
			return -1
		case !other:
			return 1
		}
		if c := compareWords(v, w); c != 0 {
			return c
		}
	}
}

// compareWords orders numbers by value, other words as text, and numbers first.
func compareWords(v, w string) int {
	number := [2]bool{isDigit(v[0]), isDigit(w[0])}
	switch {
	case number[0] && number[1]:
		v, w = strings.TrimLeft(v, "0"), strings.TrimLeft(w, "0")
		return cmp.Or(cmp.Compare(len(v), len(w)), strings.Compare(v, w))
	case number[0]:
		return -1
	case number[1]:
		return 1
	}
	return strings.Compare(v, w)
}

// words splits the name of a version into numbers and other words.
type words struct {
	rest         string
	first, clock bool   // the next word is the first one; the next word may be a time of day
	glued        bool   // the time of day follows the date without a separator
	pairs        string // remaining digits of a time of day, two for each word
}

func (w *words) next() (word string, ok bool) {
	if w.pairs != "" {
		word, w.pairs = w.pairs[:2], w.pairs[2:]
		return word, true
	}
	first := w.first
	w.first = false
	if first && dated(w.rest) {
		word, w.rest = w.rest[:8], w.rest[8:]
		w.clock, w.glued = true, w.rest != "" && isDigit(w.rest[0])
		return word, true
	}
	clock := w.clock
	w.clock = false
	if clock && len(w.rest) > 1 && w.rest[0] == 'T' && isDigit(w.rest[1]) {
		w.rest = w.rest[1:]
	}
	separator := w.rest
	w.rest = strings.TrimLeftFunc(w.rest, func(r rune) bool {
		return r < 0x80 && !isDigit(byte(r)) && !isLetter(byte(r))
	})
	separator = separator[:len(separator)-len(w.rest)]
	if w.rest == "" {
		return "", false
	}
	n := 1
	for n < len(w.rest) && isDigit(w.rest[n]) == isDigit(w.rest[0]) && (isDigit(w.rest[n]) || isLetter(w.rest[n])) {
		n++
	}
	word, w.rest = w.rest[:n], w.rest[n:]
	if clock && isDigit(word[0]) && (n == 4 || n == 6) && (w.glued || separator == "" || separator == "_") {
		w.pairs = word[2:]
		return word[:2], true
	}
	return word, true
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80 }

// ascending reports whether names that are sorted as text are also sorted as
// numbers. If not, at is the index of the first name that is lower, as a number,
// than the one before it.
func ascending(names []string) (at int, ok bool) {
	for i := 1; i < len(names); i++ {
		if !sameShape(names[i-1], names[i]) && compareAsNumbers(names[i-1], names[i]) > 0 {
			return i, false
		}
	}
	return 0, true
}

// sameShape reports whether two names differ only in single digits. Then their
// order as text is the same as their order as numbers.
func sameShape(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && !(isDigit(a[i]) && isDigit(b[i])) {
			return false
		}
	}
	return true
}

// rank sets the rank of each version in its product, in the order of
// compareAsNumbers. The versions are sorted by product and name.
func rank(versions []catalog.Version) {
	for len(versions) > 0 {
		n := 1
		for n < len(versions) && versions[n].Product == versions[0].Product {
			n++
		}
		rankNames(versions[:n])
		versions = versions[n:]
	}
}

// rankNames is rank for one product. Two catalogs may have the same version; both
// get the same rank.
func rankNames(versions []catalog.Version) {
	names := make([]string, 0, len(versions))
	for i := range versions {
		if i == 0 || versions[i].Name != versions[i-1].Name {
			names = append(names, versions[i].Name)
		}
		versions[i].Rank = len(names) - 1
	}
	if _, ok := ascending(names); ok {
		return
	}
	at := make(map[string]int, len(names))
	slices.SortFunc(names, compareAsNumbers)
	for i, name := range names {
		at[name] = i
	}
	for i := range versions {
		versions[i].Rank = at[versions[i].Name]
	}
}
