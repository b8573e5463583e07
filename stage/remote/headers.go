package remote

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxWait bounds what a server may ask for: a longer time is a mistake of it.
const maxWait = 7 * 24 * time.Hour

// retryAfter reads the header of that name: seconds, or a date. A clock that differs from the
// server's must not make us early: of the date as it stands, and the time that it is away from
// the server's own Date, the later counts. A clock that is off by a day is not reckoned with.
func retryAfter(h http.Header, now time.Time) (until time.Time, ok bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	latest := now.Add(maxWait)
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil || isDigits(text) {
		if err != nil || seconds > uint64(maxWait/time.Second) {
			return latest, true
		}
		return now.Add(time.Duration(seconds) * time.Second), true
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return time.Time{}, false
	}
	const off = 24 * time.Hour
	if at, err := http.ParseTime(h.Get("Date")); err == nil && now.Sub(at).Abs() < off {
		if there := now.Add(until.Sub(at)); there.After(until) {
			until = there
		}
	}
	switch {
	case until.Before(now):
		until = now
	case until.After(latest):
		until = latest
	}
	return until, true
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// rateWindow reads what Docker Hub says of its limit: ratelimit-remaining: 0;w=21600 is none
// left of those in six hours.
func rateWindow(h http.Header) (time.Duration, bool) {
	left, rest, _ := strings.Cut(h.Get("ratelimit-remaining"), ";")
	if strings.TrimSpace(left) != "0" {
		return 0, false
	}
	for part := range strings.SplitSeq(rest, ";") {
		text, ok := strings.CutPrefix(strings.TrimSpace(part), "w=")
		seconds, err := strconv.ParseUint(text, 10, 32)
		if ok && err == nil && seconds > 0 {
			return min(time.Duration(seconds)*time.Second, maxWait), true
		}
	}
	return 0, false
}

// ContentRange reads the header of that name: bytes FIRST-LAST/TOTAL. total is -1 if the
// server does not know it.
func ContentRange(text string) (first, last, total int64, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "bytes ")
	span, size, ok2 := strings.Cut(strings.TrimSpace(rest), "/")
	from, to, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 || !isDigits(from) || !isDigits(to) || size != "*" && !isDigits(size) {
		return 0, 0, 0, false
	}
	first, err := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	total, err3 := int64(-1), error(nil)
	if size != "*" {
		total, err3 = strconv.ParseInt(size, 10, 64)
	}
	if err != nil || err2 != nil || err3 != nil || first > last || total >= 0 && last >= total {
		return 0, 0, 0, false
	}
	return first, last, total, true
}
