//go:build linux

package main

import (
	"fmt"
	"slices"
)

// number is what a goal compares, of one run.
type number struct {
	unit string // s or MiB
	of   func(sample) float64
}

var (
	wall      = number{"s", func(s sample) float64 { return float64(s.WallUS) / 1e6 }}
	switching = number{"s", func(s sample) float64 { return float64(s.SwitchUS) / 1e6 }}
	processor = number{"s", func(s sample) float64 { return float64(s.CPUUS) / 1e6 }}
	peak      = number{"MiB", func(s sample) float64 { return float64(s.PeakBytes) / (1 << 20) }}
	// bound is how much memory a command may take: so much, and four times
	// the index.
	bound = number{"MiB", func(s sample) float64 { return 128 + 4*float64(s.CatalogBytes)/(1<<20) }}
)

// pick are the runs of a contender in an experiment, and their number.
type pick struct {
	experiment string
	size       int
	contender  string
	number     number
}

// goal is what the ratio of two medians is not to exceed.
type goal struct {
	title  string
	mine   pick
	beside pick
	peer   string  // what to call beside; "": by the contender's name
	linear bool    // what is compared is the cost of one item
	reach  float64 // 0: nothing is to be reached, but it is good to know
	aim    float64 // 0: none
}

// goals are what is to be reached on two cores.
func (b *bench) goals() []goal {
	at := func(experiment string, size int, contender string) pick {
		return pick{experiment, size, contender, wall}
	}
	n := func(format string, size int) string { return fmt.Sprintf(format, thousands(b.n(size))) }
	list := []goal{
		{title: n("stage add of an image of %s MiB, durable", 2048), mine: at("add", 2048, ours), beside: at("add", 2048, incus), peer: incus + " add (not durable)", reach: 0.45},
		{title: "stage add --move of it", mine: at("add-move", 2048, ours), beside: at("add-move", 2048, openssl), reach: 1.1},
		{title: n("validate, nothing cached, %s files, half of them of 4 MiB", 2000), mine: at("validate", 2000, ours), beside: at("validate", 2000, incus), peer: incus + " verify", reach: 0.55},
		{title: "validate, unchanged, the same tree", mine: at("validate-again", 2000, ours), beside: at("validate-again", 2000, incus), peer: incus + " verify", reach: 0.02},
		{title: n("promote, one new image, %s files", 20_000), mine: at("promote", 20_000, ours), beside: at("promote", 20_000, cpalSync), reach: 2, aim: 1},
		{title: "the same", mine: at("promote", 20_000, ours), beside: at("promote", 20_000, ostreeBoth), reach: 0.2},
		{title: n("promote, nothing changed, %s files", 20_000), mine: at("promote-same", 20_000, ours), beside: at("promote-same", 20_000, cpal), reach: 0.7},
		{title: "the same", mine: at("promote-same", 20_000, ours), beside: at("promote-same", 20_000, ostree), peer: "ostree commit, unchanged", reach: 0.1},
	}
	ten := pick{"switch", 100_000, files(10), switching}
	for _, size := range []int{1_000, 100_000} {
		list = append(list, goal{title: n("switch until durable, %s files", size), mine: pick{"switch", 100_000, files(size), switching}, beside: ten, peer: "itself at 10", reach: 1.5})
	}
	list = append(list,
		goal{title: n("the same, %s files, while another process writes", 1_000), mine: pick{"promote-busy", 1_000, ours, switching}, beside: ten, peer: "itself at 10, alone"},
		goal{title: n("revert, %s files", 20_000), mine: at("revert", 20_000, ours), beside: at("revert", 20_000, cpalSync), reach: 2, aim: 1})
	for _, c := range []struct {
		size  int
		reach float64
	}{{10_000, 0}, {30_000, 0}, {100_000, 0.5}} {
		list = append(list, goal{title: n("prune plan, %s versions", c.size), mine: at("prune", c.size, ours), beside: at("prune", c.size, incus),
			peer: incus + " prune --dry-run", reach: c.reach})
	}
	for _, size := range []int{30_000, 100_000} {
		list = append(list, goal{title: n("the same for each of %s versions", size), mine: at("prune", size, ours), beside: at("prune", 10_000, ours),
			peer: n("for each of %s", 10_000), linear: true, reach: 1.25})
	}
	list = append(list, goal{title: n("%s stage adds", 1_000) + n(" to %s versions", 5_000), mine: at("add-many", 5_000, ours), beside: at("add-many", 5_000, incus), peer: incus + " add in a loop", reach: 0.5})
	for _, c := range []struct{ title, experiment string }{{"promote", "promote"}, {"validate", "validate"}, {"prune plan", "prune"}} {
		for _, size := range []int{10_000, 100_000} {
			list = append(list, goal{title: "peak memory of " + c.title + n(", %s files", size), mine: pick{c.experiment, size, ours, peak},
				beside: pick{c.experiment, size, ours, bound}, peer: "128 MiB and 4 times the index", reach: 1})
		}
		list = append(list, goal{title: n("the same for each of %s files", 100_000), mine: pick{c.experiment, 100_000, ours, peak}, beside: pick{c.experiment, 10_000, ours, peak},
			peer: n("for each of %s", 10_000), linear: true, reach: 1.25})
	}
	return list
}

// spread are numbers of equal runs.
type spread struct {
	median, min, max float64
	n                int
}

func spreadOf(list []float64) spread {
	if len(list) == 0 {
		return spread{}
	}
	list = slices.Sorted(slices.Values(list))
	mid := len(list) / 2
	median := list[mid]
	if len(list)%2 == 0 {
		median = (list[mid-1] + list[mid]) / 2
	}
	return spread{median, list[0], list[len(list)-1], len(list)}
}

// find gathers the samples of a pick; items is what they worked on.
func (b *bench) find(p pick) (s spread, items int) {
	var list []float64
	for _, have := range b.samples {
		if have.Experiment == p.experiment && have.Size == p.size && have.Contender == p.contender {
			list, items = append(list, p.number.of(have)), have.Items
		}
	}
	return spreadOf(list), items
}

// why says why a pick has no samples.
func (b *bench) why(p pick) string {
	for _, s := range b.skipped {
		if s.Experiment == p.experiment && s.Size == p.size && s.Contender == p.contender {
			return s.Why
		}
	}
	return "not run"
}

// verdict is what became of a goal.
type verdict struct {
	mine, beside spread
	ratio        float64 // 0: one of them was not run
}

func (b *bench) verdict(g goal) verdict {
	var v verdict
	var items, others int
	v.mine, items = b.find(g.mine)
	v.beside, others = b.find(g.beside)
	if v.mine.n == 0 || v.beside.n == 0 || v.beside.median == 0 {
		return v
	}
	if v.ratio = v.mine.median / v.beside.median; g.linear {
		v.ratio *= float64(others) / float64(items)
	}
	return v
}
