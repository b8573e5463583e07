package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"example.com/publish/publish/site/bucket/buckettest"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/simplestreams"
)

// signedMachine signs what clients read in the store.
type signedMachine struct {
	*machine
	keys *signers
}

func newSignedMachine(t testing.TB, store *buckettest.Memory, who string, keys *signers) signedMachine {
	m := joined(t, &machine{store: store, who: who, of: simplestreams.Format{}})
	m.cfg = keys.sign
	return signedMachine{m, keys}
}

// read reads an object of the store.
func (m signedMachine) read(key string) ([]byte, error) {
	data := m.store.Data(key)
	if data == nil {
		return nil, &fs.PathError{Op: "get", Path: key, Err: fs.ErrNotExist}
	}
	return data, nil
}

// clients checks what clients of the store with keys find, at any time: all that index.sjson
// leads to is there and signed, and nothing that it names may be replaced. It returns the contents of the
// images.
func (m signedMachine) clients() (map[string]string, error) {
	paths, items, err := m.keys.documents(m.read, m.store.Now())
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		if name := path.Base(p); name != "index.sjson" && !strings.Contains(name, sumOf(string(m.store.Data(p)))) {
			return nil, fmt.Errorf("index.sjson names %s, which is not named by its bytes", p)
		}
	}
	images := map[string]string{}
	for _, i := range items {
		data, err := m.read(i.Path)
		if err != nil || sumOf(string(data)) != i.SHA256 {
			return nil, fmt.Errorf("%s: %w: %q", i.Path, err, data)
		}
		images[i.Version] = string(data)
	}
	if _, err := m.keys.listing(m.read); err != nil && !errors.Is(err, errTwo) {
		return nil, err
	}
	return images, nil
}

// wantClients checks that clients with keys find what those without find, of the generation
// that is live, and that a client can check by the list.
func (m signedMachine) wantClients(when string, want map[string]string) {
	m.t.Helper()
	images, err := m.clients()
	if err != nil || !maps.Equal(images, want) {
		m.t.Fatalf("%s: clients find %v, %v", when, images, err)
	}
	files := fstest.MapFS{}
	for _, key := range m.store.Keys("") {
		files[key] = &fstest.MapFile{Data: m.store.Data(key)}
	}
	cat, err := simplestreams.Format{}.Read(ctx, catalog.Files(files))
	if err != nil || len(cat.Items) != len(want) {
		m.t.Fatalf("%s: clients without keys find %+v, %v", when, cat, err)
	}
	for _, i := range cat.Items {
		if images[i.Version] != string(m.store.Data(i.Path)) {
			m.t.Fatalf("%s: clients without keys find %s", when, m.store.Data(i.Path))
		}
	}
	beside := 0
	for _, key := range cat.Documents {
		if key == simplestreams.IndexPath {
			if m.store.Data(key+".gpg") != nil {
				m.t.Fatalf("%s: a signature lies beside a document that is replaced", when)
			}
			continue
		}
		if err := m.keys.beside(m.store.Data(key), m.store.Data(key+".gpg"), m.store.Now); err != nil {
			m.t.Fatalf("%s: %s.gpg: %v", when, key, err)
		}
		beside++
	}
	if beside == 0 {
		m.t.Fatalf("%s: no catalog has a signature beside it: %q", when, cat.Documents)
	}
	st, err := m.repo().Status(ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	l, err := m.keys.listing(m.read)
	if err != nil || l.Generation != st.Production.Generation {
		m.t.Fatalf("%s: %+v, %v, and production is %+v", when, l, err, st.Production)
	}
	for _, row := range l.Rows {
		switch key := row.Path; {
		case key == simplestreams.IndexPath: // it has other bytes there, and index.sjson says what it should say
		case strings.HasSuffix(key, ".json"):
			if key = (simplestreams.Format{}).DocumentKey(key, row.SHA256); sumOf(string(m.store.Data(key))) != row.SHA256 {
				m.t.Fatalf("%s: %s is not what the list says", when, key)
			}
		case sumOf(string(m.store.Data(key))) != row.SHA256:
			m.t.Fatalf("%s: %s is not what the list says", when, key)
		}
	}
}

// wantKept checks that all is there that a kept generation needs.
func (m signedMachine) wantKept(when string) {
	m.t.Helper()
	st, err := m.repo().Status(ctx)
	if err != nil || st.RecoveryPending {
		m.t.Fatalf("%s: %+v, %v", when, st, err)
	}
	for _, g := range st.Generations {
		if report, _, err := m.repo().Verify(ctx, fmt.Sprint(g.Generation), true); err != nil || len(report.Findings) > 0 {
			m.t.Fatalf("%s: generation %d: %+v, %v", when, g.Generation, report, err)
		}
	}
	r := m.repo()
	r.Config.OrphanGrace = 1
	strays, err := r.GCStrays(ctx, true)
	served := func(key string) bool { return !strings.HasPrefix(key, "_publish/") }
	if err != nil || slices.ContainsFunc(strays.Keys, served) {
		m.t.Fatalf("%s: %+v, %v", when, strays, err)
	}
}

func (m signedMachine) no(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// Two machines sign what clients read in a store. Clients look at each request: what
// index.sjson leads to is there and signed, before, between and after the switches.
func TestSharedSigned(t *testing.T) {
	keys, store := newSigners(t), newStore()
	a := newSignedMachine(t, store, "ada", keys)
	a.shelve(map[string]string{"1": "one"})
	a.promote()
	b := newSignedMachine(t, store, "bob", keys)
	var looking atomic.Bool // requests are sent at once
	store.Before = func(context.Context, buckettest.Request) error {
		if looking.CompareAndSwap(false, true) {
			if _, err := a.clients(); err != nil {
				t.Error("at a request:", err)
			}
			looking.Store(false)
		}
		return nil
	}
	check := func(when string, want map[string]string) {
		t.Helper()
		a.wantClients(when, want)
		b.wantKept(when)
	}
	one := map[string]string{"1": "one"}
	check("first", one)
	b.shelve(map[string]string{"1": "one", "2": "two"})
	if res := b.promote(); res.Generation != 2 ||
		slices.ContainsFunc(res.Warnings, func(f catalog.Finding) bool { return f.Code == "no-place" }) {
		t.Fatalf("%+v", res)
	}
	check("second", map[string]string{"1": "one", "2": "two"})
	index := string(store.Data("streams/v1/index.sjson"))
	_, err := a.repo().Revert(ctx, RevertOptions{})
	a.no(err)
	check("revert", one)
	_, err = b.repo().Revert(ctx, RevertOptions{To: 2})
	b.no(err)
	check("revert of the revert", map[string]string{"1": "one", "2": "two"})
	if string(store.Data("streams/v1/index.sjson")) != index {
		t.Error("a revert has other signatures than the generation to which it goes")
	}
	store.Advance(time.Minute)
	res, err := a.repo().Sign(ctx, SignOptions{})
	if err != nil || res.Generation != 5 || res.Origin != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	check("sign", map[string]string{"1": "one", "2": "two"})
	if string(store.Data("streams/v1/index.sjson")) == index {
		t.Error("sign makes no new signatures")
	}
	_, _, err = a.repo().Reset(ctx)
	a.no(err)
	if res := a.promote(); !res.Unchanged {
		t.Fatalf("after a reset: %+v", res)
	}
	store.Advance(48 * time.Hour)
	_, err = b.repo().GC(ctx, false)
	b.no(err)
	check("gc", map[string]string{"1": "one", "2": "two"})
	a.shelve(map[string]string{"1": "one", "2": "two", "3": "three"})
	a.promote()
	_, err = b.repo().Revoke(ctx, RevokeOptions{What: []string{shelved + "/2"}, Why: "leaked"})
	b.no(err)
	check("revoke", map[string]string{"1": "one", "3": "three"})
	store.Advance(48 * time.Hour)
	_, err = a.repo().GC(ctx, false)
	a.no(err)
	check("another gc", map[string]string{"1": "one", "3": "three"})
	n := 0
	for _, key := range store.Keys("streams/v1/") {
		if strings.HasSuffix(key, ".sjson") {
			n++
		}
	}
	for _, key := range store.Keys("streams/v1/") {
		if of, is := strings.CutSuffix(key, ".gpg"); is && store.Data(of) == nil {
			t.Errorf("%s is a signature of what is not there", key)
		}
	}
	if n != 2 {
		t.Errorf("%d signed documents are left of one generation: %q", n, store.Keys("streams/v1/"))
	}
}

// A machine is killed when the pointer is written, and before index.sjson is: clients find the
// former tree, whole, and the next command of another machine writes it.
func TestSharedKilledSigned(t *testing.T) {
	keys := newSigners(t)
	for verb, next := range map[string]func(signedMachine) error{
		"recover": func(m signedMachine) error { _, err := m.repo().Recover(ctx); return err },
		"gc":      func(m signedMachine) error { _, err := m.repo().GC(ctx, false); return err },
		"sign":    func(m signedMachine) error { _, err := m.repo().Sign(ctx, SignOptions{}); return err },
		"promote": func(m signedMachine) error { _, err := m.repo().Promote(ctx, PromoteOptions{}); return err },
	} {
		for at := 0; ; at++ {
			store := newStore()
			a := newSignedMachine(t, store, "ada", keys)
			old, made := map[string]string{"1": "one"}, map[string]string{"2": "two"}
			a.shelve(old)
			a.promote()
			a.shelve(made)
			killed := errors.New("killed")
			var sent atomic.Int64 // from the switch on; requests are sent at once
			store.Before = func(_ context.Context, r buckettest.Request) error {
				switch {
				case sent.Load() > int64(at):
					return killed
				case sent.Load() > 0 || r.Op == "swap" && r.Key == simplestreams.IndexPath:
					sent.Add(1)
				}
				return nil
			}
			_, err := a.repo().Promote(ctx, PromoteOptions{})
			if store.Before = nil; sent.Load() <= int64(at) {
				if err != nil || at < 4 {
					t.Fatalf("%d requests after the switch: %v", at, err)
				}
				break
			}
			when := fmt.Sprintf("%s, killed %d requests after the switch", verb, at)
			images, bad := a.clients()
			if bad != nil || !maps.Equal(images, old) && !maps.Equal(images, made) {
				t.Fatalf("%s: %v, %v", when, images, bad)
			}
			b := newSignedMachine(t, store, "bob", keys)
			if err := next(b); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			b.wantClients(when, made)
			b.wantKept(when)
			if at > 40 {
				t.Fatal("it does not end")
			}
		}
	}
}

// Another machine switches at any request of one that has switched: what clients find in the
// end is of the last generation, and whole at each request.
func TestSharedSignedMeanwhile(t *testing.T) {
	keys := newSigners(t)
	for at := 1; ; at++ {
		store := newStore()
		a := newSignedMachine(t, store, "ada", keys)
		a.shelve(map[string]string{"1": "one"})
		a.promote()
		b := newSignedMachine(t, store, "bob", keys)
		b.shelve(map[string]string{"1": "one", "3": "three"})
		a.shelve(map[string]string{"1": "one", "2": "two"})
		sent := 0 // from the switch on
		var inside atomic.Bool
		store.Before = func(_ context.Context, r buckettest.Request) error {
			if !inside.CompareAndSwap(false, true) {
				return nil
			}
			defer inside.Store(false)
			if sent > 0 || r.Op == "swap" && r.Key == simplestreams.IndexPath {
				sent++
			}
			if sent == at+1 {
				if _, err := b.repo().Promote(ctx, PromoteOptions{}); err != nil {
					return fmt.Errorf("bob: %w", err)
				}
			}
			if _, err := a.clients(); err != nil {
				return fmt.Errorf("clients: %w", err)
			}
			return nil
		}
		_, err := a.repo().Promote(ctx, PromoteOptions{})
		if store.Before = nil; err != nil {
			t.Fatalf("request %d after the switch: %v", at, err)
		}
		if sent <= at {
			if at < 4 {
				t.Fatalf("%d requests after the switch", at)
			}
			return
		}
		when := fmt.Sprintf("request %d after the switch", at)
		b.wantClients(when, map[string]string{"1": "one", "2": "two", "3": "three"})
		b.wantKept(when)
	}
}

// Where publish serves what is in a store, the tree is the same as on a machine.
func TestSharedSignedServed(t *testing.T) {
	keys := newSigners(t)
	m := newMachine(t, newStore(), "ada", func(m *machine) { m.format = simplestreams.Format{} })
	m.cfg = keys.sign
	wanted := func(when string, generation int, want map[string]string) {
		t.Helper()
		r := m.repo()
		s, err := r.load(ctx)
		must(t, err)
		read := func(p string) ([]byte, error) {
			for _, row := range s.current.Own {
				if row.Path == p && row.Role == catalog.Content {
					return m.store.Data(p), nil
				}
			}
			return in(s.current.Dir)(p)
		}
		images, err := keys.wantSigned(read, generation, m.store.Now())
		if err != nil || !maps.Equal(images, want) {
			t.Fatalf("%s: %v, %v", when, images, err)
		}
	}
	m.shelve(map[string]string{"1": "one"})
	m.promote()
	wanted("first", 1, map[string]string{"1": "one"})
	m.shelve(map[string]string{"1": "one", "2": "two"})
	m.promote()
	_, err := m.repo().Revert(ctx, RevertOptions{})
	must(t, err)
	wanted("revert", 3, map[string]string{"1": "one"})
	_, err = m.repo().Sign(ctx, SignOptions{})
	must(t, err)
	wanted("sign", 4, map[string]string{"1": "one"})
	if report, _, err := m.repo().Verify(ctx, "", true); err != nil || len(report.Findings) > 0 {
		t.Fatalf("%+v, %v", report, err)
	}
}
