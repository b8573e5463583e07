//go:build linux

package main

import (
	"fmt"
	"slices"
)

// number is what a goal compares: a number of one run.
type number struct {
	unit string // s or MiB
	of   func(sample) float64
}

var (
	wall      = number{"s", func(s sample) float64 { return float64(s.WallUS) / 1e6 }}
	switching = number{"s", func(s sample) float64 { return float64(s.SwitchUS) / 1e6 }}
	processor = number{"s", func(s sample) float64 { return float64(s.CPUUS) / 1e6 }}
	peak      = number{"MiB", func(s sample) float64 { return float64(s.PeakBytes) / (1 << 20) }}
	// each is the memory that one file takes.
	each = number{"bytes", func(s sample) float64 { return float64(s.PeakBytes) / float64(s.Items) }}
	// bound is how much memory a command may take: so much, and four times
	// the index.
	bound = number{"MiB", func(s sample) float64 { return 128 + 4*float64(s.CatalogBytes)/(1<<20) }}
)

// given is a number that is not measured.
func given(x float64, unit string) number { return number{unit, func(sample) float64 { return x }} }

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
	or     pick    // another one: the longer of the two counts; zero: none
	peer   string  // what to call beside; "": by the contender's name
	linear bool    // what is compared is the cost of one item
	reach  float64 // 0: no limit, only information
	aim    float64 // 0: none
	bound  string  // what bounds it, printed if it is not reached; "": not known
}

// goals are what is to be reached on two cores.
func (b *bench) goals() []goal {
	return slices.Concat(b.stagingGoals(), b.promoteGoals(), b.switchGoals(), b.pruneGoals(), b.memoryGoals(),
		b.imageGoals(), b.mirrorGoals(), b.serveGoals(), b.bucketGoals())
}

// at picks the time that a contender takes.
func at(experiment string, size int, contender string) pick {
	return pick{experiment, size, contender, wall}
}

// f is a title with a size in it.
func (b *bench) f(format string, size int) string { return fmt.Sprintf(format, thousands(b.n(size))) }

func (b *bench) stagingGoals() []goal {
	return []goal{
		{title: b.f("stage add of an image of %s MiB, durable", 1024), mine: at("add", 1024, ours),
			beside: at("add", 1024, direct), or: at("add", 1024, hashesAlone),
			peer: "the longer of " + direct + " and the two hashes alone", reach: 1.15,
			bound: "the two hashes take 1.25 s of processor time and reading and writing 0.2 s, on two processors"},
		{title: "stage add --move of it", mine: at("add-move", 1024, ours),
			beside: at("add-move", 1024, openssl), reach: 1.1,
			bound: "openssl hashes once, and publish twice, on both processors: nothing else runs beside it"},
		{title: b.f("%s stage adds", 1_000) + b.f(" to %s versions", 5_000),
			mine:   at("add-many", 5_000, ours),
			beside: at("add-many", 5_000, incus), peer: incus + " add in a loop", reach: 0.5},
		{title: b.f("validate, nothing cached, %s files, half of them of 4 MiB", 2000),
			mine:   at("validate", 2000, ours),
			beside: at("validate", 2000, hashesAlone), peer: "the same hashes alone", reach: 1.1},
		{title: "validate, unchanged, the same tree", mine: at("validate-again", 2000, ours),
			beside: at("validate-again", 2000, incus), peer: incus + " verify", reach: 0.02},
	}
}

// promoteGoals are those of promotes: each deletes a tree within its time.
func (b *bench) promoteGoals() []goal {
	alone, same := at("promote", 20_000, ours), at("promote-same", 20_000, ours)
	const large, huge = 100_000, 500_000
	const looked = "cp links and unlinks names, and looks at nothing; publish looks at each file of staging, as find " +
		"does (a fifth of its processor time), lists five trees (a sixth), reads the catalog (a sixth) and memory for " +
		"all that (a tenth); two thirds of the time use both processors"
	return []goal{
		{title: b.f("promote, one new image, %s files, steady state", 20_000), mine: alone,
			beside: at("promote", 20_000, cpalSyncRm), reach: 0.6, aim: 0.45, bound: looked},
		{title: "the same", mine: alone, beside: at("promote", 20_000, ostreeBoth), reach: 0.2},
		{title: b.f("promote, one new image, %s files, steady state", large), mine: at("promote", large, ours),
			beside: at("promote", large, cpalSyncRm), reach: 0.6, bound: looked},
		{title: "peak memory of it", mine: pick{"promote", large, ours, peak},
			beside: pick{"promote", large, ours, given(160, "MiB")}, peer: "160 MiB", reach: 1,
			bound: "155 to 166 MiB, by the moment at which the heap is collected: what is in use at once is the catalog of " +
				"26 MB, what it says of each file, the manifest of production, and the names and states of staging's files"},
		{title: b.f("memory for each of %s files", huge), mine: pick{"promote-large", huge, ours, each},
			beside: pick{"promote", large, ours, each}, peer: b.f("for each of %s", large), reach: 1.25},
		{title: b.f("promote, one new image, %s files, while a process writes and fsyncs", 20_000),
			mine: at("promote-fsync", 20_000, ours), beside: alone, peer: "itself alone", reach: 2},
		{title: b.f("promote, one new image, %s files, while builds fill the page cache", 20_000),
			mine: at("promote-dirty", 20_000, ours), beside: alone, peer: "itself alone", reach: 3,
			bound: "the two builds never wait and use the same two processors: publish gets 0.6 of them instead of 1.4, " +
				"and needs 0.34 s of processor time instead of 0.24"},
		{title: b.f("promote, nothing changed, %s files", 20_000), mine: same,
			beside: at("promote-same", 20_000, find), peer: find + " of staging", reach: 1.5,
			bound: "it also reads the indexes and the manifest, and compares them with what the walk found"},
		{title: "the same", mine: same,
			beside: at("promote-same", 20_000, ostree), peer: "ostree commit, unchanged", reach: 0.1},
		{title: b.f("first promote, %s files, staged by publish", 20_000), mine: at("promote-first", 20_000, ours),
			beside: at("promote-first", 20_000, cpalSync), reach: 2,
			bound: "a program that only makes 20,000 links in one directory takes 0.18 s, in any order, nearly all " +
				"that cp takes (0.22 s); looking at each link takes 0.03 s more; here, before the first link, publish " +
				"walks staging and reads the catalog (0.16 to 0.18 s), the links with the looks take it 0.25 to 0.29 s, " +
				"and the hash cache, the manifest and the switch after them 0.1 s"},
	}
}

func (b *bench) switchGoals() []goal {
	ten := pick{"switch", 100_000, files(10), switching}
	var list []goal
	for _, size := range []int{1_000, 100_000} {
		list = append(list, goal{title: b.f("switch until durable, %s files", size),
			mine: pick{"switch", 100_000, files(size), switching}, beside: ten, peer: "itself at 10", reach: 1.5,
			bound: "less than a millisecond more, of a promote that takes a second: what the kernel writes then beside it"})
	}
	return append(list,
		goal{title: b.f("revert, %s files, with a spare", 20_000), mine: at("revert", 20_000, ours),
			beside: at("revert", 20_000, cpalSync), reach: 0.6, aim: 0.3,
			bound: "it lists the spare and production, and reads and writes a manifest with a line for each file"},
		goal{title: b.f("status, a history of %s switches", 100_000), mine: at("status", 100_000, ours),
			beside: pick{"status", 100_000, ours, given(0.1, "s")}, peer: "0.1 s", reach: 1},
		goal{title: "peak memory of it", mine: pick{"status", 100_000, ours, peak},
			beside: pick{"status", 100_000, ours, given(64, "MiB")}, peer: "64 MiB", reach: 1})
}

func (b *bench) pruneGoals() []goal {
	var list []goal
	for _, c := range []struct {
		size  int
		reach float64
	}{{10_000, 0}, {30_000, 0}, {100_000, 0.5}} {
		list = append(list, goal{title: b.f("prune plan, %s versions", c.size), mine: at("prune", c.size, ours),
			beside: at("prune", c.size, incus), peer: incus + " prune --dry-run", reach: c.reach})
	}
	for _, size := range []int{30_000, 100_000} {
		list = append(list, goal{title: b.f("the same for each of %s versions", size), mine: at("prune", size, ours),
			beside: at("prune", 10_000, ours), peer: b.f("for each of %s", 10_000), linear: true, reach: 1.25})
	}
	return list
}

func (b *bench) memoryGoals() []goal {
	var list []goal
	for _, c := range []struct{ title, experiment string }{{"validate", "validate"}, {"prune plan", "prune"}} {
		of := func(size int, n number) pick { return pick{c.experiment, size, ours, n} }
		for _, size := range []int{10_000, 100_000} {
			list = append(list, goal{title: "peak memory of " + c.title + b.f(", %s files", size),
				mine: of(size, peak), beside: of(size, bound), peer: "128 MiB and 4 times the index", reach: 1})
		}
		list = append(list, goal{title: b.f("the same for each of %s files", 100_000),
			mine: of(100_000, peak), beside: of(10_000, peak), peer: b.f("for each of %s", 10_000),
			linear: true, reach: 1.25})
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
	if other, n := b.find(g.or); other.median > v.beside.median {
		v.beside, others = other, n
	}
	if v.mine.n == 0 || v.beside.n == 0 || v.beside.median == 0 {
		return v
	}
	if v.ratio = v.mine.median / v.beside.median; g.linear {
		v.ratio *= float64(others) / float64(items)
	}
	return v
}
