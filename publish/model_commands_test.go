package publish

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage/catalog"
)

// versions are what the model stages. Each has its own content, except one that has
// none. Clients skip versions with odd names.
var versions = []string{"a/20290101", "a/20290102", "a/20290102-odd", "a/20290103", "b/20290101", "b/20290102",
	"b/20290103", "b/odd"}

func contentOf(key string) string {
	if key == "b/odd" {
		return noContent
	}
	return "content of " + key
}

// commands are the actions of the model, by name. The action "" runs after each of
// them.
func (m *model) commands(rt *rapid.T) map[string]func(*rapid.T) {
	all := map[string]func(*rapid.T){
		"stage": m.stage, "stage remove": m.stageRemove, "stage reset": m.stageReset,
		"promote": m.promoteStaged, "build": func(rt *rapid.T) { m.stage(rt); m.promoteStaged(rt) },
		"build, prune": m.promotePruned, "revert": m.revertTo,
		"gc": m.collect, "prune": m.pruneStaged, "plan": m.writePlan, "plan, apply": m.applyPlan,
		"pin": m.pin, "stop": m.hold,
		"revoke": m.revokeOne, "revoke in promote": m.revokeInPromote, "recover": m.recoverAll,
		"clock is right": m.clockIsRight, "try": m.dryRun,
	}
	for name, f := range all {
		all[name] = func(rt *rapid.T) { m.runs.commands[name]++; f(rt) }
	}
	all["clock"] = m.clock
	all["health"] = func(rt *rapid.T) { // only in sequences that have a health check
		sick := filepath.Join(m.dir, "sick")
		if os.Remove(sick) != nil {
			must(m.t, os.WriteFile(sick, nil, 0o644))
		}
	}
	all["stuck"] = func(rt *rapid.T) { // a file that cannot be deleted, as an immutable one or one on a busy mount
		if m.stuck == nil {
			m.stuck = map[string]bool{}
		}
		data := contentOf(rapid.SampledFrom(versions).Draw(rt, "version"))
		if data == noContent {
			return
		}
		m.stuck[data] = !m.stuck[data]
		if !m.stuck[data] {
			delete(m.stuck, data)
		}
	}
	all["torn line"] = func(rt *rapid.T) { // what a power cut leaves of an append
		f, err := os.OpenFile(filepath.Join(m.dir, ".publish", "history"), os.O_WRONLY|os.O_APPEND, 0)
		must(m.t, err)
		_, err = f.WriteString(`0123abcd {"time":"2030`)
		must(m.t, err)
		must(m.t, f.Close())
	}
	all[""] = m.check
	return all
}

// clock moves the clock: by a step, which may be back, or to the end of a window or a
// second before it.
func (m *model) clock(rt *rapid.T) {
	to := []time.Time{m.now.Add(time.Duration(rapid.IntRange(-30, 100).Draw(rt, "minutes")) * time.Minute)}
	for _, n := range slices.Sorted(maps.Keys(m.retired)) {
		if end := m.retired[n].Add(2 * time.Hour); end.After(m.now) {
			to = append(to, end, end.Add(-time.Second))
		}
	}
	m.now = rapid.SampledFrom(to).Draw(rt, "to")
}

// clockIsRight runs ClockIsRight: everything that began in the future begins now.
func (m *model) clockIsRight(rt *rapid.T) {
	m.do(rt, command{run: func(r *Repo) error { _, err := r.ClockIsRight(ctx); return err }})
}

// stage writes to staging as another program would.
func (m *model) stage(rt *rapid.T) {
	m.staged = map[string]string{}
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(versions), 1, 4, rapid.ID).Draw(rt, "versions") {
		m.staged[key] = contentOf(key)
	}
	m.put(m.staged)
}

func (m *model) stageRemove(rt *rapid.T) {
	key := rapid.SampledFrom(versions).Draw(rt, "version")
	left := maps.Clone(m.staged)
	delete(left, key)
	m.do(rt, command{refused: len(left) == len(m.staged), staged: func() map[string]string { return left },
		run: func(r *Repo) error { _, err := r.Remove(ctx, key); return err }})
}

func (m *model) stageReset(rt *rapid.T) {
	m.do(rt, command{refused: m.number == 0, staged: func() map[string]string { return m.live },
		run: func(r *Repo) error { _, _, err := r.Reset(ctx); return err }})
}

func (m *model) promoteStaged(rt *rapid.T) { m.promoteAs(rt, m.staged, func(*Config) {}) }

func (m *model) promotePruned(rt *rapid.T) {
	m.stage(rt)
	m.promoteAs(rt, pruned(m.staged), func(c *Config) { c.Promote.Prune = true })
}

// promoteAs promotes. to is what staging and production contain afterwards.
func (m *model) promoteAs(rt *rapid.T, to map[string]string, set func(*Config)) {
	opt := PromoteOptions{Force: rapid.IntRange(0, 2).Draw(rt, "force") > 0}
	leaked := func(items map[string]string) bool {
		return slices.ContainsFunc(slices.Collect(maps.Values(items)),
			func(data string) bool { return m.revoked[data] })
	}
	last := journal.Event{}
	if n := len(m.switches); n > 0 {
		last = m.switches[n-1]
	}
	// After a switch that is not a promote something may be barred. What the last
	// revert went away from certainly is.
	barred := last.Kind != journal.KindPromote && m.number > 0 || last.Generation != m.number
	number, was, away := m.number, m.live, map[string]string{}
	if last.Kind == journal.KindRevert && last.Generation == number {
		away = minus(m.was, m.live)
		delete(away, "b/odd") // it has no content, and only content is barred
	}
	err := m.do(rt, command{
		refused: m.held || !opt.Force && (barred || leaked(to)),
		staged:  func() map[string]string { return to }, live: func() map[string]string { return to },
		run: func(r *Repo) error { set(r.Config); _, err := r.Promote(ctx, opt); return err },
	})
	if m.number == number || !maps.Equal(m.live, to) {
		return // unchanged, or a health check went back
	}
	new := minus(to, was)
	switch {
	case err == nil && number > 0 && maps.Equal(was, to):
		rt.Fatal("a promote of what production has was a switch")
	case m.held:
		rt.Fatal("promoted although production is held")
	case !opt.Force && leaked(new):
		rt.Fatalf("promoted revoked content: %v", new)
	case !opt.Force && len(minus(new, away)) < len(new):
		rt.Fatalf("promoted what an operator went away from: %v", new)
	}
}

// minus returns the entries of a that b does not have.
func minus(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.DeleteFunc(out, func(key, _ string) bool { return b[key] != "" })
	return out
}

func pruned(items map[string]string) map[string]string {
	out := map[string]string{}
	taken := map[string]bool{}
	// The newest first; the one without a date before all others.
	for _, key := range slices.Backward(slices.Sorted(maps.Keys(items))) {
		product, version, _ := strings.Cut(key, "/")
		dated, odd := version != "odd", strings.Contains(version, "odd")
		switch {
		case !odd && taken[product+" listed"], odd && dated && taken[product+" dated"]:
		default:
			out[key] = items[key]
		}
		taken[product+" listed"] = taken[product+" listed"] || !odd
		taken[product+" dated"] = taken[product+" dated"] || dated
	}
	return out
}

func (m *model) revertTo(rt *rapid.T) {
	kept := slices.Sorted(maps.Keys(m.before))
	to := rapid.SampledFrom(append([]int{0, m.number + 1}, kept...)).Draw(rt, "to")
	from := m.number
	m.do(rt, command{
		// With the number of a kept generation it is never refused.
		refused: !slices.Contains(kept, to),
		live: func() map[string]string {
			if to == 0 {
				return m.shown[m.previous(from)]
			}
			return m.shown[to]
		},
		run: func(r *Repo) error { _, err := r.Revert(ctx, RevertOptions{To: to}); return err },
	})
}

// collect runs gc. If nothing fails, everything that is due is deleted.
func (m *model) collect(rt *rapid.T) {
	crashes, failures := m.runs.crashes, m.runs.failures
	err := m.do(rt, command{run: func(r *Repo) error { _, err := r.GC(ctx, false); return err }})
	if err != nil || crashes != m.runs.crashes || failures != m.runs.failures || m.now.Before(m.newest) ||
		m.number == 0 {
		return
	}
	trees := m.before
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(trees)), func(n int) bool { return m.pins[n] || n == m.number })
	for _, n := range others[:max(0, len(others)-m.repo().Config.Generations.Keep)] {
		if end := m.retired[n].Add(2 * time.Hour); !m.now.Before(end) {
			rt.Fatalf("generation %d was due at %s, and is there at %s", n, end, m.now)
		}
	}
	if last := m.switches[len(m.switches)-1]; m.now.Before(last.Time.Add(2 * time.Hour)) {
		return
	}
	if _, held := m.named(); catalog.Serving(m.format) != nil && len(held) > 0 {
		rt.Fatalf("the index holds %v, and no switch was within the window", held)
	}
	own := slices.Collect(maps.Values(m.live))
	for p, data := range trees[m.number].files {
		if p != "index.json" && !slices.Contains(own, data) && !m.stuck[data] {
			rt.Fatalf("%s is carried, and no switch was within the window", p)
		}
	}
}

func (m *model) pruneStaged(rt *rapid.T) {
	to := pruned(m.staged)
	m.do(rt, command{staged: func() map[string]string { return to },
		run: func(r *Repo) error { _, err := r.Prune(ctx, PruneOptions{}); return err }})
}

func (m *model) writePlan(rt *rapid.T) {
	m.do(rt, command{run: func(r *Repo) error {
		res, err := r.Prune(ctx, PruneOptions{Plan: true})
		if err == nil {
			m.plan, m.planned = &res.Plan, fmt.Sprint(m.number, m.staged)
		}
		return err
	}})
}

// applyPlan applies a plan that was made earlier. Either it is refused, or it is still
// correct.
func (m *model) applyPlan(rt *rapid.T) {
	if m.plan == nil {
		return
	}
	now := fmt.Sprint(m.number, m.staged)
	to := pruned(m.staged)
	err := m.do(rt, command{refused: true, staged: func() map[string]string { return to },
		run: func(r *Repo) error { _, err := r.Prune(ctx, PruneOptions{Apply: m.plan}); return err }})
	if err == nil && m.planned != now {
		rt.Fatalf("a plan for %s was applied to %s", m.planned, now)
	}
}

// pin pins or unpins a generation.
func (m *model) pin(rt *rapid.T) {
	kept := slices.Sorted(maps.Keys(m.before))
	n := rapid.SampledFrom(append([]int{m.number + 1}, kept...)).Draw(rt, "generation")
	want := rapid.Bool().Draw(rt, "pin")
	err := m.do(rt, command{refused: !slices.Contains(kept, n) || want && m.pins[n],
		run: func(r *Repo) error {
			if want {
				return r.Pin(ctx, n, "good")
			}
			return r.Unpin(ctx, n)
		}})
	if err == nil && m.pins[n] != want {
		rt.Fatalf("generation %d is pinned: %v", n, m.pins[n])
	}
}

// hold holds or unholds production.
func (m *model) hold(rt *rapid.T) {
	want := rapid.IntRange(0, 3).Draw(rt, "hold") == 0
	err := m.do(rt, command{refused: want && m.held, run: func(r *Repo) error {
		if want {
			return r.Hold(ctx, "test")
		}
		return r.Unhold(ctx)
	}})
	if err == nil && m.held != want {
		rt.Fatalf("production is held: %v", m.held)
	}
}

// revokeOne revokes. If the revoke is stopped, recovery finishes it, or it never
// happened.
func (m *model) revokeOne(rt *rapid.T) {
	key := rapid.SampledFrom(versions).Draw(rt, "version")
	data := contentOf(key)
	graves := m.graves(data)
	without := func(items map[string]string) func() map[string]string {
		left := maps.Clone(items)
		delete(left, key)
		return func() map[string]string { return left }
	}
	live, back := without(m.live), without(m.was)
	m.do(rt, command{refused: true, revokes: data, staged: without(m.staged),
		live: func() map[string]string {
			// Revoke recovers first, so a health check may go back.
			if is := m.items(); len(m.config.HealthCheck.Command) > 0 && maps.Equal(is, back()) {
				return is
			}
			return live()
		},
		run: func(r *Repo) error {
			_, err := r.Revoke(ctx, RevokeOptions{What: []string{key}, Why: "leaked"})
			return err
		}})
	m.buried(rt, key, graves)
}

// revokeInPromote revokes after a promote has prepared its tree. The promote may be
// stopped. What it publishes has the content or does not have it.
func (m *model) revokeInPromote(rt *rapid.T) {
	key := rapid.SampledFrom(versions).Draw(rt, "version")
	data := contentOf(key)
	graves := m.graves(data)
	_, staged := m.staged[key]
	force := rapid.Bool().Draw(rt, "force") && !staged // else the promote brings it back, as it was told to
	minutes := rapid.IntRange(0, 10).Draw(rt, "minutes")
	to, live, was, started := maps.Clone(m.staged), maps.Clone(m.live), maps.Clone(m.was), false
	without := func(items map[string]string) map[string]string {
		left := maps.Clone(items)
		delete(left, key)
		return left
	}
	m.do(rt, command{refused: true, beside: true, revokes: data,
		staged: func() map[string]string {
			if is := m.itemsIn(m.staging()); m.graves(data) > graves && maps.Equal(is, without(to)) {
				return is
			}
			return to
		},
		live: func() map[string]string {
			after := []map[string]string{to, without(live)}
			if len(m.config.HealthCheck.Command) > 0 {
				after = append(after, without(was)) // the revoke recovered first, and a health check went back
			}
			for _, items := range after {
				if is := m.items(); started && maps.Equal(is, items) {
					return is
				}
			}
			return live
		},
		run: func(r *Repo) error {
			at := r.step
			r.step = func(name string) error {
				if name == "prepared" && !started {
					started = true
					m.now = m.now.Add(time.Duration(minutes) * time.Minute)
					other := m.repo()
					other.step = nil
					_, err := other.Revoke(ctx, RevokeOptions{What: []string{key}, Why: "leaked"})
					if kind := kindOf(err); err != nil && kind != NotFound && kind != Refused &&
						(kind != Switched || len(r.Config.HealthCheck.Command) == 0 && !m.stuck[data]) {
						rt.Fatalf("a revoke while a promote is prepared: %v", err)
					}
				}
				return at(name)
			}
			_, err := r.Promote(ctx, PromoteOptions{Force: force})
			return err
		}})
	if m.graves(data) > graves {
		m.was = without(m.was) // to what a health check that fails later goes back
	}
	m.buried(rt, key, graves)
}

// buried lets recovery finish a stopped revoke, and checks its promise. graves is how
// often the content had been revoked before.
func (m *model) buried(rt *rapid.T, key string, graves int) {
	data := contentOf(key)
	staged, live, was := m.staged, m.live, maps.Clone(m.was)
	end := command{revokes: data, run: func(r *Repo) error { _, err := r.Recover(ctx); return err },
		live: func() map[string]string {
			// A health check may go back to the previous content without what was
			// revoked; to all of it, if the revoke was stopped before its commit
			// point.
			back := maps.Clone(was)
			if m.graves(data) > graves {
				delete(back, key)
			}
			if is := m.items(); len(m.config.HealthCheck.Command) > 0 && maps.Equal(is, back) {
				return is
			}
			return live
		},
		staged: func() map[string]string {
			if m.graves(data) > graves {
				staged = maps.Clone(staged)
				delete(staged, key)
			}
			return staged
		}}
	if m.stuck[data] { // it is revoked, but cannot be deleted yet
		m.faulty(rt, end, "", 0)
		delete(m.stuck, data)
	}
	m.faulty(rt, end, "", 0)
	if m.graves(data) == graves {
		return
	}
	m.revoked[data] = data != noContent // a version without content may be staged again
	for _, items := range m.shown {
		delete(items, key)
	}
	for p, have := range m.paths {
		if have == data {
			delete(m.paths, p)
			delete(m.left, p)
		}
	}
	nowhere(m.t, m.world, data)
}

// graves returns how often a content was revoked.
func (m *model) graves(data string) (n int) {
	g, err := m.repo().graveyard()
	must(m.t, err)
	for _, line := range g.Stones() {
		if slices.ContainsFunc(line.Revoked, func(c Revoked) bool { return c.SHA256 == sumOf(data) }) ||
			data == noContent && len(line.Unnamed) > 0 {
			n++
		}
	}
	return n
}

// recoverAll recovers. Afterwards nothing is left of a crash.
func (m *model) recoverAll(rt *rapid.T) {
	crashes, failures := m.runs.crashes, m.runs.failures
	err := m.do(rt, command{run: func(r *Repo) error { _, err := r.Recover(ctx); return err }})
	if err != nil || crashes != m.runs.crashes || failures != m.runs.failures {
		return
	}
	list, err := os.ReadDir(filepath.Join(m.dir, "generations"))
	must(m.t, err)
	for _, d := range list {
		if d.Name() == generation.SpareName {
			continue // see check
		}
		if strings.HasPrefix(d.Name(), ".") {
			if len(m.stuck) > 0 {
				continue
			}
			rt.Fatalf("generations/%s was left behind", d.Name())
		}
		m.verify(rt, strings.TrimLeft(d.Name(), "0"))
	}
	st, err := m.repo().Status(ctx)
	if err != nil || st.RecoveryPending {
		rt.Fatalf("%+v, %v", st, err)
	}
	for _, l := range st.Leftovers {
		if data, err := os.ReadFile(m.repo().absolute(l.Path)); strings.Contains(l.Path, "generations/.") &&
			(err != nil || !m.stuck[string(data)]) {
			rt.Fatalf("%s is left over, and nothing holds it", l)
		}
	}
}

// dryRun changes nothing, and predicts what the command would do.
func (m *model) dryRun(rt *rapid.T) {
	if err := m.faulty(rt, command{run: func(r *Repo) error { _, err := r.Recover(ctx); return err }}, "",
		0); err != nil {
		return
	}
	before := m.listing()
	key := rapid.SampledFrom(versions).Draw(rt, "version")
	var dry *Result
	verbs := map[string]func(*Repo) error{
		"promote": func(r *Repo) (err error) { dry, err = r.Promote(ctx, PromoteOptions{DryRun: true}); return err },
		"revert":  func(r *Repo) error { _, err := r.Revert(ctx, RevertOptions{DryRun: true}); return err },
		"gc":      func(r *Repo) error { _, err := r.GC(ctx, true); return err },
		"prune":   func(r *Repo) error { _, err := r.Prune(ctx, PruneOptions{DryRun: true}); return err },
		"revoke": func(r *Repo) error {
			_, err := r.Revoke(ctx, RevokeOptions{What: []string{key}, Why: "leaked", DryRun: true})
			return err
		},
	}
	verb := rapid.SampledFrom(slices.Sorted(maps.Keys(verbs))).Draw(rt, "verb")
	err := verbs[verb](m.repo())
	if err != nil && kindOf(err) != Refused && kindOf(err) != NotFound {
		rt.Fatalf("a dry %s: %v", verb, err)
	}
	if diff := cmp.Diff(before, m.listing()); diff != "" {
		rt.Fatalf("a dry %s changed something:\n%s", verb, diff)
	}
	if err != nil || dry == nil {
		return
	}
	to := m.staged
	m.faulty(rt, command{live: func() map[string]string { return to }, run: func(r *Repo) error {
		res, err := r.Promote(ctx, PromoteOptions{})
		if err == nil {
			dry.DryRun, dry.DurationMS = res.DryRun, res.DurationMS
			if diff := cmp.Diff(dry, res); diff != "" {
				rt.Fatalf("the dry run said something else:\n%s", diff)
			}
		}
		return err
	}}, "", 0)
}

// listing is the whole repository, except for caches and the text in lock files.
func (m *model) listing() map[string]string {
	out := map[string]string{}
	err := filepath.WalkDir(m.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(m.dir, p)
		if strings.HasSuffix(rel, "lock") || rel == filepath.Join(".publish", "hashes") {
			return nil
		}
		switch {
		case d.Type().IsRegular():
			data, err := os.ReadFile(p)
			out[rel] = fmt.Sprint(info.Mode(), info.ModTime(), string(data))
			return err
		case d.Type()&fs.ModeSymlink != 0:
			out[rel], err = os.Readlink(p)
			return err
		}
		out[rel] = info.Mode().String()
		return nil
	})
	must(m.t, err)
	return out
}
