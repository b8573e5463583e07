//go:build linux

package main

// imageBound is how much memory a command may take with OCI images: so much, and four
// times index.json.
var imageBound = number{"MiB", func(s sample) float64 { return 192 + 4*float64(s.CatalogBytes)/(1<<20) }}

// imageGoals are those with OCI images.
func (b *bench) imageGoals() []goal {
	const many, most = 20_000, 100_000
	gib := func(size int) string { return b.f("%s MiB", size) }
	list := []goal{
		{title: "stage add of a layout of " + gib(2048) + ", durable", mine: at("oci-add", 2048, ours),
			beside: at("oci-add", 2048, skopeoCopy), reach: 0.6},
		{title: "the same", mine: at("oci-add", 2048, ours), beside: at("oci-add", 2048, orasCopy), reach: 1.2},
		{title: "stage add of an OCI archive of it", mine: at("oci-add-archive", 2048, ours),
			beside: at("oci-add-archive", 2048, skopeoFrom), reach: 0.6},
		{title: "export of it", mine: at("oci-export", 2048, ours), beside: at("oci-export", 2048, skopeoTo), reach: 0.6},
		{title: "validate, nothing cached, " + gib(4096) + " in 64 blobs", mine: at("oci-validate", 4096, ours),
			beside: at("oci-validate", 4096, openssl), reach: 0.45},
		{title: b.f("prune plan, %s tags, nothing cached", many), mine: at("oci-prune", many, ours),
			beside: at("oci-prune", many, umociGC), reach: 0.5,
			bound: "both read 60,000 files; publish also checks what 40,000 of them say, looks at each file twice, so that " +
				"no builder waits while it hashes, and writes what it learned"},
		{title: "the same, cached", mine: at("oci-prune-again", many, ours), beside: at("oci-prune-again", many, umociGC),
			reach: 0.1,
			bound: "to look at 60,000 files takes find more than the whole reach; then publish reads an index.json of 5 MB " +
				"and what manifests are known to name, and writes a plan of 20,000 lines; where the first use of a page of " +
				"memory is slow, as in some virtual machines, that is a quarter of the time"},
		{title: b.f("remove one of %s tags, its blobs too", many), mine: at("oci-remove", many, ours),
			beside: at("oci-remove", many, umociRm), reach: 0.1,
			bound: "it is two commands: each reads index.json and what manifests name, and the second looks at all files"},
		{title: "the same", mine: at("oci-remove", many, ours), beside: at("oci-remove", many, regctlRm), reach: 0.05},
		{title: b.f("promote, one new of %s tags, steady state", many), mine: at("oci-promote", many, ours),
			beside: at("oci-promote", many, cpalSyncRm), reach: 0.8},
		{title: b.f("promote, nothing changed, %s tags", many), mine: at("oci-promote-same", many, ours),
			beside: at("oci-promote-same", many, find), peer: find + " of staging", reach: 2},
		{title: b.f("prune plan, %s tags, nothing cached", most), mine: at("oci-prune", most, ours),
			beside: pick{"oci-prune", most, ours, given(5, "s")}, peer: "5 s", reach: 1},
	}
	for _, c := range []struct{ title, experiment string }{{"validate", "oci-validate-tags"}, {"prune plan", "oci-prune"},
		{"promote", "oci-promote"}} {
		of := func(size int, n number) pick { return pick{c.experiment, size, ours, n} }
		list = append(list,
			goal{title: "peak memory of " + c.title + b.f(", %s tags", most) + b.f(", %s blobs", 3*most),
				mine: of(most, peak), beside: of(most, imageBound), peer: "192 MiB and 4 times index.json", reach: 1},
			goal{title: b.f("the same for each of %s tags", most), mine: of(most, peak), beside: of(many, peak),
				peer: b.f("for each of %s", many), linear: true, reach: 1.25})
	}
	return list
}
