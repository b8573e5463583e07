//go:build linux

package main

// bucketGoals are those of production in an object store.
func (b *bench) bucketGoals() []goal {
	const size, large, many = 20_000, 2 << 10, 2_000
	asks := func(unit string, f func(*asked) float64) number {
		return number{unit, func(s sample) float64 {
			if s.Asked == nil {
				return 0
			}
			return f(s.Asked)
		}}
	}
	requests := asks("requests", func(a *asked) float64 { return float64(a.Requests) })
	sent := asks("MB", func(a *asked) float64 { return float64(a.Sent) / 1e6 })
	moved := asks("MB", func(a *asked) float64 { return float64(a.Sent+a.Received) / 1e6 })
	least := asks("MB", func(a *asked) float64 { return float64(a.Least) / 1e6 })
	manifest := asks("kB", func(a *asked) float64 { return float64(a.Manifest) / 1e3 })
	catalogs := asks("each", func(a *asked) float64 { return float64(a.Catalogs) / 16 })
	mine := func(n number) pick { return pick{"bucket-promote", size, ours, n} }
	const network = "the requests go one after the other where one needs the answer of another"
	return []goal{
		{title: b.f("bucket: promote, one new image, %s objects", size), mine: mine(requests),
			beside: mine(given(10, "requests")), peer: "10 requests", reach: 1},
		{title: "the same, beside rclone", mine: mine(requests),
			beside: pick{"bucket-promote", size, rcloneSync, requests}},
		{title: "the same, beside aws", mine: mine(requests), beside: pick{"bucket-promote", size, awsSync, requests}},
		{title: "bytes sent by it", mine: mine(sent), beside: mine(least), peer: "new files, catalog and pointer",
			reach: 1.02},
		{title: "its manifest", mine: mine(manifest), beside: mine(given(4, "kB")), peer: "4 kB", reach: 1},
		{title: "time of it", mine: mine(wall), beside: at("bucket-promote", size, rcloneSync), reach: 0.15, bound: network},
		{title: "the same", mine: mine(wall), beside: at("bucket-promote", size, awsSync), reach: 0.15, bound: network},
		{title: b.f("bucket: revert, %s objects", size), mine: pick{"bucket-revert", size, ours, requests},
			beside: pick{"bucket-revert", size, ours, given(6, "requests")}, peer: "6 requests", reach: 1},
		{title: "bytes of it", mine: pick{"bucket-revert", size, ours, moved},
			beside: pick{"bucket-revert", size, ours, given(1, "MB")}, peer: "1 MB", reach: 1},
		{title: b.f("bucket: first promote, %s objects of 2 kB", size), mine: at("bucket-first", size, ours),
			beside: at("bucket-first", size, rcloneSync), reach: 1 / 0.9},
		{title: "bucket: 16 machines promote at once", mine: at("bucket-many", many, atOnce),
			beside: at("bucket-many", many, inARow), reach: 2},
		{title: "catalogs that each of them sends", mine: pick{"bucket-many", many, atOnce, catalogs},
			beside: pick{"bucket-many", many, atOnce, given(4, "each")}, peer: "4 each", reach: 1},
		{title: b.f("bucket: an image of %s MiB, killed at half: bytes of the second run", large),
			mine: pick{"bucket-large", large, ours, sent}, beside: pick{"bucket-large", large, ours, least},
			peer: "all of it", reach: 0.55},
		{title: "peak memory of it", mine: pick{"bucket-large", large, ours, peak},
			beside: pick{"bucket-large", large, ours, given(256, "MiB")}, peer: "256 MiB", reach: 1},
	}
}
