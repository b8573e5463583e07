package retention

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const day = 24 * time.Hour

func TestCheck(t *testing.T) {
	tests := []struct {
		rules []Rule
		want  []string
	}{
		{nil, nil},
		{[]Rule{{Match: "debian:*", KeepLast: 3, KeepWithin: 30 * day, MinVersions: new(1)},
			{Match: "*", KeepAll: true}}, nil},
		{[]Rule{{Match: "*", MinVersions: new(0)}}, nil},
		{[]Rule{{Match: "*", KeepAll: true, RemoveExpired: true, MinVersions: new(0)}}, nil},
		{[]Rule{{Match: "*", KeepLast: 1_000_000, KeepWithin: 100 * 366 * day}}, nil},
		{[]Rule{{Match: "*", KeepAll: true}, {Match: "", KeepAll: true}},
			[]string{"rule 2 (): match: is empty; * matches every product"}},
		{[]Rule{{Match: "debian:[a-:*", KeepAll: true}},
			[]string{`rule 1 (debian:[a-:*): match: "debian:[a-:*" is not a pattern: a [ without its ], ` +
				`an empty or reversed range, or a \ at the end`}},
		{[]Rule{{Match: "a[!b]", KeepAll: true}},
			[]string{`rule 1 (a[!b]): match: "a[!b]" negates a class with [!; write [^`}},
		{[]Rule{{Match: "a", KeepAll: true}, {Match: "b", KeepAll: true}, {Match: "a", KeepLast: 1}},
			[]string{"rule 3 (a): match: rule 1 has the same pattern and comes first"}},
		{[]Rule{{Match: "a", KeepLast: -1, KeepDaily: -2, KeepWeekly: -3, KeepMonthly: -4, KeepWithin: -time.Hour,
			MinVersions: new(-5)}},
			[]string{
				"rule 1 (a): keep_last: -1 is negative; to keep everything, write keep: all",
				"rule 1 (a): keep_within: -1h0m0s is negative",
				"rule 1 (a): keep_daily: -2 is negative; to keep everything, write keep: all",
				"rule 1 (a): keep_weekly: -3 is negative; to keep everything, write keep: all",
				"rule 1 (a): keep_monthly: -4 is negative; to keep everything, write keep: all",
				"rule 1 (a): min_versions: -5 is negative; to keep everything, write keep: all",
			}},
		{[]Rule{{Match: "a", KeepLast: 1_000_001, KeepWithin: math.MaxInt64, MinVersions: new(math.MaxInt)}},
			[]string{
				"rule 1 (a): keep_last: 1000001 is more than 1000000; to keep everything, write keep: all",
				"rule 1 (a): keep_within: 2562047h47m16.854775807s is more than a hundred years; " +
					"to keep everything, write keep: all",
				"rule 1 (a): min_versions: 9223372036854775807 is more than 1000000; to keep everything, write keep: all",
			}},
		{[]Rule{{Match: "a", KeepWithin: 30}},
			[]string{"rule 1 (a): keep_within: 30ns is less than a minute: write a unit, such as 30d"}},
		{[]Rule{{Match: "a", KeepAll: true, KeepLast: 3, KeepWithin: 30 * day}},
			[]string{
				"rule 1 (a): keep: all contradicts keep_last: 3",
				"rule 1 (a): keep: all contradicts keep_within: 30d",
			}},
		{[]Rule{{Match: "a"}},
			[]string{"rule 1 (a): keep: the rule does not say what to keep: write keep: all, one of keep_*, or " +
				"min_versions"}},
		{[]Rule{{Match: "a", RemoveExpired: true, MinVersions: new(0)}},
			[]string{"rule 1 (a): expired: the rule does not say what to keep of the versions that have not expired: " +
				"add keep: all or one of keep_*"}},
	}
	for _, test := range tests {
		var got []string
		if err := (Policy{Rules: test.rules}).Check(); err != nil {
			got = strings.Split(err.Error(), "\n")
			if _, ok := errors.AsType[*RuleError](err); !ok {
				t.Errorf("%v is no RuleError", err)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%+v: -want +got:\n%s", test.rules, diff)
		}
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, product string
		want             bool
	}{
		{"debian:*", "debian:12:default:amd64", true},
		{"debian:*", "debian", false},
		{"debian:*", "Debian:12:default:amd64", false},
		{"debian:*", "my-debian:12:default:amd64", false},
		{"*:arm64", "debian:12:default:arm64", true},
		{"*:12:*:arm64", "debian:12:default:arm64", true},
		{"*:12:*:arm64", "debian:11:default:arm64", false},
		{"debian:1?:*", "debian:12:default:amd64", true},
		{"debian:1?:*", "debian:1:default:amd64", false},
		{"debian:1[0-1]:*", "debian:11:default:amd64", true},
		{"debian:1[0-1]:*", "debian:12:default:amd64", false},
		{"debian:1[^0-1]:*", "debian:12:default:amd64", true},
		{"*", "", true},
		{"*", "com.ubuntu.cloud:server:24.04:amd64", true},
		{"*", "team/a:12:default:amd64", true},
		{"team/*:amd64", "team/a/b:12:default:amd64", true},
		{"team?a:*", "team/a:12", true},
		{"team[/]a:*", "team/a:12", true},
		{"team*a:12", "team/x/a:12", true},
		{`a\*`, "a*", true},
		{`a\*`, "ab", false},
		{"ü?:*", "üß:1", true},
	}
	for _, test := range tests {
		rules := newRules(Policy{Rules: []Rule{{Match: test.pattern, KeepAll: true}}})
		if got := rules.find(test.product) == 0; got != test.want {
			t.Errorf("%q matches %q: %t, want %t", test.pattern, test.product, got, test.want)
		}
		if got, err := Matches(test.pattern, test.product); got != test.want || err != nil {
			t.Errorf("Matches(%q, %q) is %t, %v, want %t", test.pattern, test.product, got, err, test.want)
		}
	}
}

func TestFormatDays(t *testing.T) {
	for d, want := range map[time.Duration]string{
		30 * day: "30d", day: "1d", 36 * time.Hour: "36h", 90 * time.Minute: "1h30m", time.Minute: "1m",
		20 * time.Minute: "20m", 10 * time.Hour: "10h", 61 * time.Second: "1m1s", 0: "0s",
	} {
		if got := formatDays(d); got != want {
			t.Errorf("%v: %q, want %q", int64(d), got, want)
		}
	}
}
