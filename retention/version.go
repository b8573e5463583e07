package retention

import (
	"strings"
	"time"
)

// VersionTime returns the time that a version's name tells, in UTC. ok is false,
// and the time zero, for a name that tells none: it is to be kept, since its
// age is not known.
//
// A name starts with a day, YYYYMMDD, or clients skip it (Incus,
// shared/simplestreams/products.go, ToAPI). A time of day may follow:
//
//	20260102                        00:00 of that day, as clients have it
//	20260102_15:04  20260102_15:04:05
//	20260102_1504   20260102_150405, and T for the _
//	2026010215      202601021504      20260102150405
//
// and any suffix that does not start with a digit (20260102.1, 20260102-1654
// of Debian's build numbers, 20260102_15:04-rc1). A day or a time of day that
// does not exist, a year before 1970, and digits that are neither (a Unix time,
// a counter without a separator) tell no time.
func VersionTime(name string) (t time.Time, ok bool) {
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
	// A day is checked by making it: 30 February would come out as March.
	date := time.Date(number(day[:4]), time.Month(number(day[4:6])), number(day[6:]), 0, 0, 0, 0, time.UTC)
	if date.Year() < 1970 || date.Format("20060102") != day {
		return time.Time{}, false
	}
	clock += "000000"[len(clock):]
	hour, minute, second := number(clock[:2]), number(clock[2:4]), number(clock[4:])
	if hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	return date.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second), true
}

// separated takes a time of day with its separator from the front of s, as
// four or six digits, or none. What merely looks like one is left in rest,
// without the separator when a colon shows that a time of day was meant.
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

// number is the value of a few ASCII digits.
func number(s string) (n int) {
	for i := range len(s) {
		n = n*10 + int(s[i]-'0')
	}
	return n
}
