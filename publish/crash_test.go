package publish

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/simplestreams"
)

// The crash tests stop a command at every protocol point in three ways: it is killed,
// it gets an error before the step is done, and it gets an error although the step was
// done. The kills run in a child process, which is this test binary executed again, so
// that no deferred call cleans up. make faults stops each step in each way; other runs
// stop each step in one way, in rotation.

// long reports whether the tests that take minutes on a busy machine run completely.
var long = os.Getenv("PUBLISH_TEST_LONG") != ""

// faults says that a test takes every fault at every step and request, and not one fault at
// each, in turn: make faults sets PUBLISH_TEST_FAULTS.
var faults = os.Getenv("PUBLISH_TEST_FAULTS") != ""

// ways returns the ways in which the i-th step is stopped.
func ways(i int) []string {
	how := []string{"kill", "error"}
	if faults {
		return how
	}
	return how[i%2 : i%2+1]
}

func TestMain(m *testing.M) {
	if spec := os.Getenv("PUBLISH_TEST_CRASH"); spec != "" {
		crashChild(spec)
	}
	if how := os.Getenv("PUBLISH_TEST_SIGNER"); how != "" {
		signerChild(how)
	}
	os.Exit(m.Run())
}

// crashVerbs are the commands that are stopped, in the repository that crashWorld
// makes.
var crashVerbs = map[string]func(r *Repo) error{
	"promote":    func(r *Repo) error { _, err := r.Promote(ctx, PromoteOptions{}); return err },
	"revert":     func(r *Repo) error { _, err := r.Revert(ctx, RevertOptions{}); return err },
	"gc":         func(r *Repo) error { _, err := r.GC(ctx, false); return err },
	"recover":    func(r *Repo) error { _, err := r.Recover(ctx); return err },
	"revoke a/2": revokeVerb("a/2"),
	"revoke a/5": revokeVerb("a/5"),
	"prune": func(r *Repo) error { // on what pruneWorld makes
		r.Config.Retention = []RetentionRule{{Match: "*", KeepLast: 1}}
		_, err := r.Prune(ctx, PruneOptions{})
		return err
	},
	"prune tags": func(r *Repo) error { // on what tagWorld makes
		r.Config.Tags = []TagRule{{Repository: "**", Tag: ".*", KeepLast: 1}}
		_, err := r.Prune(ctx, PruneOptions{})
		return err
	},
	"receive": func(r *Repo) error { return syncWith(r, leadOf(r)) }, // of what followWorld makes
	"undo": func(r *Repo) error { // of the only prune
		_, err := r.Undo(ctx, r.Undos()[0].ID, false)
		return err
	},
	// On what signedWorld makes.
	"signed promote": func(r *Repo) error { _, err := r.Promote(ctx, PromoteOptions{}); return err },
	"signed revert":  func(r *Repo) error { _, err := r.Revert(ctx, RevertOptions{}); return err },
	"signed revoke":  revokeVerb(shelved + "/2"),
	"signed sign":    func(r *Repo) error { _, err := r.Sign(ctx, SignOptions{}); return err },
}

func revokeVerb(what string) func(*Repo) error {
	return func(r *Repo) error {
		_, err := r.Revoke(ctx, RevokeOptions{What: []string{what}, Why: "leaked"})
		return err
	}
}

var (
	crashOld = map[string]string{"a/2": "two", "a/3": "three"}
	crashNew = map[string]string{"a/3": "three", "a/4": "four"}
)

// crashWorld has three generations, the first of which is due. It has carried files,
// some of which are due, and a staging tree that differs.
func crashWorld(t *testing.T, mode string) *world {
	w := newWorldIn(t, fastDir(t), mode)
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.now = w.now.Add(time.Minute)
	w.put(map[string]string{"a/2": "two"})
	w.promote()
	w.now = w.now.Add(time.Hour)
	w.put(crashOld)
	w.promote()
	w.put(crashNew)
	w.now = w.now.Add(time.Hour + 30*time.Second)
	w.cfg = crashConfig
	return w
}

// spareWorld is crashWorld with a spare and with a due generation that becomes the
// next spare. All share one file.
func spareWorld(t *testing.T, mode string) *world {
	w := newWorldIn(t, fastDir(t), mode)
	put := func(items map[string]string) {
		items = maps.Clone(items)
		items["c/1"] = "common"
		w.put(items)
	}
	for _, items := range []map[string]string{{"a/0": "one"}, {"a/1": "one"}, {"a/2": "two"}} {
		put(items)
		w.promote()
		w.now = w.now.Add(time.Minute)
	}
	w.now = w.now.Add(time.Hour)
	put(crashOld)
	w.promote()
	w.now = epoch.Add(2*time.Hour + 90*time.Second)
	if res := w.gc(); len(res.Generations) != 1 || gone(filepath.Join(w.dir, "generations", generation.SpareName,
		"images", sumOf("common")[:16]+".bin")) {
		t.Fatalf("there is no spare: %+v", res)
	}
	put(crashNew)
	w.now = w.now.Add(time.Minute)
	w.cfg = crashConfig
	return w
}

// crashWorlds are the worlds in which commands are stopped.
var crashWorlds = map[string]func(t *testing.T, mode string) *world{"no spare": crashWorld, "spare": spareWorld}

func crashConfig(c *Config) { c.HealthCheck.Command = []string{"true"} }

// crashChild runs DIR|VERB|POINT|TIME|CLOSE and dies at the POINT-th step.
func crashChild(spec string) {
	f := strings.Split(spec, "|")
	at, _ := strconv.Atoi(f[2])
	now, _ := strconv.ParseInt(f[3], 10, 64)
	c, err := LoadConfig(f[0], choices)
	if err != nil {
		panic(err)
	}
	crashConfig(c)
	var format catalog.Format = listed{}
	switch {
	case f[1] == "prune tags" || f[1] == "undo":
		format = tagged{}
	case strings.HasPrefix(f[1], "signed "):
		format = simplestreams.Format{}
	}
	r, err := Open(f[0], c, format, sites, Options{Now: func() time.Time { return time.Unix(now, 0) }, Who: "child"})
	if err != nil {
		panic(err)
	}
	if r.closeBytes, err = strconv.ParseInt(f[4], 10, 64); err != nil {
		panic(err)
	}
	n := 0
	r.step = func(string) error {
		if n++; n == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	if err := crashVerbs[f[1]](r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// checkPromises checks everything that must hold at every instant.
func checkPromises(t *testing.T, w *world, promised map[string]string, verb string) {
	t.Helper()
	items := w.items()
	delete(items, "c/1")
	got := fmt.Sprint(items)
	allowed := map[string][]map[string]string{"promote": {crashOld, crashNew}, "revert": {crashOld, {"a/2": "two"}},
		"gc": {crashOld}, "recover": {crashOld, crashNew}}[verb]
	ok := false
	for _, items := range allowed {
		ok = ok || got == fmt.Sprint(items)
	}
	if !ok {
		t.Fatalf("production is neither the old tree nor the new one: %s", got)
	}
	served := w.served()
	for p, data := range promised {
		if served[p] != data {
			t.Fatalf("%s was served within the window, and is %q now", p, served[p])
		}
	}
}

// checkRecovered checks what must hold after recovery, in addition to the promises.
func checkRecovered(t *testing.T, w *world) {
	t.Helper()
	r := w.repo()
	report, n, err := r.Verify(ctx, "", false)
	if err != nil || len(report.Findings) != 0 {
		t.Fatalf("verify: %+v, %v", report, err)
	}
	st, err := r.Status(ctx)
	if err != nil || st.RecoveryPending {
		t.Fatalf("status: %+v, %v", st, err)
	}
	events, err := r.History(HistoryFilter{})
	if err != nil {
		t.Fatal(err)
	}
	before := 1 << 30
	for i, e := range events {
		if !e.Kind.Switch() {
			continue
		}
		if e.Generation >= before || before == 1<<30 && e.Generation != n {
			t.Fatalf("history line %d: generation %d, production is %d", i, e.Generation, n)
		}
		if e.Switch().Health == "pending" {
			t.Fatalf("generation %d was never checked", e.Generation)
		}
		before = e.Generation
	}
	list, err := os.ReadDir(filepath.Join(w.dir, "generations"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		if d.Name() == generation.SpareName {
			checkSpare(t, w)
			continue
		}
		if strings.HasPrefix(d.Name(), ".") {
			t.Fatalf("generations/%s was left behind", d.Name())
		}
		m, ok := generation.ParseNumber(d.Name())
		if report, _, err := r.Verify(ctx, d.Name(), false); ok && (err != nil || len(report.Findings) != 0) {
			t.Fatalf("generation %d: %+v, %v", m, report, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, ".production*")); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
}

// promisedBy returns what production must continue to serve: everything that it serves
// now, except for files that a gc may remove at this time.
func promisedBy(w *world) map[string]string {
	out := w.served()
	delete(out, "index.json")
	for p, data := range out {
		if data == "one" {
			delete(out, p) // its window has ended
		}
	}
	return out
}

func TestCrashAtEveryStep(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		for with, make := range crashWorlds {
			for _, verb := range []string{"promote", "revert", "gc"} {
				t.Run(verb+" with "+with, func(t *testing.T) { crashAtEveryStep(t, mode, make, verb) })
			}
		}
	})
}

func crashAtEveryStep(t *testing.T, mode string, make func(t *testing.T, mode string) *world, verb string) {
	w := make(t, mode)
	w.closeBytes = 1
	var steps []string
	w.step = func(name string) error { steps = append(steps, name); return nil }
	if err := crashVerbs[verb](w.repo()); err != nil {
		t.Fatal(err)
	}
	if len(steps) == 0 {
		t.Fatal("no steps")
	}
	for i, name := range steps {
		for _, how := range ways(i) {
			t.Run(fmt.Sprintf("%d-%s-%s", i+1, name, how), func(t *testing.T) {
				w := make(t, mode)
				w.closeBytes = 1
				promised := promisedBy(w)
				crash(t, w, verb, i+1, how)
				checkPromises(t, w, promised, verb)
				checkSpare(t, w)
				if _, err := w.repo().Recover(ctx); err != nil {
					t.Fatalf("recover: %v", err)
				}
				checkPromises(t, w, promised, verb)
				checkRecovered(t, w)
				if err := crashVerbs[verb](w.repo()); err != nil && (verb != "revert" || kindOf(err) != NotFound) {
					t.Fatalf("again: %v", err)
				}
				checkRecovered(t, w)
				w.put(map[string]string{"z/1": "zed"})
				if res := w.promote(); res.Unchanged {
					t.Fatal("unchanged")
				}
				checkRecovered(t, w)
			})
		}
	}
}

func crash(t *testing.T, w *world, verb string, at int, how string) {
	t.Helper()
	if how == "error" {
		n := 0
		failed := errors.New("injected")
		w.step = func(string) error {
			if n++; n == at {
				return failed
			}
			return nil
		}
		err := crashVerbs[verb](w.repo())
		w.step = nil
		if err == nil {
			// A gc that fails after a durable switch is only a warning, and
			// a swap that was applied although it reported an error counts.
			t.Logf("step %d of %s: the error did not stop it", at, verb)
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("PUBLISH_TEST_CRASH=%s|%s|%d|%d|%d", w.dir, verb, at, w.now.Unix(),
		w.repo().closeBytes))
	cmd.Stderr = os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was not killed: %v", err)
	}
}
