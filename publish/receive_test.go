package publish

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/tree"
)

// newFollower makes a repository that leads, and one that is to be its target.
func newFollower(t *testing.T, mode string) (lead, target *world) {
	base := fastDir(t)
	return newWorldIn(t, filepath.Join(base, "lead"), mode), newWorldIn(t, filepath.Join(base, "target"), mode)
}

// leadOf opens the repository that leads r, of newFollower.
func leadOf(r *Repo) *Repo {
	dir := filepath.Join(r.Dir, "..", "..", "lead", "repo")
	c, err := LoadConfig(dir, choices)
	if err != nil {
		panic(err)
	}
	l, err := Open(dir, c, listed{}, sites, Options{Now: r.now, Who: "leader"})
	if err != nil {
		panic(err)
	}
	return l
}

// syncWith is a sync without a line between the ends.
func syncWith(target, lead *Repo) error {
	_, _, err := syncAs(target, lead, "eu")
	return err
}

func syncAs(target, lead *Repo, name string) (got []tree.Row, did *Received, err error) {
	l, err := lead.Lead(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	p, at, err := target.Receive(ctx, Leader{ID: l.ID, Target: name}, l.At())
	if err != nil {
		return nil, nil, err
	}
	defer p.Close()
	if *at == l.At() {
		return nil, &Received{Generation: at.Generation, From: at.Generation}, nil
	}
	m, err := generation.Decode(l.Sealed)
	if err != nil {
		return nil, nil, err
	}
	lacks, err := p.Offer(ctx, m, l.Stones, l.Revoked)
	if err == nil && len(lacks) > 0 {
		var line bytes.Buffer
		if err := l.Write(ctx, &line, lacks, nil); err != nil {
			return nil, nil, err
		}
		err = generation.ReadContents(ctx, &line, m, lacks, p.Put)
	}
	if err != nil {
		return nil, nil, err
	}
	did, err = p.Finish(ctx)
	return lacks, did, err
}

// sync brings target to what lead has, and checks it.
func (target *world) sync(lead *world) (got []tree.Row, did *Received) {
	target.t.Helper()
	target.now = lead.now
	got, did, err := syncAs(target.repo(), lead.repo(), "eu")
	if err != nil {
		target.t.Fatal(err)
	}
	target.follows(lead)
	return got, did
}

// follows checks that target serves what lead serves.
func (target *world) follows(lead *world) {
	t := target.t
	t.Helper()
	ours, err := lead.repo().load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := target.repo().load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if theirs.current == nil {
		t.Fatal("the target has no production")
	}
	a, b := ours.current, theirs.current
	if a.Generation != b.Generation || a.TreeID != b.TreeID || a.Origin != b.Origin {
		t.Fatalf("the target has %+v, its leader %+v", b.Head, a.Head)
	}
	if x, y := fmt.Sprint(lead.items()), fmt.Sprint(target.items()); x != y {
		t.Fatalf("the target has %s, its leader %s", y, x)
	}
}

func names(rows []tree.Row) string {
	var out []string
	for _, row := range rows {
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(row.Path, "images/"), ".bin"))
	}
	return strings.Join(out, " ")
}

func short(data string) string { return sumOf(data)[:16] }

func TestTargetFollows(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		lead, target := newFollower(t, mode)
		lead.put(map[string]string{"a/1": "one", "a/2": "two"})
		lead.promote()
		if _, did := target.sync(lead); !did.Switched || did.From != 0 {
			t.Errorf("%+v", did)
		}
		if _, did := target.sync(lead); did.Switched {
			t.Errorf("%+v", did)
		}
		// Two generations are skipped. What the first of them brought was never seen here; what
		// the target had is carried, by its own window.
		for i, items := range []map[string]string{{"a/2": "two", "a/3": "three"}, {"a/4": "four"}, {"a/5": "five"}} {
			lead.now = epoch.Add(time.Duration(i+1) * 90 * time.Minute)
			lead.put(items)
			lead.promote()
		}
		got, did := target.sync(lead)
		if want := short("five") + " index.json"; names(got) != want {
			t.Errorf("it got %s, not %s", names(got), want)
		}
		if did.From != 1 || did.Generation != 4 || did.Carried != 2 {
			t.Errorf("%+v", did)
		}
		served := target.served()
		for _, data := range []string{"one", "two", "five"} {
			if served["images/"+short(data)+".bin"] != data {
				t.Errorf("%s is not served: %v", data, served)
			}
		}
		// A revert is a new generation. Its content is still here.
		lead.revert(3)
		if got, _ := target.sync(lead); names(got) != short("four")+" index.json" {
			t.Errorf("it got %s", names(got))
		}
		lead.now = lead.now.Add(time.Minute)
		lead.put(map[string]string{"a/5": "five", "b/1": "two"})
		if _, err := lead.repo().Promote(ctx, PromoteOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
		if got, _ := target.sync(lead); names(got) != "index.json" {
			t.Errorf("it got %s, and has the rest", names(got))
		}
		checkRecovered(t, target)
		events, err := target.repo().History(HistoryFilter{})
		if err != nil || events[0].Who != "tester via sync" || events[0].From != 5 {
			t.Errorf("%+v, %v", events[0], err)
		}
		lead.now = lead.now.Add(3 * time.Hour)
		target.now = lead.now
		target.gc()
		if served := target.served(); served["images/"+short("one")+".bin"] != "" {
			t.Error("its window has ended")
		}
		checkRecovered(t, target)
	})
}

func TestTargetMakesNothingItself(t *testing.T) {
	lead, target := newFollower(t, "symlink")
	lead.put(map[string]string{"a/1": "one"})
	lead.promote()
	target.sync(lead)
	r := target.repo()
	for verb, run := range map[string]func() error{
		"promote": func() error { _, err := r.Promote(ctx, PromoteOptions{Force: true}); return err },
		"revert":  func() error { _, err := r.Revert(ctx, RevertOptions{To: 1}); return err },
		"prune":   func() error { _, err := r.Prune(ctx, PruneOptions{}); return err },
		"revoke":  revokeOf(r, "a/1"),
		"reset":   func() error { _, _, err := r.Reset(ctx); return err },
		"import":  func() error { _, err := r.Import(ctx, t.TempDir(), false); return err },
		"remove":  func() error { _, err := r.Remove(ctx, "a/1"); return err },
	} {
		err := run()
		if wantKind(t, err, Refused); err == nil || !strings.Contains(err.Error(), "target eu of the repository ") {
			t.Errorf("%s: %v", verb, err)
		}
	}
	for verb, run := range map[string]func() error{
		"gc":      func() error { _, err := r.GC(ctx, false); return err },
		"recover": func() error { _, err := r.Recover(ctx); return err },
		"pin":     func() error { return r.Pin(ctx, 1, "why") },
		"hold":    func() error { return r.Hold(ctx, "why") },
	} {
		if err := run(); err != nil {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

func revokeOf(r *Repo, what string) func() error { return func() error { return revokeVerb(what)(r) } }

func TestTargetOfAnother(t *testing.T) {
	lead, target := newFollower(t, "symlink")
	lead.put(map[string]string{"a/1": "one"})
	lead.promote()
	refused := func(target, lead *Repo, name, want string) {
		t.Helper()
		_, _, err := syncAs(target, lead, name)
		if wantKind(t, err, Refused); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
	refused(lead.repo(), lead.repo(), "eu", "is the repository that leads")

	own := newWorld(t, "symlink")
	own.put(map[string]string{"b/1": "own"})
	refused(own.repo(), lead.repo(), "eu", "something is staged")
	own.promote()
	refused(own.repo(), lead.repo(), "eu", "a repository of its own")

	target.sync(lead)
	refused(target.repo(), own.repo(), "eu", "target eu of another repository")
	refused(target.repo(), lead.repo(), "us", "is the target eu of this repository, not us")

	// A leader that went back.
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(lead.dir)); err != nil {
		t.Fatal(err)
	}
	lead.put(map[string]string{"a/2": "two"})
	lead.promote()
	target.sync(lead)
	old := &world{t: t, dir: copied, now: lead.now}
	refused(target.repo(), old.repo(), "eu", "is ahead of generation 1")
	old.put(map[string]string{"a/2": "other"})
	old.promote()
	refused(target.repo(), old.repo(), "eu", "has another generation 2")
	target.follows(lead)

	if err := os.WriteFile(target.repo().leaderPath(), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := target.repo().Promote(ctx, PromoteOptions{}); err == nil || !strings.Contains(err.Error(), "whose target") {
		t.Error(err)
	}
	if err := syncWith(target.repo(), lead.repo()); err == nil || !strings.Contains(err.Error(), "whose target") {
		t.Error(err)
	}
}

func TestTargetOnHold(t *testing.T) {
	lead, target := newFollower(t, "symlink")
	lead.put(map[string]string{"a/1": "one"})
	lead.promote()
	target.sync(lead)
	if err := target.repo().Hold(ctx, "a fair"); err != nil {
		t.Fatal(err)
	}
	lead.put(map[string]string{"a/1": "one", "a/2": "poison"})
	lead.promote()
	wantKind(t, syncWith(target.repo(), lead.repo()), Refused)
	lead.revert(1)
	target.sync(lead) // what an operator decided
	lead.revoke("a/1")
	target.sync(lead)
	nowhere(t, target, "one")
}

// A health check of a target that fails leaves the generation: another number would be
// one of its own.
func TestTargetIsSick(t *testing.T) {
	lead, target := newFollower(t, "symlink")
	lead.put(map[string]string{"a/1": "one"})
	lead.promote()
	target.sync(lead)
	target.cfg = func(c *Config) { c.HealthCheck.Command = []string{"false"} }
	lead.put(map[string]string{"a/2": "two"})
	lead.promote()
	wantKind(t, syncWith(target.repo(), lead.repo()), Switched)
	target.follows(lead)
	target.cfg = nil
	lead.put(map[string]string{"a/3": "three"})
	lead.promote()
	target.sync(lead)
	checkRecovered(t, target)
}

func TestTargetRevokes(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		for name, with := range map[string]struct {
			then    func(lead *world)
			carried bool // what was dropped while nobody synced is still carried
		}{
			"at once": {func(*world) {}, false},
			"later": {func(lead *world) {
				lead.put(map[string]string{"a/6": "six"})
				lead.promote()
			}, true},
			"by force again": {func(lead *world) {
				lead.put(map[string]string{"a/2": "poison", "a/7": "seven"})
				if _, err := lead.repo().Promote(ctx, PromoteOptions{Force: true}); err != nil {
					lead.t.Fatal(err)
				}
			}, true},
		} {
			t.Run(name, func(t *testing.T) {
				lead, target := newFollower(t, mode)
				lead.put(map[string]string{"a/1": "one", "a/2": "poison"})
				lead.promote()
				target.sync(lead)
				lead.now = lead.now.Add(time.Minute)
				lead.put(map[string]string{"a/2": "poison", "a/3": "three"})
				lead.promote()
				lead.revoke("a/2")
				with.then(lead)
				_, did := target.sync(lead)
				if did.Redacted == 0 {
					t.Errorf("%+v", did)
				}
				if strings.HasPrefix(name, "by force") {
					if !gone(filepath.Join(target.dir, "generations", "000001", "images", short("poison")+".bin")) {
						t.Error("it is still in the kept tree")
					}
				} else {
					nowhere(t, target, "poison")
				}
				if served := target.served(); served["images/"+short("one")+".bin"] != "one" {
					t.Error("what was dropped is not carried")
				}
				checkRecovered(t, target)
				if _, did := target.sync(lead); did.Switched || did.Redacted != 0 {
					t.Errorf("again: %+v", did)
				}
			})
		}
	})
}

// A revoke of content that only the target still carries makes no generation.
func TestTargetRevokesWhatItCarries(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		lead, target := newFollower(t, mode)
		lead.put(map[string]string{"a/1": "poison", "a/2": "two"})
		lead.promote()
		target.sync(lead)
		lead.put(map[string]string{"a/2": "two"})
		lead.promote()
		lead.now = lead.now.Add(3 * time.Hour)
		target.sync(lead) // its window begins only now
		lead.gc()
		lead.put(map[string]string{"a/1": "poison", "a/2": "two"})
		lead.revoke("a/1")
		if served := target.served(); served["images/"+short("poison")+".bin"] != "poison" {
			t.Fatal("it is not carried")
		}
		if _, did := target.sync(lead); did.Switched || did.Redacted == 0 {
			t.Errorf("%+v", did)
		}
		nowhere(t, target, "poison")
		checkRecovered(t, target)
	})
}

// followWorld is a target that is behind by a revert, a promote and a revoke.
func followWorld(t *testing.T, mode string) (lead, target *world) {
	lead, target = newFollower(t, mode)
	lead.put(map[string]string{"a/1": "one", "a/2": "poison", "a/3": "three"})
	lead.promote()
	target.sync(lead)
	for _, items := range []map[string]string{{"a/3": "three", "a/4": "four"}, {"a/2": "poison", "a/5": "five", "a/6": "six"}} {
		lead.now = lead.now.Add(time.Minute)
		lead.put(items)
		lead.promote()
	}
	lead.revoke("a/2")
	target.now = lead.now
	target.cfg = crashConfig
	return lead, target
}

func TestReceiveCrash(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		_, w := followWorld(t, mode)
		var steps []string
		w.step = func(name string) error { steps = append(steps, name); return nil }
		if err := crashVerbs["receive"](w.repo()); err != nil {
			t.Fatal(err)
		}
		for i, name := range steps {
			for _, how := range ways(i) {
				t.Run(fmt.Sprintf("%d-%s-%s", i+1, name, how), func(t *testing.T) {
					lead, w := followWorld(t, mode)
					before := map[string]string{"a/1": "one", "a/2": "poison", "a/3": "three"}
					after := map[string]string{"a/5": "five", "a/6": "six"}
					promised := maps.Clone(w.served())
					delete(promised, "index.json")
					check := func(allowed ...map[string]string) {
						t.Helper()
						got, ok := fmt.Sprint(w.items()), false
						for _, items := range allowed {
							ok = ok || got == fmt.Sprint(items)
						}
						if !ok {
							t.Fatalf("production is neither the old tree nor the new one: %s", got)
						}
						served := w.served()
						for p, data := range promised {
							if data != "poison" && served[p] != data {
								t.Fatalf("%s was served within the window, and is %q now", p, served[p])
							}
						}
					}
					crash(t, w, "receive", i+1, how)
					check(before, after)
					if _, err := w.repo().Recover(ctx); err != nil {
						t.Fatalf("recover: %v", err)
					}
					check(before, after)
					checkRecovered(t, w)
					w.sync(lead)
					check(after)
					nowhere(t, w, "poison")
					checkRecovered(t, w)
					if !gone(w.repo().incoming()) {
						t.Error("what came is still there")
					}
					if _, did := w.sync(lead); did.Switched || did.Redacted != 0 {
						t.Errorf("again: %+v", did)
					}
					lead.put(map[string]string{"z/1": "zed"})
					lead.promote()
					w.sync(lead)
					checkRecovered(t, w)
				})
			}
		}
	})
}

// What came before a crash is not asked for again, unless it is cut.
func TestReceiveGoesOn(t *testing.T) {
	lead, target := newFollower(t, "symlink")
	lead.put(map[string]string{"a/1": "one", "a/2": "two", "a/3": "three"})
	lead.promote()
	n := 0
	target.step = func(name string) error {
		if name == "received" {
			n++
		}
		if n == 3 {
			return os.ErrProcessDone
		}
		return nil
	}
	if err := syncWith(target.repo(), lead.repo()); err == nil {
		t.Fatal("it was not stopped")
	}
	target.step = nil
	list, err := os.ReadDir(target.repo().incoming())
	if err != nil || len(list) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	part := filepath.Join(target.repo().incoming(), list[0].Name())
	if err := os.Chmod(part, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(part, 1); err != nil {
		t.Fatal(err)
	}
	got, _ := target.sync(lead)
	if len(got) != 2 {
		t.Errorf("it got %s", names(got))
	}
	checkRecovered(t, target)
}
