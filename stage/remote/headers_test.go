package remote

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func FuzzHeaders(f *testing.F) {
	f.Add("120", "", "0;w=21600", "bytes 1-2/3")
	f.Add("Fri, 27 Nov 2026 09:29:24 GMT", "Fri, 27 Nov 2026 09:29:00 GMT", "100;w=60", "bytes */3")
	f.Add("99999999999999999999", "x", "0;w=0", "bytes 3-2/9")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, after, date, rate, span string) {
		h := http.Header{"Retry-After": {after}, "Date": {date}, "Ratelimit-Remaining": {rate}}
		if until, ok := retryAfter(h, now); ok && (until.Before(now) || until.After(now.Add(maxWait))) {
			t.Errorf("%q %q: until %v", after, date, until)
		}
		if w, ok := rateWindow(h); ok && (w <= 0 || w > maxWait) {
			t.Errorf("%q: %v", rate, w)
		}
		first, last, total, ok := ContentRange(span)
		if ok && (first < 0 || last < first || total >= 0 && last >= total) {
			t.Errorf("%q: %d-%d/%d", span, first, last, total)
		}
		if text := Clean("https://me:password@host/x " + after); strings.HasPrefix(text, "https://me") {
			t.Errorf("%q", text)
		}
	})
}

func TestHeaders(t *testing.T) {
	for text, want := range map[string][3]int64{
		"bytes 0-9/10": {0, 9, 10}, " bytes  5-9/*": {5, 9, -1}, "bytes 5-10/10": {}, "bytes 9-5/10": {}, "bytes */10": {},
		"bytes=0-9/10": {}, "": {}, "bytes -5-9/10": {}, "bytes 99999999999999999999-99999999999999999999/*": {},
	} {
		first, last, total, ok := ContentRange(text)
		if got := [3]int64{first, last, total}; got != want || ok != (want != [3]int64{}) {
			t.Errorf("%q: %v %v", text, got, ok)
		}
	}
	for text, want := range map[string]string{
		`Get "https://me:pw@x.example.com/y?sig=1": no`: `Get "https://x.example.com/y": no`,
		"proxy socks5://me:pw@h:1 and http://a/b#c d":   "proxy socks5://h:1 and http://a/b d",
		"nothing": "nothing",
	} {
		if got := Clean(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// A part that is not the one that was asked for is not used.
func TestPlaced(t *testing.T) {
	const size = 100
	for _, c := range []struct {
		code   int
		span   string
		length int64
		from   int64
		ok     bool
	}{
		{200, "", 100, 0, true}, {200, "", -1, 0, true}, {200, "", 100, 40, true}, {200, "", 99, 0, false},
		{200, "", 101, 0, false}, {206, "bytes 40-99/100", 60, 40, true}, {206, "bytes 40-99/*", -1, 40, true},
		{206, "bytes 40-59/100", 20, 40, true}, {206, "bytes 41-99/100", 59, 40, false},
		{206, "bytes 0-99/100", 100, 40, false}, {206, "bytes 40-99/101", 60, 40, false},
		{206, "bytes 40-100/*", 61, 40, false}, {206, "bytes 40-99/100", 61, 40, false}, {206, "", 60, 40, false},
		{416, "bytes */100", 0, 40, false},
	} {
		resp := &http.Response{StatusCode: c.code, Status: Status(c.code), ContentLength: c.length,
			Header: http.Header{"Content-Range": {c.span}}}
		first, fact := Placed(resp, c.from, size)
		if want := c.from; (fact == "") != c.ok || c.ok && c.code == 206 && first != want || c.code == 200 && first != 0 {
			t.Errorf("%v: begins with %d: %s", c, first, fact)
		}
	}
}
