package publish

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
	"example.com/publish/stage/catalog"
)

// machine is a repository whose production is in an object store that others share.
type machine struct {
	*world
	store *buckettest.Memory
	via   bucket.Store // instead of store, if it is not nil
	who   string
	wait  func(context.Context, time.Duration) error // instead of the store's clock, if it is not nil
	of    catalog.Format                             // whose clients read the store; nil: listed, for publish serve
}

const inStore = "s3://bucket/images"

func (m *machine) open(string, *Config) (bucket.Store, error) {
	if m.via != nil {
		return m.via, nil
	}
	return m.store, nil
}

func (m *machine) clock() time.Time {
	if m.via != nil {
		return time.Now()
	}
	return m.store.Now()
}

func (m *machine) sleep(ctx context.Context, d time.Duration) error {
	if m.via != nil {
		return context.Cause(ctx)
	}
	if m.wait != nil {
		return m.wait(ctx, d)
	}
	return m.store.Sleep(ctx, d)
}

func newStore() *buckettest.Memory { return buckettest.New(epoch) }

// newMachine makes a repository that founds production in a store, or joins it.
func newMachine(t testing.TB, store *buckettest.Memory, who string, change ...func(*machine)) *machine {
	t.Helper()
	m := &machine{world: &world{}, store: store, who: who}
	for _, f := range change {
		f(m)
	}
	return joined(t, m)
}

// joined makes the repository of a machine.
func joined(t testing.TB, m *machine) *machine {
	t.Helper()
	if m.world == nil {
		m.world = &world{}
	}
	m.world.t, m.world.dir, m.world.now = t, filepath.Join(t.TempDir(), "repo"), epoch
	format := cmp.Or(m.of, m.format, catalog.Format(listed{}))
	c := choices
	c.Store, c.Format = m.open, func(string) catalog.Format { return format }
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	yaml := "production: " + inStore + "\ns3: {readers: serve}\n"
	if m.of != nil {
		m.world.format = m.of
		yaml = "format: " + m.of.Name() + "\nproduction: " + inStore + "\n"
	}
	if err := os.WriteFile(filepath.Join(m.dir, ConfigName), []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Init(m.dir, c, InitOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.repo().Join(ctx); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) repo() *Repo {
	m.t.Helper()
	c := choices
	c.Store = m.open
	config, err := LoadConfig(m.dir, c)
	if err != nil {
		m.t.Fatal(err)
	}
	if m.cfg != nil {
		m.cfg(config)
	}
	r, err := Open(m.dir, config, cmp.Or(m.format, catalog.Format(listed{})), sites, Options{Store: m.open, sleep: m.sleep,
		Now: m.clock, Who: m.who, HookOutput: onStderr, Warn: func(s string) { m.t.Log("warning:", s) }})
	if err != nil {
		m.t.Fatal(err)
	}
	r.step, r.remove = m.step, stuckFiles(nil)
	return r
}

func (m *machine) promote() *Result {
	m.t.Helper()
	res, err := m.repo().Promote(ctx, PromoteOptions{})
	if found := new(FindingsError); errors.As(err, &found) {
		m.t.Fatalf("%v: %+v", err, found.Report.Findings)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return res
}

// live returns what production names, as the store has it, and checks that all is there.
func (m *machine) live() map[string]string {
	m.t.Helper()
	r := m.repo()
	s, err := r.load(ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	out := map[string]string{}
	if s.current == nil {
		return out
	}
	text, err := os.ReadFile(filepath.Join(s.current.Dir, "index.json"))
	if err != nil {
		m.t.Fatal(err)
	}
	list, err := parseItems(text)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, i := range list {
		data := m.store.Data(i.Path)
		if sumOf(string(data)) != i.SHA256 {
			m.t.Fatalf("%s: the store has %q", i.Path, data)
		}
		out[i.Product+"/"+i.Version] = string(data)
	}
	return out
}

func (m *machine) wantLive(want map[string]string) {
	m.t.Helper()
	if diff := gocmp.Diff(want, m.live()); diff != "" {
		m.t.Fatalf("production (-want +got):\n%s", diff)
	}
}

func TestSharedPromote(t *testing.T) {
	m := newMachine(t, newStore(), "ada")
	m.put(map[string]string{"a/1": "one"})
	res := m.promote()
	if res.Generation != 1 || res.Unchanged {
		t.Fatalf("%+v", res)
	}
	m.wantLive(map[string]string{"a/1": "one"})
	if res := m.promote(); !res.Unchanged {
		t.Fatalf("%+v", res)
	}
	m.put(map[string]string{"a/2": "two"})
	if res := m.promote(); res.Generation != 2 || res.Carried != 1 {
		t.Fatalf("%+v", res)
	}
	m.wantLive(map[string]string{"a/2": "two"})
	r := m.repo()
	back, err := r.Revert(ctx, RevertOptions{})
	if err != nil || back.Generation != 3 || back.Origin != 1 {
		t.Fatalf("%+v, %v", back, err)
	}
	m.wantLive(map[string]string{"a/1": "one"})
	_, err = m.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Refused)
	events, err := m.repo().History(HistoryFilter{})
	if err != nil || len(events) != 3 {
		t.Fatalf("%v, %v", events, err)
	}
	st, err := m.repo().Status(ctx)
	if err != nil || st.Production.Generation != 3 || len(st.Generations) != 2 || st.RecoveryPending {
		t.Fatalf("%+v, %v", st, err)
	}
	if report, n, err := m.repo().Verify(ctx, "", true); err != nil || n != 3 || len(report.Findings) > 0 {
		t.Fatalf("%+v, %v", report, err)
	}
}

func TestSharedHoldAndPin(t *testing.T) {
	store := newStore()
	a, b := newMachine(t, store, "ada"), newMachine(t, store, "bob")
	a.put(map[string]string{"a/1": "one"})
	a.promote()
	if err := a.repo().Hold(ctx, "looking"); err != nil {
		t.Fatal(err)
	}
	_, err := b.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Refused)
	if err := b.repo().Unhold(ctx); err != nil {
		t.Fatal(err)
	}
	a.put(map[string]string{"a/2": "two"})
	a.promote()
	if err := b.repo().Pin(ctx, 1, "keep"); err != nil {
		t.Fatal(err)
	}
	store.Advance(24 * time.Hour)
	if res, err := a.repo().GC(ctx, false); err != nil || len(res.Generations) != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if err := a.repo().Unpin(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if res, err := b.repo().GC(ctx, false); err != nil || len(res.Generations) != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	a.wantLive(map[string]string{"a/2": "two"})
	for _, key := range store.Keys("images/") {
		if string(store.Data(key)) == "one" {
			t.Errorf("%s is still there", key)
		}
	}
}

func TestSharedHealthCheck(t *testing.T) {
	m := newMachine(t, newStore(), "ada")
	m.put(map[string]string{"a/1": "one"})
	m.promote()
	m.cfg = func(c *Config) { c.HealthCheck.Command = []string{"false"} }
	m.put(map[string]string{"a/2": "two"})
	_, err := m.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Switched)
	m.wantLive(map[string]string{"a/1": "one"})
	st, err := m.repo().Status(ctx)
	if err != nil || st.Production.Kind != "auto-revert" || st.RecoveryPending {
		t.Fatalf("%+v, %v", st, err)
	}
}

func TestSharedRefusesAnother(t *testing.T) {
	store := newStore()
	m := newMachine(t, store, "ada")
	m.put(map[string]string{"a/1": "one"})
	m.promote()
	// The number is that of another repository.
	other := newMachine(t, newStore(), "eve")
	other.store = store
	_, err := other.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Refused)
	if !strings.Contains(err.Error(), "another repository") || !errors.Is(err, generation.ErrForeign) {
		t.Fatal(err)
	}
}

// stageAlso stages items beside those that staging names.
func (m *machine) stageAlso(items map[string]string) {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, "staging", "index.json"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	list := []listedItem{}
	if err == nil {
		if list, err = parseItems(text); err != nil {
			m.t.Fatal(err)
		}
	}
	m.put(items)
	text, err = os.ReadFile(filepath.Join(m.dir, "staging", "index.json"))
	if err != nil {
		m.t.Fatal(err)
	}
	more, err := parseItems(text)
	if err != nil {
		m.t.Fatal(err)
	}
	if text, err = json.Marshal(append(list, more...)); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "staging", "index.json"), text, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// A machine that joins has the documents, and what they name counts as staged.
func TestSharedSparse(t *testing.T) {
	store := newStore()
	a := newMachine(t, store, "ada")
	a.put(map[string]string{"a/1": "one"})
	a.promote()
	b := newMachine(t, store, "bob")
	if res := b.promote(); !res.Unchanged {
		t.Fatalf("%+v", res)
	}
	b.stageAlso(map[string]string{"b/1": "uno"})
	if res := b.promote(); res.Generation != 2 || len(res.Added) != 1 || len(res.Removed) != 0 {
		t.Fatalf("%+v", res)
	}
	b.wantLive(map[string]string{"a/1": "one", "b/1": "uno"})
	st, err := b.repo().Status(ctx)
	if err != nil || !st.Staging.Equal || st.Staging.Errors != 0 {
		t.Fatalf("%+v, %v", st, err)
	}
}

// Where many machines write the history, it says on which one somebody did something; where
// one does, it has the name alone.
func TestSharedWho(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	m := newMachine(t, newStore(), "")
	m.put(map[string]string{"a/1": "one"})
	m.promote()
	events, err := m.repo().History(HistoryFilter{})
	if err != nil || len(events) != 1 || !strings.Contains(events[0].Who, "@"+host) {
		t.Errorf("%+v, %v", events, err)
	}
	if st, err := m.repo().Status(ctx); err != nil || st.Production.Who != events[0].Who {
		t.Errorf("%+v, %v", st, err)
	}
	r := newWorld(t, "symlink").repo()
	r.opt.Who = ""
	if who := r.who(); strings.Contains(who, "@") {
		t.Errorf("a repository of one machine says %q", who)
	}
}
