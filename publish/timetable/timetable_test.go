package timetable

import (
	"strings"
	"testing"
	"time"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWindow(t *testing.T) {
	for _, c := range []struct{ window, now, next string }{
		{"01:00-07:00 UTC", "2026-03-01T00:59:59Z", "2026-03-01T01:00:00Z"},
		{"01:00-07:00 UTC", "2026-03-01T01:00:00Z", ""},
		{"01:00-07:00 UTC", "2026-03-01T06:59:59Z", ""},
		{"01:00-07:00 UTC", "2026-03-01T07:00:00Z", "2026-03-02T01:00:00Z"},
		{"01:00-07:00 Asia/Shanghai", "2026-03-01T12:00:00Z", "2026-03-01T17:00:00Z"},
		{"01:00-07:00 Asia/Shanghai", "2026-03-01T22:30:00Z", ""},
		{"22:00-06:00 UTC", "2026-12-31T23:30:00Z", ""}, // over midnight
		{"22:00-06:00 UTC", "2026-12-31T05:59:00Z", ""},
		{"22:00-06:00 UTC", "2026-12-31T06:00:00Z", "2026-12-31T22:00:00Z"},
		{"22:00-24:00 UTC", "2026-12-31T23:59:59Z", ""},
		{"22:00-24:00 UTC", "2027-01-01T00:00:00Z", "2027-01-01T22:00:00Z"},
		{"00:00-01:00 UTC", "2026-03-01T01:00:00Z", "2026-03-02T00:00:00Z"},
		// In spring Berlin has no 02:00 to 03:00: 01:59:59 is followed by 03:00.
		{"02:00-03:00 Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-30T00:00:00Z"},
		{"02:30-04:00 Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"},
		{"02:30-04:00 Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		// In autumn it has that hour twice.
		{"02:00-02:30 Europe/Berlin", "2026-10-24T23:59:00Z", "2026-10-25T00:00:00Z"},
		{"02:00-02:30 Europe/Berlin", "2026-10-25T00:15:00Z", ""},
		{"02:00-02:30 Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z"},
		{"02:00-02:30 Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-26T01:00:00Z"},
		{"01:00-07:00 Europe/Berlin", "2026-10-25T04:00:00Z", ""},
		{"01:00-07:00 Europe/Berlin", "2026-10-25T06:00:00Z", "2026-10-26T00:00:00Z"},
		// Midnight is skipped in Beirut; a whole day was in Samoa.
		{"00:00-00:30 Asia/Beirut", "2024-03-30T21:59:00Z", "2024-03-31T21:00:00Z"},
		{"00:30-02:00 Pacific/Apia", "2011-12-30T09:59:00Z", "2011-12-30T10:30:00Z"},
	} {
		w, err := ParseWindow(c.window)
		if err != nil {
			t.Fatal(err)
		}
		now := at(t, c.now)
		want := now
		if c.next != "" {
			want = at(t, c.next)
		}
		if w.Open(now) != (c.next == "") || !w.Next(now).Equal(want) {
			t.Errorf("%s at %s: open %t, next %s, want %s", c.window, c.now, w.Open(now),
				w.Next(now).UTC().Format(time.RFC3339), want.Format(time.RFC3339))
		}
		if again, err := ParseWindow(w.String()); err != nil || again.String() != w.String() {
			t.Errorf("%s is written %s: %v", c.window, w, err)
		}
	}
}

func TestWindowRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "is no window",
		"01:00-07:00":               "has no time zone: write it as 01:00-07:00 UTC",
		"01:00-01:00 UTC":           "begins and ends at the same time",
		"00:00-24:00 UTC":           "begins and ends at the same time",
		"24:00-01:00 UTC":           "is no window",
		"1:00-07:00 UTC":            "is no window",
		"01:00-07:60 UTC":           "is no window",
		"01:00-25:00 UTC":           "is no window",
		"01:00-24:01 UTC":           "is no window",
		"+1:00-07:00 UTC":           "is no window",
		"01:00-07:00 Nowhere/City":  "is no time zone",
		"01:00-07:00 Local":         "names no time zone",
		"01:00-07:00 ../etc/passwd": "is no time zone",
		"01:00 - 07:00 UTC":         "is no window",
	} {
		if w, err := ParseWindow(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v %v", text, w, err)
		}
	}
}

// Whatever is read as a window opens, and is open when it says so.
func FuzzWindow(f *testing.F) {
	for _, text := range []string{"01:00-07:00 Asia/Shanghai", "22:00-24:00 UTC", "02:00-03:00 Europe/Berlin",
		"23:59-00:00 Pacific/Apia", "01:00-07:00", "00:00-00:01 America/Sao_Paulo"} {
		f.Add(text, int64(1767268800))
	}
	f.Fuzz(func(t *testing.T, text string, now int64) {
		w, err := ParseWindow(text)
		if err != nil {
			return
		}
		again, err := ParseWindow(w.String())
		if err != nil || again.from != w.from || again.to != w.to {
			t.Fatalf("%q is written %q: %v", text, w, err)
		}
		const years = 200 * 366 * 24 * 3600
		from := time.Unix(now%years, 0)
		next := w.Next(from)
		if !w.Open(next) || next.Before(from) || w.Open(from) != next.Equal(from) {
			t.Fatalf("%s at %s: next %s", w, from.UTC(), next.UTC())
		}
		if next.Sub(from) > 3*day || next.After(from) && w.Open(next.Add(-1)) {
			t.Fatalf("%s at %s: next %s is late", w, from.UTC(), next.UTC())
		}
	})
}
