package timetable

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRule(t *testing.T) {
	for _, c := range []struct {
		rule, zone, now string
		next            []string
	}{
		{"30 3 * * *", "UTC", "2026-03-01T03:30:00Z", []string{"2026-03-02T03:30:00Z", "2026-03-03T03:30:00Z"}},
		{"30 3 * * *", "UTC", "2026-03-01T03:29:59Z", []string{"2026-03-01T03:30:00Z"}},
		{"30 3 * * *", "Asia/Shanghai", "2026-03-01T12:00:00Z", []string{"2026-03-01T19:30:00Z"}},
		{"*/20 * * * *", "UTC", "2026-03-01T03:30:00Z", []string{"2026-03-01T03:40:00Z", "2026-03-01T04:00:00Z"}},
		{"0 0 * * 7", "UTC", "2026-03-01T00:00:00Z", []string{"2026-03-08T00:00:00Z"}}, // Sunday
		{"0 0 * * SUN", "UTC", "2026-03-01T00:00:00Z", []string{"2026-03-08T00:00:00Z"}},
		{"0 0 1 jan *", "UTC", "2026-03-01T00:00:00Z", []string{"2027-01-01T00:00:00Z"}},
		// Day or weekday: 2026-03-13 is a Friday.
		{"0 0 15 * 5", "UTC", "2026-03-12T00:00:00Z",
			[]string{"2026-03-13T00:00:00Z", "2026-03-15T00:00:00Z", "2026-03-20T00:00:00Z"}},
		{"0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", []string{"2104-02-29T00:00:00Z"}},
		// A time that Berlin skips in spring, and those beside it.
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-30T00:30:00Z"}},
		{"30 1,2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z",
			[]string{"2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T23:30:00Z"}},
		// One that comes twice in autumn counts once.
		{"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"30 2 * * *", "Europe/Berlin", "2026-10-25T01:15:00Z", []string{"2026-10-26T01:30:00Z"}},
		{"0 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", []string{"2026-10-25T02:00:00Z"}},
		// Midnight that is skipped, and a whole day.
		{"0 0 * * *", "Asia/Beirut", "2024-03-30T12:00:00Z", []string{"2024-03-31T21:00:00Z"}},
		{"0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", []string{"2018-11-05T02:00:00Z"}},
		{"* * 30 * *", "Pacific/Apia", "2011-12-02T00:00:00Z", []string{"2012-01-29T10:00:00Z"}},
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"2026-10-04T15:15:00Z"}},
	} {
		r, err := ParseRule(c.rule, c.zone)
		if err != nil {
			t.Error(err)
			continue
		}
		now := at(t, c.now)
		for _, want := range c.next {
			next, ok := r.Next(now)
			if !ok || !next.Equal(at(t, want)) {
				t.Errorf("%s %s after %s: %s %t, want %s", c.rule, c.zone, now, next.UTC(), ok, want)
				break
			}
			now = next
		}
	}
}

func TestRuleRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "is no rule of cron",
		"@daily":                  "is no rule of cron",
		"0 0 * *":                 "is no rule of cron",
		"0 0 0 * * *":             "is no rule of cron",
		"0 0 * * * 2027":          "is no rule of cron",
		"60 0 * * *":              `the minute "60" is not from 0 to 59`,
		"5,60 0 * * *":            `the minute "60"`,
		"0 24 * * *":              `the hour "24"`,
		"0 0 0 * *":               `the day "0"`,
		"0 0 L * *":               `the day "l"`,
		"0 0 15W * *":             `the day "15w"`,
		"0 0 * 13 *":              `the month "13"`,
		"0 0 * ANF *":             `the month "anf"`,
		"0 0 * * 8":               `the weekday "8"`,
		"0 0 * * 5#2":             `the weekday "5#2"`,
		"0 0 ? * *":               `the day "?"`,
		"0 22-2 * * *":            `the hour "22-2"`,
		"5/10 * * * *":            `the minute "5/10"`,
		"*/0 * * * *":             `the minute "*/0"`,
		"*/ * * * *":              `the minute "*/"`,
		", * * * *":               `the minute ""`,
		"-1 * * * *":              `the minute "-1"`,
		"0 0 31 2 *":              "never fires",
		"0 0 31 2,4,6,9,11 *":     "never fires",
		"0 0 30-31 feb *":         "never fires",
		strings.Repeat("0,", 200): "is no rule of cron",
	} {
		if r, err := ParseRule(text, "UTC"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v %v", text, r, err)
		}
	}
	for _, zone := range []string{"", "Local", "Nowhere", "../../etc/passwd"} {
		if _, err := ParseRule("0 0 * * *", zone); err == nil {
			t.Errorf("the zone %q is accepted", zone)
		}
	}
}

// fires is whether a rule of numbers, lists and * fires at a time of the wall clock.
func fires(rule string, t time.Time) bool {
	parts := strings.Fields(rule)
	has := func(i, value int) bool {
		for p := range strings.SplitSeq(parts[i], ",") {
			if n, _ := fields[i].number(p); p == "*" || n == value || i == 4 && n == 7 && value == 0 {
				return true
			}
		}
		return false
	}
	date := has(2, t.Day()) && has(4, int(t.Weekday()))
	if parts[2] != "*" && parts[4] != "*" {
		date = has(2, t.Day()) || has(4, int(t.Weekday()))
	}
	return has(0, t.Minute()) && has(1, t.Hour()) && has(3, int(t.Month())) && date
}

// Next agrees with a walk over all minutes, also where the wall clock is set.
func TestRuleWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := func(values ...string) string {
			some := rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, 2, rapid.ID[string]).Draw(t, "values")
			if slices.Contains(some, "*") {
				return "*"
			}
			return strings.Join(some, ",")
		}
		text := strings.Join([]string{list("*", "0", "30", "15", "59"), list("*", "0", "1", "2", "3", "23"),
			list("*", "*", "25", "29", "30"), list("*", "*", "3", "10"), list("*", "*", "0", "7", "1")}, " ")
		zone := rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Asia/Beirut", "Australia/Lord_Howe"}).Draw(t, "zone")
		r, err := ParseRule(text, zone)
		if err != nil {
			t.Fatal(err)
		}
		begin := rapid.SampledFrom([]string{"2026-03-27T20:00:00Z", "2026-10-24T20:00:00Z", "2026-10-02T12:00:00Z",
			"2026-04-03T12:00:00Z"}).Draw(t, "begin")
		now, _ := time.Parse(time.RFC3339, begin)
		now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "minutes")) * time.Minute)
		seen := map[string]bool{}
		const shown = "2006-01-02 15:04"
		for m := now.Add(-25 * time.Hour); !m.After(now); m = m.Add(time.Minute) {
			seen[m.In(r.zone).Format(shown)] = true // a second time does not count
		}
		const days = 4
		want := time.Time{}
		for m := now.Add(time.Minute); m.Before(now.Add(days * day)); m = m.Add(time.Minute) {
			local := m.In(r.zone)
			if !seen[local.Format(shown)] && fires(text, local) {
				want = m
				break
			}
			seen[local.Format(shown)] = true
		}
		next, ok := r.Next(now)
		if !ok || want.IsZero() && next.Before(now.Add(days*day)) || !want.IsZero() && !next.Equal(want) {
			t.Fatalf("%s %s after %s: %s %t, want %s", text, zone, now, next.UTC(), ok, want)
		}
	})
}

// Whatever is read as a rule fires, in order, and soon enough to be found quickly.
func FuzzRule(f *testing.F) {
	for _, text := range []string{"30 3 * * 1-5", "*/15 0 1,15 * sun", "0 0 29 2 *", "@daily", "1-10/2 * * JAN 7"} {
		f.Add(text, int64(1767268800))
	}
	f.Fuzz(func(t *testing.T, text string, now int64) {
		r, err := ParseRule(text, "Europe/Berlin")
		if err != nil {
			return
		}
		const years = 200 * 366 * 24 * 3600
		from := time.Unix(now%years, 0)
		for range 3 {
			next, ok := r.Next(from)
			if !ok || !next.After(from) || next.Second() != 0 {
				t.Fatalf("%q after %s: %s %t", text, from.UTC(), next.UTC(), ok)
			}
			from = next
		}
	})
}
