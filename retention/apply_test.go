package retention

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const product = "debian:12:default:amd64"

// at reads a time of the tests: RFC 3339, or a day.
func at(s string) time.Time {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	panic(s)
}

// timeOf returns the time in a name of the tests; zero if there is none.
func timeOf(name string) time.Time {
	name, _, _ = strings.Cut(name, ".")
	for _, layout := range []string{"20060102", "20060102_15:04", "200601021504"} {
		if t, err := time.Parse(layout, name); err == nil {
			return t
		}
	}
	return time.Time{}
}

// items makes complete versions of one product. A name may be followed by
// words: incomplete, skipped, rank=N, expires=TIME, eol=DAY.
func items(product string, lines ...string) []Item {
	var out []Item
	for _, line := range lines {
		words := strings.Fields(line)
		item := Item{Product: product, Version: words[0], Complete: true, Bytes: 10}
		item.Time = timeOf(words[0])
		for _, w := range words[1:] {
			key, value, _ := strings.Cut(w, "=")
			switch key {
			case "incomplete":
				item.Complete = false
			case "skipped":
				item.Skipped = true
			case "rank":
				item.Rank, _ = strconv.Atoi(value)
			case "expires":
				item.Expires = at(value)
			case "eol":
				item.SupportEOL = at(value)
			default:
				panic(w)
			}
		}
		out = append(out, item)
	}
	return out
}

// report writes a result in lines: + or -, version, reasons.
func report(r Result) []string {
	var out []string
	line := func(sign string, d Decision) {
		where := d.Version
		if d.Product != product {
			where = d.Product + " " + where
		}
		out = append(out, sign+" "+where+": "+strings.Join(d.Reasons, "; "))
	}
	for _, d := range r.Keep {
		line("+", d)
	}
	for _, d := range r.Remove {
		line("-", d)
	}
	for _, u := range r.Unmatched {
		out = append(out, fmt.Sprintf("? %d %s shadowed=%t", u.Rule, u.Match, u.Shadowed))
	}
	last := ""
	for _, d := range r.Remove {
		kept := slices.ContainsFunc(r.Keep, func(k Decision) bool { return k.Product == d.Product })
		if !kept && d.Product != last {
			out = append(out, "! "+d.Product)
		}
		last = d.Product
	}
	return out
}

var goldens = []struct {
	name  string
	now   string
	rules []Rule
	items []Item
	want  []string
}{{
	name:  "no rules keep all",
	now:   "2026-01-10",
	items: items(product, "20250101", "20240101"),
	want:  []string{"+ 20250101: no rule", "+ 20240101: no rule"},
}, {
	name:  "keep_last",
	now:   "2026-01-10",
	rules: []Rule{{Match: "debian:*", KeepLast: 2}},
	items: items(product, "20260101_10:00", "20260103_10:00", "20260102_10:00", "20260102_09:00"),
	want: []string{
		"+ 20260103_10:00: last 2",
		"+ 20260102_10:00: last 2",
		"- 20260102_09:00: not kept by rule 1 (debian:*)",
		"- 20260101_10:00: not kept by rule 1 (debian:*)",
	},
}, {
	name: "union of keeps, a reason for each",
	now:  "2026-01-10T12:00:00Z",
	rules: []Rule{{Match: "*", KeepLast: 1, KeepWithin: 7 * 24 * time.Hour, KeepDaily: 2, KeepWeekly: 2,
		KeepMonthly: 3}},
	items: items(product, "20260110_08:00", "20260110_07:00", "20260109_23:59", "20260103_12:00", "20260103_11:59",
		"20251228_12:00", "20251130_12:00", "20251129_12:00", "20251031_12:00"),
	want: []string{
		"+ 20260110_08:00: last 1; within 7d; daily 2026-01-10; weekly 2026-W02; monthly 2026-01",
		"+ 20260110_07:00: within 7d",
		"+ 20260109_23:59: within 7d; daily 2026-01-09",
		"+ 20260103_12:00: within 7d; weekly 2026-W01",
		"+ 20251228_12:00: monthly 2025-12",
		"+ 20251130_12:00: monthly 2025-11",
		"- 20260103_11:59: not kept by rule 1 (*)",
		"- 20251129_12:00: not kept by rule 1 (*)",
		"- 20251031_12:00: not kept by rule 1 (*)",
	},
}, {
	name:  "ISO weeks at the ends of years: 53 weeks, and a January that belongs to the year before",
	now:   "2021-01-20",
	rules: []Rule{{Match: "*", KeepWeekly: 4}},
	items: items(product, "20210104_00:00", "20210103_23:59", "20210101_00:00", "20201228_00:00", "20201227_23:59",
		"20191230_00:00", "20191229_23:59"),
	want: []string{
		"+ 20210104_00:00: weekly 2021-W01",
		"+ 20210103_23:59: weekly 2020-W53",
		"+ 20201227_23:59: weekly 2020-W52",
		"+ 20191230_00:00: weekly 2020-W01",
		"- 20210101_00:00: not kept by rule 1 (*)",
		"- 20201228_00:00: not kept by rule 1 (*)",
		"- 20191229_23:59: not kept by rule 1 (*)",
	},
}, {
	name:  "leap day, and days and months that end at midnight UTC",
	now:   "2024-03-10",
	rules: []Rule{{Match: "*", KeepDaily: 3, KeepMonthly: 2}},
	items: items(product, "20240301_00:00", "20240229_23:59", "20240229_00:00", "20240228_23:59", "20240131_23:59"),
	want: []string{
		"+ 20240301_00:00: daily 2024-03-01; monthly 2024-03",
		"+ 20240229_23:59: daily 2024-02-29; monthly 2024-02",
		"+ 20240228_23:59: daily 2024-02-28",
		"- 20240229_00:00: not kept by rule 1 (*)",
		"- 20240131_23:59: not kept by rule 1 (*)",
	},
}, {
	name:  "where clocks change, a day still has 24 hours: 2026-03-29 in Europe",
	now:   "2026-03-30T00:30:00+02:00", // 22:30 UTC of the 29th
	rules: []Rule{{Match: "*", KeepWithin: 24 * time.Hour, MinVersions: new(0)}},
	items: items(product, "20260329_22:30", "20260328_22:30", "20260328_22:29"),
	want: []string{
		"+ 20260329_22:30: within 1d",
		"+ 20260328_22:30: within 1d",
		"- 20260328_22:29: not kept by rule 1 (*)",
	},
}, {
	name:  "days without versions do not count, the future does",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepDaily: 2, KeepWithin: 36 * time.Hour}},
	items: items(product, "20990101", "20260101", "20250601"),
	want: []string{
		"+ 20990101: within 36h; daily 2099-01-01",
		"+ 20260101: daily 2026-01-01",
		"- 20250601: not kept by rule 1 (*)",
	},
}, {
	name:  "min_versions is 1 where it is not written",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepWithin: 30 * 24 * time.Hour}},
	items: items(product, "20240102", "20240101"),
	want:  []string{"+ 20240102: min_versions 1", "- 20240101: not kept by rule 1 (*)"},
}, {
	name:  "only a written min_versions: 0 empties a product",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepWithin: 30 * 24 * time.Hour, MinVersions: new(0)}},
	items: items(product, "20240102", "20240101"),
	want: []string{
		"- 20240102: not kept by rule 1 (*)",
		"- 20240101: not kept by rule 1 (*)",
		"! " + product,
	},
}, {
	name:  "min_versions are the newest, whatever the keeps picked",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepMonthly: 2, MinVersions: new(2)}},
	items: items(product, "20260103", "20260102", "20260101", "20251201"),
	want: []string{
		"+ 20260103: monthly 2026-01",
		"+ 20260102: min_versions 2",
		"+ 20251201: monthly 2025-12",
		"- 20260101: not kept by rule 1 (*)",
	},
}, {
	name:  "incomplete and undated versions stay and never count",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepLast: 1, KeepDaily: 1, MinVersions: new(2)}},
	items: items(product, "20260104 incomplete", "20260103", "20260102 incomplete", "20260101", "20251231", "latest",
		"20261301", "x incomplete"),
	want: []string{
		"+ x: incomplete: never counts as kept; no date in its name: never counts as kept",
		"+ latest: no date in its name: never counts as kept",
		"+ 20261301: no date in its name: never counts as kept",
		"+ 20260104: incomplete: never counts as kept",
		"+ 20260103: last 1; daily 2026-01-03",
		"+ 20260102: incomplete: never counts as kept",
		"+ 20260101: min_versions 2",
		"- 20251231: not kept by rule 1 (*)",
	},
}, {
	name:  "mixed name styles: the newest is the one that clients take",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepLast: 1, KeepDaily: 2}},
	items: items(product, "202601022300", "20260102_08:00", "202601012300", "20260101"),
	want: []string{
		"+ 20260102_08:00: last 1; daily 2026-01-02",
		"+ 202601012300: daily 2026-01-01",
		"- 202601022300: not kept by rule 1 (*)",
		"- 20260101: not kept by rule 1 (*)",
	},
}, {
	name:  "either order: as numbers, 20260101.10 is newer than 20260101.9",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepLast: 1, KeepDaily: 1}},
	items: items(product, "20260101.8 rank=0", "20260101.9 rank=1", "20260101.10 rank=2"),
	want: []string{
		"+ 20260101.9: last 1; daily 2026-01-01",
		"+ 20260101.10: last 1, in the order of numbers; daily 2026-01-01, in the order of numbers",
		"- 20260101.8: not kept by rule 1 (*)",
	},
}, {
	name:  "either order: the floor",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepWithin: 24 * time.Hour}},
	items: items(product, "20260101.8 rank=0", "20260101.9 rank=1", "20260101.10 rank=2"),
	want: []string{
		"+ 20260101.9: min_versions 1",
		"+ 20260101.10: min_versions 1, in the order of numbers",
		"- 20260101.8: not kept by rule 1 (*)",
	},
}, {
	name:  "half builds take no place, and are not incomplete for ever",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepLast: 2}},
	items: items(product, "20260106 skipped", "20260105 skipped incomplete", "20260104 skipped", "20260103",
		"20260102 skipped", "20260101"),
	want: []string{
		"+ 20260106: last 2",
		"+ 20260105: last 2",
		"+ 20260103: last 2",
		"+ 20260101: last 2",
		"- 20260104: clients skip it; not kept by rule 1 (*)",
		"- 20260102: clients skip it; not kept by rule 1 (*)",
	},
}, {
	name:  "a product that clients skip is kept and removed like any other",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepDaily: 1, KeepWithin: 8 * 24 * time.Hour}},
	items: items(product, "20260103 skipped", "20260102 skipped", "20260101 skipped"),
	want: []string{
		"+ 20260103: within 8d; daily 2026-01-03",
		"+ 20260102: within 8d",
		"- 20260101: clients skip it; not kept by rule 1 (*)",
	},
}, {
	name:  "skipped and undated: by the order of names only, and behind whatever has a date",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepLast: 1, KeepWithin: 365 * 24 * time.Hour}},
	items: items(product, "v2 skipped", "v1 skipped", "20260103", "20250102 skipped", "1.0 skipped"),
	want: []string{
		"+ v2: last 1",
		"+ 20260103: last 1; within 365d",
		"- v1: clients skip it; not kept by rule 1 (*)",
		"- 20250102: clients skip it; not kept by rule 1 (*)",
		"- 1.0: clients skip it; not kept by rule 1 (*)",
	},
}, {
	name:  "skipped and expired",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepLast: 3, RemoveExpired: true}},
	items: items(product, "20260103 skipped eol=2026-01-05", "20260102 skipped eol=2026-01-05"),
	want: []string{
		"+ 20260103: min_versions 1, although support ended 2026-01-05",
		"- 20260102: support ended 2026-01-05; clients skip it; not kept by rule 1 (*)",
	},
}, {
	name: "first match wins; rules of no use are reported",
	now:  "2026-01-10",
	rules: []Rule{{Match: "debian:*", KeepAll: true}, {Match: "debian:11:*", KeepLast: 1},
		{Match: "ubuntu:*", KeepLast: 1}, {Match: "*:arm64", KeepLast: 1}},
	items: append(append(items("debian:11:default:amd64", "20260102", "20260101"), items("ubuntu:24.04:default:arm64",
		"20260102", "20260101")...),
		items("alpine:3.20:default:amd64", "20250101")...),
	want: []string{
		"+ alpine:3.20:default:amd64 20250101: no rule",
		"+ debian:11:default:amd64 20260102: keep: all",
		"+ debian:11:default:amd64 20260101: keep: all",
		"+ ubuntu:24.04:default:arm64 20260102: last 1",
		"- ubuntu:24.04:default:arm64 20260101: not kept by rule 3 (ubuntu:*)",
		"? 2 debian:11:* shadowed=true",
		"? 4 *:arm64 shadowed=true",
	},
}, {
	name:  "an empty tree matches no rule",
	now:   "2026-01-10",
	rules: []Rule{{Match: "debian:*", KeepLast: 1}},
	want:  []string{"? 1 debian:* shadowed=false"},
}, {
	name:  "expired versions are wanted by no keep and take no place",
	now:   "2026-01-10T06:00:00Z",
	rules: []Rule{{Match: "*", KeepLast: 2, RemoveExpired: true}},
	items: items(product, "20260109 expires=2026-01-10T06:00:00Z", "20260108 expires=2026-01-10T06:00:01Z", "20260107",
		"20260106"),
	want: []string{
		"+ 20260108: last 2",
		"+ 20260107: last 2",
		"- 20260109: expired 2026-01-10; not kept by rule 1 (*)",
		"- 20260106: not kept by rule 1 (*)",
	},
}, {
	name:  "keep: all but what has expired; incomplete ones stay",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepAll: true, RemoveExpired: true}},
	items: items(product, "20260109", "20260108 expires=2026-01-01", "20260107 expires=2026-01-01 incomplete",
		"20260106 expires=2027-01-01"),
	want: []string{
		"+ 20260109: keep: all",
		"+ 20260107: incomplete: never counts as kept",
		"+ 20260106: keep: all",
		"- 20260108: expired 2026-01-01; not kept by rule 1 (*)",
	},
}, {
	name:  "min_versions outlives expiry, with what has not expired first",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepWithin: 24 * time.Hour, RemoveExpired: true, MinVersions: new(2)}},
	items: items(product, "20260103 expires=2026-01-05", "20260102 expires=2026-01-04", "20260101"),
	want: []string{
		"+ 20260103: min_versions 2, although expired 2026-01-05",
		"+ 20260101: min_versions 2",
		"- 20260102: expired 2026-01-04; not kept by rule 1 (*)",
	},
}, {
	name:  "a product is supported until its last day ends",
	now:   "2026-01-10T23:59:59Z",
	rules: []Rule{{Match: "*", KeepLast: 1, RemoveExpired: true, MinVersions: new(0)}},
	items: append(items("debian:10:default:amd64", "20260101 eol=2026-01-09"), items("debian:11:default:amd64",
		"20260101 eol=2026-01-10")...),
	want: []string{
		"+ debian:11:default:amd64 20260101: last 1",
		"- debian:10:default:amd64 20260101: support ended 2026-01-09; not kept by rule 1 (*)",
		"! debian:10:default:amd64",
	},
}, {
	name:  "both dates passed, and the floor",
	now:   "2026-01-11",
	rules: []Rule{{Match: "*", KeepLast: 1, RemoveExpired: true}},
	items: items(product, "20260102 eol=2026-01-10 expires=2026-01-05", "20260101 eol=2026-01-10 expires=2026-01-05"),
	want: []string{
		"+ 20260102: min_versions 1, although expired 2026-01-05, although support ended 2026-01-10",
		"- 20260101: expired 2026-01-05; support ended 2026-01-10; not kept by rule 1 (*)",
	},
}, {
	name:  "without expired: remove, the dates are ignored",
	now:   "2026-01-11",
	rules: []Rule{{Match: "*", KeepLast: 1}},
	items: items(product, "20260102 eol=2025-01-10 expires=2025-01-05"),
	want:  []string{"+ 20260102: last 1"},
}, {
	name:  "parts of one version are one version",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepLast: 2, RemoveExpired: true}},
	items: items(product, "20260104 expires=2026-01-05", "20260104", "20260103", "20260103 incomplete", "20260102",
		"20260101 expires=2026-01-05", "20260101 expires=2026-01-06", "20251231", "20251231"),
	want: []string{
		"+ 20260104: last 2",
		"+ 20260103: incomplete: never counts as kept",
		"+ 20260102: last 2",
		"- 20260101: expired 2026-01-06; not kept by rule 1 (*)",
		"- 20251231: not kept by rule 1 (*)",
	},
}, {
	name:  "a policy that Check refuses keeps everything",
	now:   "2026-01-10",
	rules: []Rule{{Match: "*", KeepLast: 1}, {Match: "x", KeepLast: -1}},
	items: items(product, "20260102", "20260101"),
	want:  []string{"+ 20260102: invalid policy", "+ 20260101: invalid policy"},
}}

func TestGolden(t *testing.T) {
	for _, test := range goldens {
		t.Run(test.name, func(t *testing.T) {
			got := report(Apply(test.items, Policy{Rules: test.rules}, at(test.now)))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The parts of the answer that the golden lines leave out.
func TestResult(t *testing.T) {
	in := append(items(product, "20260102", "20260101", "20260101"), items("other", "20260101")...)
	p := Policy{Rules: []Rule{{Match: "none", KeepLast: 1}, {Match: "debian:*", KeepLast: 1}}}
	want := Result{
		Keep: []Decision{
			{Product: product, Version: "20260102", Reasons: []string{"last 1"}, Bytes: 10, Rule: 2},
			{Product: "other", Version: "20260101", Reasons: []string{"no rule"}, Bytes: 10},
		},
		Remove: []Decision{{Product: product, Version: "20260101",
			Reasons: []string{"not kept by rule 2 (debian:*)"}, Bytes: 20, Rule: 2}},
		Unmatched: []Unmatched{{Rule: 1, Match: "none"}},
	}
	if diff := cmp.Diff(want, Apply(in, p, at("2026-01-10"))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	empty := Apply(nil, Policy{}, at("2026-01-10"))
	if diff := cmp.Diff(Result{Keep: []Decision{}, Remove: []Decision{}, Unmatched: []Unmatched{}}, empty); diff != "" {
		t.Errorf("nothing at all, -want +got:\n%s", diff)
	}

	got, err := json.Marshal(want.Remove)
	if err != nil {
		t.Fatal(err)
	}
	line := `[{"product":"debian:12:default:amd64","version":"20260101","reasons":["not kept by rule 2 (debian:*)"],"bytes":20}]`
	if diff := cmp.Diff(line, string(got)); diff != "" {
		t.Errorf("JSON, -want +got:\n%s", diff)
	}
}

// What a caller may do that names do not: times in another zone, and
// parts of one version that do not agree.
func TestOddItems(t *testing.T) {
	east := time.FixedZone("", 14*60*60)
	zoned := Item{Product: product, Version: "20260102", Time: at("2026-01-02T12:00:00Z").In(east), Complete: true,
		Expires: at("2026-01-05T12:00:00Z").In(east), SupportEOL: at("2026-01-05T12:00:00Z").In(east)}
	early := Item{Product: product, Version: "20260101", Time: at("2025-12-31"), Complete: true,
		Expires: at("2026-01-03"), SupportEOL: at("2026-01-03")}
	late := Item{Product: product, Version: "20260101", Time: at("2026-01-01"), Complete: true,
		Expires: at("2026-01-09"), SupportEOL: at("2026-01-09")}
	undated, lasting := late, late
	undated.Time = time.Time{}
	lasting.Expires, lasting.SupportEOL = time.Time{}, time.Time{}
	daily := Rule{Match: "*", KeepDaily: 9, RemoveExpired: true, MinVersions: new(0)}
	for _, test := range []struct {
		now   string
		items []Item
		want  string
	}{
		{"2026-01-05", []Item{zoned}, "+ 20260102: daily 2026-01-02"},
		{"2026-01-06", []Item{zoned},
			"- 20260102: expired 2026-01-05; support ended 2026-01-05; not kept by rule 1 (*)"},
		{"2026-01-05", []Item{early, late}, "+ 20260101: daily 2026-01-01"},
		{"2026-01-05", []Item{late, early}, "+ 20260101: daily 2026-01-01"},
		{"2026-01-10", []Item{late, early},
			"- 20260101: expired 2026-01-09; support ended 2026-01-09; not kept by rule 1 (*)"},
		{"2026-01-10", []Item{early, lasting}, "+ 20260101: daily 2026-01-01"},
		{"2026-01-10", []Item{early, undated}, "+ 20260101: no date in its name: never counts as kept"},
	} {
		got := report(Apply(test.items, Policy{Rules: []Rule{daily}}, at(test.now)))
		if got[0] != test.want {
			t.Errorf("%v at %s: %s, want %s", test.items, test.now, got[0], test.want)
		}
	}
}
