package retention

import (
	"fmt"
	"hash/crc32"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The versions lie in four weeks around the end of a year of 53 weeks, dense
// enough that every rule has something to choose from.
var (
	epoch    = at("2020-12-19")
	products = []string{"debian:12:default:amd64", "debian:12:cloud:arm64", "ubuntu:24.04:default:amd64",
		"team/a:1:x:y"}
	layouts = []string{"20060102", "20060102_15:04", "200601021504", "20060102.1", "latest-20060102", "2006-01-02"}
)

// upTo draws from 0 to n evenly: rapid's own integers are mostly small, which
// would put most versions into one minute and give most trees a few versions only.
func upTo(n int) *rapid.Generator[int] {
	return rapid.Custom(func(t *rapid.T) int {
		x := 0
		for i := max(n, 1); i > 0; i /= 2 {
			x *= 2
			if rapid.Bool().Draw(t, "bit") {
				x++
			}
		}
		return x % (n + 1)
	})
}

func genItem(t *rapid.T) Item {
	minutes := upTo(28*24*60).Draw(t, "minutes")
	item := Item{
		Product: products[upTo(len(products)-1).Draw(t, "product")],
		Version: epoch.Add(time.Duration(minutes) * time.Minute).Format(layouts[upTo(len(layouts)-1).Draw(t,
			"layout")]),
		Bytes: rapid.Int64Range(0, 1000).Draw(t, "bytes"),
	}
	item.Time = timeOf(item.Version)
	item.Complete = upTo(4).Draw(t, "complete") > 0
	item.Skipped = upTo(3).Draw(t, "skipped") == 0
	if upTo(3).Draw(t, "expires") == 0 {
		item.Expires = epoch.AddDate(0, 0, upTo(40).Draw(t, "expiry"))
	}
	if upTo(7).Draw(t, "eol") == 0 {
		item.SupportEOL = epoch.AddDate(0, 0, upTo(40).Draw(t, "day"))
	}
	return item
}

func genItems(t *rapid.T) []Item {
	n := upTo(60).Draw(t, "n")
	items := rapid.SliceOfN(rapid.Custom(genItem), n, n).Draw(t, "items")
	if rapid.Bool().Draw(t, "numbers") {
		for i := range items {
			items[i].Rank = rankOf(items[i].Version)
		}
	}
	return items
}

// rankOf is a second order of names, some of them alike.
func rankOf(version string) int { return int(crc32.ChecksumIEEE([]byte(version)) % 50) }

// shuffled draws an order of s.
func shuffled[T any](s []T) *rapid.Generator[[]T] {
	return rapid.Custom(func(t *rapid.T) []T {
		out := slices.Clone(s)
		for i := range out {
			j := upTo(i).Draw(t, "j")
			out[i], out[j] = out[j], out[i]
		}
		return out
	})
}

func genNow(t *rapid.T) time.Time {
	return epoch.Add(time.Duration(upTo(40*24*60).Draw(t, "now")) * time.Minute)
}

func genPolicy(t *rapid.T) Policy {
	var p Policy
	matches := shuffled([]string{"debian:*", "*:arm64", "ubuntu:*", "*:12:*", "t*", "*"}).Draw(t, "matches")
	for _, match := range matches[:upTo(2).Draw(t, "rules")+1] {
		count := func(key string) int { return max(0, upTo(9).Draw(t, key)-4) }
		r := Rule{Match: match, RemoveExpired: rapid.Bool().Draw(t, "expired")}
		if upTo(5).Draw(t, "keep") == 0 {
			r.KeepAll = true
		} else {
			r.KeepLast, r.KeepDaily, r.KeepWeekly, r.KeepMonthly = count("last"), count("daily"), count("weekly"),
				count("monthly")
			r.KeepWithin = time.Duration(count("within")) * 31 * time.Hour
		}
		if rapid.Bool().Draw(t, "floor") {
			r.MinVersions = new(count("min"))
		}
		if (Policy{Rules: []Rule{r}}).Check() != nil {
			r.KeepLast, r.KeepWithin = 1, 0
		}
		p.Rules = append(p.Rules, r)
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	return p
}

type key struct{ product, version string }

func keys(ds []Decision) map[key]bool {
	set := map[key]bool{}
	for _, d := range ds {
		set[key{d.Product, d.Version}] = true
	}
	return set
}

func check(t *testing.T, property func(t *rapid.T, items []Item, p Policy, now time.Time)) {
	rapid.Check(t, func(t *rapid.T) { property(t, genItems(t), genPolicy(t), genNow(t)) })
}

// spec says by definition whether to keep v, one of the versions (each once,
// in any order) of its product: for each keep, how many are before it?
func spec(v Item, versions []Item, r Rule, now time.Time) bool {
	gone := func(v Item) bool {
		if !r.RemoveExpired {
			return false
		}
		endOfSupport := v.SupportEOL.AddDate(0, 0, 1) // the tests' are midnights
		return !v.Expires.IsZero() && !v.Expires.After(now) || !v.SupportEOL.IsZero() && !endOfSupport.After(now)
	}
	if !v.Skipped && !usable(v) {
		return true
	}
	// rival reports whether w may take a place from v.
	rival := func(w Item) bool {
		switch {
		case !v.Skipped:
			return !w.Skipped && usable(w)
		case !w.Skipped && !usable(w):
			return false
		}
		return v.Time.IsZero() || !w.Time.IsZero()
	}
	if !gone(v) && r.KeepAll {
		return true
	}
	text := func(w, v Item) bool { return w.Version > v.Version }
	numbers := func(w, v Item) bool { return w.Rank > v.Rank || w.Rank == v.Rank && w.Version > v.Version }
	return counted(v, versions, r, now, gone, rival, text) || counted(v, versions, r, now, gone, rival, numbers)
}

// usable: a listed version that may be removed.
func usable(v Item) bool { return v.Complete && !v.Time.IsZero() }

// counted is spec in one order.
func counted(
	v Item, versions []Item, r Rule, now time.Time, gone, rival func(Item) bool, after func(w, v Item) bool,
) bool {
	newer := func(name func(Item) any) (periods int, same bool) {
		seen := map[any]bool{}
		for _, w := range versions {
			if rival(w) && !gone(w) && after(w, v) {
				seen[name(w)] = true
			}
		}
		return len(seen), seen[name(v)]
	}
	wanted := func(n int, name func(Item) any) bool {
		periods, same := newer(name)
		return periods < n && !same
	}
	live, _ := newer(func(v Item) any { return v.Version })
	dated := !v.Time.IsZero()
	if !gone(v) && (live < r.KeepLast || dated && (r.KeepWithin > 0 && now.Sub(v.Time) <= r.KeepWithin ||
		wanted(r.KeepDaily, func(v Item) any { return v.Time.YearDay() }) ||
		wanted(r.KeepMonthly, func(v Item) any { return v.Time.Month() }) ||
		// 2020-11-30 is a Monday.
		wanted(r.KeepWeekly, func(v Item) any { return int(v.Time.Sub(at("2020-11-30")).Hours()) / 24 / 7 }))) {
		return true
	}
	before := 0 // of those that min_versions prefers to v
	for _, w := range versions {
		if rival(w) && (gone(w) == gone(v) && after(w, v) || !gone(w) && gone(v)) {
			before++
		}
	}
	floor := 1
	if r.MinVersions != nil {
		floor = *r.MinVersions
	}
	return before < floor
}

// Nothing that a rule keeps is removed, nothing else is kept, and every version
// is answered for once.
func TestSpec(t *testing.T) {
	patterns := map[string]func(string) bool{
		"debian:*": func(p string) bool { return p[0] == 'd' },
		"*:arm64":  func(p string) bool { return p == products[1] },
		"ubuntu:*": func(p string) bool { return p[0] == 'u' },
		"*:12:*":   func(p string) bool { return p[0] == 'd' },
		"t*":       func(p string) bool { return p[0] == 't' },
		"*":        func(p string) bool { return true },
	}
	check(t, func(t *rapid.T, items []Item, p Policy, now time.Time) {
		slices.SortFunc(items, func(a, b Item) int { return cmpKey(a, b) })
		items = slices.CompactFunc(items, func(a, b Item) bool { return cmpKey(a, b) == 0 })
		given := slices.Clone(items)
		res := Apply(items, p, now)
		if diff := cmp.Diff(given, items); diff != "" {
			t.Fatalf("Apply wrote to its argument:\n%s", diff)
		}
		kept, removed := keys(res.Keep), keys(res.Remove)
		if len(kept) != len(res.Keep) || len(removed) != len(res.Remove) || len(kept)+len(removed) != len(items) {
			t.Fatalf("%d kept, %d removed of %d", len(res.Keep), len(res.Remove), len(items))
		}
		for _, v := range items {
			want := true
			if i := slices.IndexFunc(p.Rules, func(r Rule) bool { return patterns[r.Match](v.Product) }); i >= 0 {
				versions := slices.DeleteFunc(slices.Clone(items), func(w Item) bool { return w.Product != v.Product })
				want = spec(v, versions, p.Rules[i], now)
			}
			if k := (key{v.Product, v.Version}); kept[k] != want || removed[k] == want {
				t.Errorf("%v kept: %t, want %t", k, kept[k], want)
			}
		}
	})
}

func cmpKey(a, b Item) int {
	return slices.Compare([]string{a.Product, a.Version}, []string{b.Product, b.Version})
}

// Pruning twice removes nothing more, and the reasons stay.
func TestTwice(t *testing.T) {
	check(t, func(t *rapid.T, items []Item, p Policy, now time.Time) {
		first := Apply(items, p, now)
		kept := keys(first.Keep)
		second := Apply(slices.DeleteFunc(items, func(v Item) bool { return !kept[key{v.Product, v.Version}] }), p, now)
		if len(second.Remove) > 0 {
			t.Fatalf("the second time removes %v", second.Remove)
		}
		if diff := cmp.Diff(first.Keep, second.Keep); diff != "" {
			t.Fatalf("kept for other reasons:\n%s", diff)
		}
	})
}

// Raising any keep never removes more.
func TestRaise(t *testing.T) {
	check(t, func(t *rapid.T, items []Item, p Policy, now time.Time) {
		before := keys(Apply(items, p, now).Keep)
		raised := Policy{Rules: slices.Clone(p.Rules)}
		r := &raised.Rules[upTo(len(p.Rules)-1).Draw(t, "rule")]
		by := upTo(4).Draw(t, "by") + 1
		what := upTo(6).Draw(t, "what")
		switch {
		case what == 0:
			r.MinVersions = new(r.minVersions() + by)
		case what == 1 || r.KeepAll:
			*r = Rule{Match: r.Match, KeepAll: true, RemoveExpired: r.RemoveExpired, MinVersions: r.MinVersions}
		case what == 2:
			r.KeepWithin += time.Duration(by) * 7 * time.Hour
		default:
			*[]*int{&r.KeepLast, &r.KeepDaily, &r.KeepWeekly, &r.KeepMonthly}[what-3] += by
		}
		if err := raised.Check(); err != nil {
			t.Fatal(err)
		}
		for k := range keys(Apply(items, raised, now).Remove) {
			if before[k] {
				t.Fatalf("%+v instead of %+v removes %v", raised, p, k)
			}
		}
	})
}

// The order of items does not matter, nor do parts of one version.
func TestOrder(t *testing.T) {
	check(t, func(t *rapid.T, items []Item, p Policy, now time.Time) {
		for i := range items {
			if upTo(2).Draw(t, "part") == 0 {
				part := genItem(t)
				part.Product, part.Version, part.Rank = items[i].Product, items[i].Version, items[i].Rank
				items = append(items, part)
			}
		}
		want := Apply(items, p, now)
		if len(items) == 0 {
			return
		}
		got := Apply(shuffled(items).Draw(t, "shuffled"), p, now)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("in another order:\n%s", diff)
		}
	})
}

// What never counts changes nothing for the others, and stays.
func TestNeverCounts(t *testing.T) {
	check(t, func(t *rapid.T, items []Item, p Policy, now time.Time) {
		want := Apply(items, p, now)
		known := map[key]bool{}
		for _, v := range items {
			known[key{v.Product, v.Version}] = true
		}
		added := map[key]bool{}
		for i := range 1 + upTo(19).Draw(t, "added") {
			v := genItem(t)
			v.Skipped, v.Rank = false, 99
			if i%2 == 0 {
				v.Complete = false
			} else {
				v.Version, v.Time = "zz-"+v.Version, time.Time{}
			}
			k := key{v.Product, v.Version}
			if !known[k] && slices.ContainsFunc(items, func(w Item) bool { return w.Product == v.Product }) {
				items = append(items, v)
				added[k] = true
			}
		}
		got := Apply(items, p, now)
		kept := slices.DeleteFunc(slices.Clone(got.Keep),
			func(d Decision) bool { return added[key{d.Product, d.Version}] })
		if len(kept)+len(added) != len(got.Keep) {
			t.Fatalf("of %d added, %d stay", len(added), len(got.Keep)-len(kept))
		}
		if diff := cmp.Diff([][]Decision{want.Keep, want.Remove}, [][]Decision{kept, got.Remove}); diff != "" {
			t.Fatalf("decisions on the others changed:\n%s", diff)
		}
	})
}

// No product goes below min_versions, and none is emptied unless 0 is written.
func TestFloor(t *testing.T) {
	check(t, func(t *rapid.T, items []Item, p Policy, now time.Time) {
		res := Apply(items, p, now)
		kept, removed := keys(res.Keep), keys(res.Remove)
		usable, stay := map[string]int{}, map[string]int{}
		for _, v := range merge(items) {
			if !v.Skipped && v.Complete && !v.Time.IsZero() {
				usable[v.Product]++
				if kept[key{v.Product, v.Version}] {
					stay[v.Product]++
				}
			} else if !v.Skipped && removed[key{v.Product, v.Version}] {
				t.Fatalf("%s is removed and was never usable", v.Version)
			}
		}
		for _, d := range res.Remove {
			floor := p.Rules[d.Rule-1].minVersions()
			if n := stay[d.Product]; n < min(floor, usable[d.Product]) {
				t.Fatalf("%s keeps %d of %d, min_versions %d", d.Product, n, usable[d.Product], floor)
			}
			empty := !slices.ContainsFunc(res.Keep, func(k Decision) bool { return k.Product == d.Product })
			if empty && (p.Rules[d.Rule-1].MinVersions == nil || floor != 0) {
				t.Fatalf("%s loses every version with min_versions %d", d.Product, floor)
			}
		}
	})
}

// keep_last N+1 is `incus-simplestreams prune -r N` as its source has it
// (cmd/incus-simplestreams/main_prune.go, v6.23.0): the greatest names stay.
func TestKeepLastAsIncus(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := upTo(5).Draw(t, "r")
		var items []Item
		var want, got []string
		for _, minutes := range rapid.SliceOfNDistinct(upTo(1e6), 0, 12, rapid.ID[int]).Draw(t, "minutes") {
			v := Item{Product: "p", Complete: true, Time: epoch.Add(time.Duration(minutes) * time.Minute)}
			v.Version = v.Time.Format("20060102_15:04")
			items = append(items, v)
			want = append(want, v.Version)
		}
		slices.Sort(want)
		slices.Reverse(want)
		want = want[:min(n+1, len(want))]
		for _, d := range Apply(items, Policy{Rules: []Rule{{Match: "*", KeepLast: n + 1}}}, epoch).Keep {
			got = append(got, d.Version)
		}
		if fmt.Sprint(want) != fmt.Sprint(got) {
			t.Fatalf("-r %d keeps %v, keep_last %d keeps %v", n, want, n+1, got)
		}
	})
}

// What clients skip takes no place from what they list.
func TestSkippedTakesNoPlace(t *testing.T) {
	check(t, func(t *rapid.T, items []Item, p Policy, now time.Time) {
		list := slices.DeleteFunc(slices.Clone(items), func(v Item) bool { return v.Skipped })
		of := func(r Result) (out []Decision) {
			for _, d := range slices.Concat(r.Keep, r.Remove) {
				if slices.ContainsFunc(list, func(v Item) bool {
					return v.Product == d.Product && v.Version == d.Version
				}) {
					out = append(out, d)
				}
			}
			return out
		}
		apart := slices.DeleteFunc(slices.Clone(items), func(v Item) bool {
			return v.Skipped && slices.ContainsFunc(list, func(w Item) bool {
				return v.Product == w.Product && v.Version == w.Version
			})
		})
		if diff := cmp.Diff(of(Apply(list, p, now)), of(Apply(apart, p, now))); diff != "" {
			t.Fatalf("decisions on the others changed:\n%s", diff)
		}
	})
}
