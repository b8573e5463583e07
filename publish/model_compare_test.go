package publish

import (
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
)

// The functions below check what a command may have changed: staging, production,
// times, kept trees.

// comparedStaging checks that staging is complete, and contains what it did before or
// what the command wanted.
func (m *model) comparedStaging(rt *rapid.T, c command, err error) {
	was, is := m.staged, m.itemsIn(m.staging())
	if m.staged = is; c.staged == nil {
		c.staged = func() map[string]string { return was }
	}
	want := c.staged()
	if !maps.Equal(is, want) && (err == nil || !maps.Equal(is, was)) {
		rt.Fatalf("staging has %v; it had %v, and was to have %v; error %v", is, was, want, err)
	}
}

// comparedProduction checks that production shows what it did before, or what the
// command wanted under a number that was never used.
func (m *model) comparedProduction(rt *rapid.T, c command, err error, after map[int]shownTree) {
	number, _ := generation.Identity(m.production())
	if number < m.number {
		rt.Fatalf("generation %d after %d", number, m.number)
	}
	if m.number == 0 && number == 0 {
		return
	}
	if number == 0 {
		rt.Fatal("production is missing")
	}
	is := m.items()
	if c.live == nil {
		c.live = func() map[string]string { return m.live }
	}
	want := c.live()
	if err == nil && !maps.Equal(is, want) {
		rt.Fatalf("production shows %v, not %v", is, want)
	}
	// After a failed health check production goes back, possibly in a later command.
	// Content that was revoked meanwhile does not come back.
	health := len(m.repo().Config.HealthCheck.Command) > 0
	back := maps.Clone(m.was)
	maps.DeleteFunc(back, func(_, data string) bool { return data == c.revokes })
	if !maps.Equal(is, want) && !maps.Equal(is, m.live) &&
		!(health && (maps.Equal(is, m.was) || maps.Equal(is, back))) {
		rt.Fatalf("production shows %v; it showed %v, was to show %v, and before %v", is, m.live, want, m.was)
	}
	if number == m.number {
		if !maps.Equal(is, m.live) {
			rt.Fatalf("generation %d changed: it shows %v, and showed %v", number, is, m.live)
		}
		return
	}
	for n := m.number + 1; n <= number; n++ {
		if tree, ok := after[n]; ok {
			m.shown[n] = tree.items
		}
	}
	before := m.live
	m.number, m.was, m.live = number, m.live, is
	for p, data := range after[number].files {
		if p != "index.json" {
			m.paths[p] = data
		}
	}
	own, had := slices.Collect(maps.Values(is)), slices.Collect(maps.Values(before))
	for _, tree := range after {
		if tree.number > m.number-2 {
			had = slices.AppendSeq(had, maps.Values(tree.items)) // a tree that failed its health check was also live
		}
	}
	for p, data := range m.paths {
		switch {
		case slices.Contains(own, data):
			delete(m.left, p)
		case slices.Contains(had, data):
			m.left[p] = m.now // the history's time may be later; then it is only kept longer
		}
	}
}

// comparedTimes checks that a path whose bytes changed has a later time. It compares
// whole seconds, as web servers do.
func (m *model) comparedTimes(rt *rapid.T, was shownTree, after map[int]shownTree) {
	number, _ := generation.Identity(m.production())
	if number == was.number && was.files["index.json"] == after[number].files["index.json"] {
		return
	}
	is := after[number]
	for p, data := range is.files {
		before, ok := was.files[p]
		switch at, since := is.times[p], was.times[p]; {
		case !ok:
		case data != before && at.Unix() <= since.Unix():
			rt.Fatalf("generation %d: %s has other bytes than in %d, and its time is %s after %s", number, p,
				was.number, at, since)
		case data == before && number <= was.number+1 && !at.Equal(since):
			rt.Fatalf("generation %d: %s has the bytes that it had in %d, and its time is %s after %s", number, p,
				was.number, at, since)
		}
	}
}

// shorter reports whether a file is production's index, which holds less than before.
func (m *model) shorter(n int, p, had, data string) bool {
	server := catalog.ServingAt(m.format, p)
	return server != nil && n == m.number && string(server.Own([]byte(had))) == string(server.Own([]byte(data))) &&
		len(server.Names(p, []byte(data))) < len(server.Names(p, []byte(had)))
}

// comparedTrees checks that a tree that was production does not change until its
// window has ended. Only revoked content is removed at once.
func (m *model) comparedTrees(rt *rapid.T, c command, before, after map[int]shownTree, behind bool) {
	ended := func(at time.Time) bool { return !behind && !m.now.Before(at.Add(2*time.Hour)) }
	for n, was := range before {
		is, kept := after[n]
		if !kept {
			end, known := m.retired[n]
			switch {
			case m.pins[n]:
				rt.Fatalf("generation %d is pinned, and gone", n)
			case !known:
				rt.Fatalf("generation %d is gone, and no line of the history tells that production went away from it",
					n)
			// a stopped gc may have begun to delete it
			case !ended(end) && (behind || m.top.Before(end.Add(2*time.Hour))):
				rt.Fatalf("generation %d is gone at %s: it was retired at %s; clock behind: %v", n, m.now, end, behind)
			}
			continue
		}
		for p, data := range is.files {
			if had, ok := was.files[p]; !ok || had != data && !m.shorter(n, p, had, data) {
				rt.Fatalf("generation %d: %s was %q, is %q", n, p, had, data)
			}
		}
		for p, data := range was.files {
			_, there := is.files[p]
			left, gone := m.left[p]
			switch {
			case there, data == c.revokes:
			case n == m.number && gone && ended(left):
			default:
				rt.Fatalf("generation %d lost %s (%q), which left production at %s; now it is %s, clock behind: %v", n,
					p, data, left, m.now, behind)
			}
		}
	}
	keep := m.repo().Config.Generations.Keep
	if beside := len(after) - 1; beside < keep && beside < len(before)-1 {
		rt.Fatalf("%d generations beside production are kept, of %d to keep", beside, keep)
	}
}
