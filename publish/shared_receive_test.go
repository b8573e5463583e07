package publish

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket/buckettest"
	"example.com/publish/stage/catalog"
)

// leader is a repository that leads a target in an object store.
type leader struct {
	*world
	repo   func() *Repo
	target *machine // what the target's bucket has
}

const targetStore = "s3://other/eu"

// localLeader makes a leader whose production is on this machine.
func localLeader(t *testing.T, store *buckettest.Memory) *leader {
	w := newWorldIn(t, fastDir(t), "symlink")
	return leads(w, w.repo, store)
}

// sharedLeader makes a leader whose production is in a bucket, as that of another machine may
// be.
func sharedLeader(t *testing.T, of, store *buckettest.Memory, who string) *leader {
	m := newMachine(t, of, who)
	return leads(m.world, m.repo, store)
}

func leads(w *world, open func() *Repo, store *buckettest.Memory) *leader {
	l := &leader{world: w, target: &machine{world: &world{t: w.t, now: epoch}, store: store, who: "sync"}}
	l.repo = func() *Repo {
		r := open()
		r.Config.Targets = map[string]TargetConfig{"eu": {To: targetStore, S3: &S3Config{}}}
		r.Config.Targets["eu"].S3.setDefaults()
		r.Config.Targets["eu"].S3.Readers = ReadersServe
		return r
	}
	l.target.dir = filepath.Join(w.dir, ".publish", "stores", "eu")
	return l
}

// open opens the repository of the target, and makes it.
func (l *leader) open(lead *Lead) (*Repo, Leader, error) {
	dir, setup := l.repo().SetupInStore("eu", lead.ID)
	c := choices
	c.Store, c.sleep, c.Format = l.target.open, l.target.sleep, func(string) catalog.Format { return listed{} }
	if CheckLayout(dir) != nil {
		if err := InitTarget(dir, c, setup); err != nil {
			return nil, Leader{}, err
		}
	} else if err := Configure(dir, setup); err != nil {
		return nil, Leader{}, err
	}
	config, err := LoadConfig(dir, c)
	if err != nil {
		return nil, Leader{}, err
	}
	r, err := Open(dir, config, cmp.Or(l.format, catalog.Format(listed{})), sites, Options{Store: l.target.open,
		sleep: l.target.sleep, Now: l.target.clock, Who: l.target.who, Warn: func(s string) { l.t.Log("warning:", s) }})
	if err != nil {
		return nil, Leader{}, err
	}
	r.step = l.target.step
	return r, *setup.Leader, nil
}

// try is a sync.
func (l *leader) try() (*Received, error) { return l.tryIn(ctx) }

func (l *leader) tryIn(ctx context.Context) (*Received, error) {
	lead, err := l.repo().Lead(ctx)
	if err != nil {
		return nil, err
	}
	defer lead.Close()
	r, of, err := l.open(lead)
	if err != nil {
		return &Received{}, err
	}
	return r.ReceiveFrom(ctx, lead, of, nil)
}

func (l *leader) sync() *Received {
	l.t.Helper()
	did, err := l.try()
	if err != nil {
		l.t.Fatal(err)
	}
	l.follows()
	return did
}

// follows checks that the target serves what its leader does, and that all is there.
func (l *leader) follows() {
	t := l.t
	t.Helper()
	ours, err := l.repo().load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.target.repo().load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := ours.current, theirs.current; b == nil || a.Generation != b.Generation || a.TreeID != b.TreeID ||
		a.Origin != b.Origin {
		t.Fatalf("the target has %+v, its leader %+v", theirs.current, a.Head)
	}
	if report, _, err := l.target.repo().Verify(ctx, "", true); err != nil || len(report.Findings) > 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	if st, err := l.target.repo().Status(ctx); err != nil || st.RecoveryPending || st.Leader == nil {
		t.Fatalf("%+v, %v", st, err)
	}
}

// holds reports whether the target's bucket has an object with these bytes.
func (l *leader) holds(data string) bool {
	for _, key := range l.target.store.Keys("images/") {
		if string(l.target.store.Data(key)) == data {
			return true
		}
	}
	return false
}

// eachLeader runs a test with both kinds of leaders.
func eachLeader(t *testing.T, test func(t *testing.T, l *leader)) {
	t.Run("local", func(t *testing.T) { test(t, localLeader(t, newStore())) })
	t.Run("bucket", func(t *testing.T) { test(t, sharedLeader(t, newStore(), newStore(), "ada")) })
}

func (l *leader) promote() *Result {
	l.t.Helper()
	res, err := l.repo().Promote(ctx, PromoteOptions{Force: true})
	if err != nil {
		l.t.Fatal(err)
	}
	return res
}

func TestStoreFollows(t *testing.T) {
	eachLeader(t, func(t *testing.T, l *leader) {
		l.put(map[string]string{"a/1": "one", "a/2": "two"})
		l.promote()
		if did := l.sync(); !did.Switched || did.From != 0 || did.Sent != 3 {
			t.Errorf("%+v", did)
		}
		if did := l.sync(); did.Switched || did.Sent != 0 {
			t.Errorf("%+v", did)
		}
		// Two generations are skipped. What the target had is carried by its own window.
		for _, items := range []map[string]string{{"a/2": "two", "a/3": "three"}, {"a/4": "four"}, {"a/5": "five"}} {
			l.put(items)
			l.promote()
		}
		if did := l.sync(); did.From != 1 || did.Generation != 4 || did.Carried != 2 || did.Sent != 2 || did.Bytes == 0 {
			t.Errorf("%+v", did)
		}
		l.target.wantLive(map[string]string{"a/5": "five"})
		if !l.holds("one") || l.holds("three") {
			t.Error(l.target.store.Keys("images/"))
		}
		// A revert is a new generation. What a kept one has is not sent.
		if _, err := l.repo().Revert(ctx, RevertOptions{To: 1, Force: true}); err != nil {
			t.Fatal(err)
		}
		if did := l.sync(); did.Sent != 0 || did.Generation != 5 {
			t.Errorf("%+v", did)
		}
		l.target.wantLive(map[string]string{"a/1": "one", "a/2": "two"})
		events, err := l.target.repo().History(HistoryFilter{})
		if err != nil || !strings.HasSuffix(events[0].Who, " via sync") || events[0].From != 4 {
			t.Errorf("%+v, %v", events[0], err)
		}
		// The next sync deletes what is due.
		l.target.store.Advance(3 * time.Hour)
		if did := l.sync(); did.Switched || l.holds("five") {
			t.Errorf("%+v, %v", did, l.target.store.Keys("images/"))
		}
		l.target.store.Counts()
		l.sync()
	})
}

func TestStoreRevokes(t *testing.T) {
	for name, with := range map[string]struct {
		then  func(l *leader)
		again bool // it is served again
	}{
		"at once": {func(*leader) {}, false},
		"later": {func(l *leader) {
			l.put(map[string]string{"a/6": "six"})
			l.promote()
		}, false},
		"by force again": {func(l *leader) {
			l.put(map[string]string{"a/2": "poison", "a/7": "seven"})
			l.promote()
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			eachLeader(t, func(t *testing.T, l *leader) {
				l.put(map[string]string{"a/1": "one", "a/2": "poison"})
				l.promote()
				l.sync()
				l.put(map[string]string{"a/2": "poison", "a/3": "three"})
				l.promote()
				if _, err := l.repo().Revoke(ctx, RevokeOptions{What: []string{"a/2"}, Why: "has a key"}); err != nil {
					t.Fatal(err)
				}
				with.then(l)
				if did := l.sync(); !did.Switched || did.Redacted == 0 && !with.again {
					t.Errorf("%+v", did)
				}
				if l.holds("poison") != with.again || !l.holds("one") {
					t.Error(l.target.store.Keys("images/"))
				}
				report, _, err := l.target.repo().Verify(ctx, "1", true)
				if err != nil || len(report.Findings) > 0 || len(report.Redacted) == 0 {
					t.Errorf("%+v, %v", report, err)
				}
				if did := l.sync(); did.Switched || did.Redacted != 0 || did.Sent != 0 {
					t.Errorf("again: %+v", did)
				}
			})
		})
	}
}

// A revoke of content that only the target still carries makes no generation.
func TestStoreRevokesWhatItCarries(t *testing.T) {
	l := localLeader(t, newStore())
	l.put(map[string]string{"a/1": "poison", "a/2": "two"})
	l.promote()
	l.sync()
	l.put(map[string]string{"a/2": "two"})
	l.promote()
	l.now = l.now.Add(3 * time.Hour)
	l.sync() // its window begins only now
	l.gc()
	l.put(map[string]string{"a/1": "poison", "a/2": "two"})
	l.revoke("a/1")
	if !l.holds("poison") {
		t.Fatal("it is not carried")
	}
	if did := l.sync(); did.Switched || did.Redacted == 0 || l.holds("poison") {
		t.Errorf("%+v, %v", did, l.target.store.Keys("images/"))
	}
	if did := l.sync(); did.Redacted != 0 {
		t.Errorf("again: %+v", did)
	}
}

func TestStoreMakesNothingItself(t *testing.T) {
	l := localLeader(t, newStore())
	l.put(map[string]string{"a/1": "one"})
	l.promote()
	l.sync()
	joined := newMachine(t, l.target.store, "bob") // on another machine
	for _, m := range []*machine{l.target, joined} {
		r := m.repo()
		for verb, run := range map[string]func() error{
			"promote": func() error { _, err := r.Promote(ctx, PromoteOptions{Force: true}); return err },
			"revert":  func() error { _, err := r.Revert(ctx, RevertOptions{To: 1}); return err },
			"prune":   func() error { _, err := r.Prune(ctx, PruneOptions{}); return err },
			"revoke":  revokeOf(r, "a/1"),
			"reset":   func() error { _, _, err := r.Reset(ctx); return err },
			"import":  func() error { _, err := r.Import(ctx, t.TempDir(), false); return err },
		} {
			err := run()
			if wantKind(t, err, Refused); err == nil || !strings.Contains(err.Error(), "target eu of the repository ") {
				t.Errorf("%s: %v", verb, err)
			}
		}
		for verb, run := range map[string]func() error{
			"gc":      func() error { _, err := r.GC(ctx, false); return err },
			"recover": func() error { _, err := r.Recover(ctx); return err },
			"pin":     func() error { return errors.Join(r.Pin(ctx, 1, "why"), r.Unpin(ctx, 1)) },
			"hold":    func() error { return errors.Join(r.Hold(ctx, "why"), r.Unhold(ctx)) },
		} {
			if err := run(); err != nil {
				t.Errorf("%s: %v", verb, err)
			}
		}
	}
	// Without its copies, too.
	if err := joined.repo().remove(filepath.Join(joined.dir, ".publish", "bucket")); err != nil {
		t.Fatal(err)
	}
	_, err := joined.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Refused)
}

func TestStoreOnHold(t *testing.T) {
	l := localLeader(t, newStore())
	l.put(map[string]string{"a/1": "one"})
	l.promote()
	l.sync()
	if err := l.target.repo().Hold(ctx, "a fair"); err != nil {
		t.Fatal(err)
	}
	l.put(map[string]string{"a/1": "one", "a/2": "poison"})
	l.promote()
	did, err := l.try()
	wantKind(t, err, Refused)
	if did.Generation != 1 || l.holds("poison") {
		t.Errorf("%+v", did)
	}
	l.revert(1)
	l.sync() // what an operator decided
	l.revoke("a/1")
	l.sync()
	if l.holds("one") {
		t.Error("it is still there")
	}
}

// Content that is damaged where the leader has it does not reach the target.
func TestStoreDamagedLeader(t *testing.T) {
	l := localLeader(t, newStore())
	l.put(map[string]string{"a/1": "one"})
	l.promote()
	l.sync()
	l.put(map[string]string{"a/1": "one", "a/2": "two"})
	l.promote()
	for path, data := range l.served() {
		if data == "two" {
			if err := errors.Join(os.Chmod(filepath.Join(l.production(), path), 0o600),
				os.WriteFile(filepath.Join(l.production(), path), []byte("owt"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	did, err := l.try()
	wantKind(t, err, Invalid)
	if did.Generation != 1 || did.Switched || l.holds("owt") {
		t.Errorf("%+v", did)
	}
	l.target.wantLive(map[string]string{"a/1": "one"})
}

// A sync that was killed before it replaced the files beside the index is finished by the
// next one.
func TestStoreBeside(t *testing.T) {
	l := localLeader(t, newStore())
	l.target.cfg = func(c *Config) { c.S3.Readers = ReadersBucket }
	repo := l.repo
	l.repo = func() *Repo {
		r := repo()
		r.Config.Targets["eu"].S3.Readers = ReadersBucket
		return r
	}
	l.put(map[string]string{"a/1": "one"})
	l.promote()
	killed := errors.New("killed")
	l.target.step = func(name string) error {
		if name == "before-put" {
			return killed
		}
		return nil
	}
	did, err := l.try()
	if wantKind(t, err, Switched); did.Generation != 1 || !did.NotAtomic || !errors.Is(err, killed) {
		t.Errorf("%+v, %v", did, err)
	}
	l.target.step = nil
	if l.target.store.Data("index.json") != nil {
		t.Error("it is there")
	}
	l.sync()
	if l.target.store.Data("index.json") == nil {
		t.Error("it is not there")
	}
	l.sync()
}

// What a sync asks the store for.
func TestStoreRequests(t *testing.T) {
	l := localLeader(t, newStore())
	l.put(map[string]string{"a/1": "one"})
	l.promote()
	l.sync()
	count := func() (n int) {
		counts, _ := l.target.store.Counts()
		for _, c := range counts {
			n += c
		}
		return n
	}
	count()
	if _, err := l.try(); err != nil {
		t.Fatal(err)
	}
	if n := count(); n > 1 {
		t.Errorf("a sync of what is up to date takes %d requests", n)
	}
	l.put(map[string]string{"a/1": "one", "a/2": "two"})
	l.promote()
	if _, err := l.try(); err != nil {
		t.Fatal(err)
	}
	if n := count(); n > 8 {
		t.Errorf("a sync takes %d requests", n)
	}
}
