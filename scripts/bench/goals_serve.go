//go:build linux

package main

// serveGoals are those of publish serve beside other servers: the processor time that the
// same work takes, and how many requests a second it answers.
func (b *bench) serveGoals() []goal {
	cpu := func(experiment string, size int, contender string) pick {
		return pick{experiment, size, contender, processor}
	}
	rate := number{"requests/s", func(s sample) float64 { return float64(s.Items) / (float64(s.WallUS) / 1e6) }}
	idle := number{"KiB", func(s sample) float64 { return float64(s.PeakBytes) / float64(s.Items) / 1024 }}
	var list []goal
	for _, n := range []int{50, 200} {
		title := b.f("serve: JSON of 2 KB, %s connections, processor", n)
		list = append(list,
			goal{title: title, mine: cpu("serve-json", n, ours), beside: cpu("serve-json", n, nginxServer), reach: 1.6},
			goal{title: "the same", mine: cpu("serve-json", n, ours), beside: cpu("serve-json", n, caddyServer),
				reach: 0.4},
			goal{title: "requests a second that nginx answers, of ours", mine: pick{"serve-json", n, nginxServer, rate},
				beside: pick{"serve-json", n, ours, rate}, peer: "publish", reach: 1 / 0.7})
	}
	for _, n := range []string{"tag", "digest"} {
		mine := cpu("serve-"+n, 50, ours)
		list = append(list,
			goal{title: "serve: a manifest by " + n + ", processor", mine: mine, beside: cpu("serve-"+n, 50, distribution),
				reach: 0.05},
			goal{title: "the same", mine: mine, beside: cpu("serve-"+n, 50, olareg), reach: 0.25})
	}
	return append(list,
		goal{title: "serve: 304 of a catalog, processor", mine: cpu("serve-304", 50, ours),
			beside: cpu("serve-304", 50, nginxServer), reach: 1.6},
		goal{title: "serve: a catalog of 4 MB, processor", mine: cpu("serve-catalog", 1, ours),
			beside: cpu("serve-catalog", 1, nginxServer), reach: 1.3},
		goal{title: "serve: the same, gzip", mine: cpu("serve-gzip", 1, oursGzip),
			beside: cpu("serve-gzip", 1, nginxGzip), reach: 0.02},
		goal{title: "serve: a file of 1 GiB, processor", mine: cpu("serve-large", 1, ours),
			beside: cpu("serve-large", 1, nginxServer), reach: 1.2},
		goal{title: "serve: the same, TLS", mine: cpu("serve-tls", 1, ours), beside: cpu("serve-tls", 1, nginxServer),
			reach: 1.3},
		goal{title: "serve: 64 KiB of 1 GiB, processor", mine: cpu("serve-range", 1, ours),
			beside: cpu("serve-range", 1, nginxServer), reach: 2},
		goal{title: b.f("serve: a new view, %s files, 10 images new, processor", 100_000),
			mine: cpu("serve-view", 100_000, ours), beside: cpu("serve-view", 100_000, find), reach: 1.5},
		goal{title: "serve: memory then", mine: pick{"serve-view", 100_000, ours, peak},
			beside: pick{"serve-view", 100_000, ours, given(100, "MiB")}, peer: "100 MiB", reach: 1},
		goal{title: "serve: memory of an idle connection", mine: pick{"serve-idle", 2_000, oursIdle, idle},
			beside: pick{"serve-idle", 2_000, oursIdle, given(30, "KiB")}, peer: "30 KiB", reach: 1},
		goal{title: "serve: with an access log, processor", mine: cpu("serve-log", 50, oursLogged),
			beside: cpu("serve-log", 50, ours), peer: "without", reach: 1.2})
}
