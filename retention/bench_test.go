package retention

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// tree makes n versions, one an hour for each product, in no useful order.
func tree(n, products int) []Item {
	items := make([]Item, n)
	for i := range items {
		j := i * 7919 % n // a prime that divides no n of the tests
		made := epoch.Add(time.Duration(j/products) * time.Hour)
		items[i] = Item{Product: fmt.Sprintf("debian:%d:default:amd64", j%products),
			Version: made.Format("20060102_15:04"), Time: made, Complete: true}
	}
	return items
}

var benchPolicy = Policy{Rules: []Rule{
	{Match: "ubuntu:*", KeepAll: true},
	{Match: "debian:*", KeepLast: 3, KeepWithin: 30 * day, KeepDaily: 90, KeepWeekly: 52, KeepMonthly: 60,
		RemoveExpired: true},
}}

func BenchmarkApply(b *testing.B) {
	for _, products := range []int{1, 1000} {
		for _, n := range []int{1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("products=%d/versions=%d", products, n), func(b *testing.B) {
				items := tree(n, products)
				now := epoch.Add(time.Duration(n/products) * time.Hour)
				b.ReportAllocs()
				for b.Loop() {
					Apply(items, benchPolicy, now)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/version")
			})
		}
	}
}

// allocated is what Apply allocates for n versions, in bytes. It depends on no
// clock and on no other process.
func allocated(n, products int) uint64 {
	items := tree(n, products)
	now := epoch.Add(time.Duration(n/products) * time.Hour)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	Apply(items, benchPolicy, now)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Ten times the versions take about ten times the memory, in one product as in
// many: nothing is quadratic.
func TestLinear(t *testing.T) {
	for _, products := range []int{1, 1000} {
		small, large := allocated(10_000, products), allocated(100_000, products)
		if large > 15*small {
			t.Errorf("%d products: 10,000 versions take %d bytes, 100,000 take %d", products, small, large)
		}
		if perVersion := large / 100_000; perVersion > 1024 {
			t.Errorf("%d products: %d bytes a version", products, perVersion)
		}
	}
}
