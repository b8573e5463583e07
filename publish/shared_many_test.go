package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
)

// Two machines promote at once: both succeed, and nothing is lost.
func TestSharedRebase(t *testing.T) {
	store := newStore()
	a := newMachine(t, store, "ada")
	a.put(map[string]string{"a/1": "one", "a/2": "two"})
	a.promote()
	b := newMachine(t, store, "bob")
	b.stageAlso(map[string]string{"b/1": "uno"})
	a.put(map[string]string{"a/2": "two", "a/3": "three"}) // a/1 goes
	a.promote()
	if res := b.promote(); res.Generation != 3 {
		t.Fatalf("%+v", res)
	}
	want := map[string]string{"a/2": "two", "a/3": "three", "b/1": "uno"}
	b.wantLive(want)
	if res := a.promote(); !res.Unchanged {
		t.Fatalf("%+v", res)
	}
	a.wantLive(want)
	// Other content for one version on both sides.
	a.stageAlso(map[string]string{"c/1": "hers"})
	b.stageAlso(map[string]string{"c/1": "his"})
	a.promote()
	_, err := b.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Refused)
	if !strings.Contains(err.Error(), "c/1") || !strings.Contains(err.Error(), "ada") {
		t.Fatal(err)
	}
	if _, _, err := b.repo().Reset(ctx); err != nil {
		t.Fatal(err)
	}
	if res := b.promote(); !res.Unchanged {
		t.Fatalf("%+v", res)
	}
}

// A dry run after other machines promoted shows what the promote then does, or refuses it
// as that does. It leaves staging and the store as they are, and no copy.
func TestSharedDryRunRebases(t *testing.T) {
	store := newStore()
	a := newMachine(t, store, "ada")
	a.put(map[string]string{"a/20290101": "one", "a/20290102": "two"})
	a.promote()
	b := newMachine(t, store, "bob")
	b.cfg = func(c *Config) { c.Promote.Prune, c.Retention = true, []RetentionRule{{Match: "*", KeepLast: 1}} }
	b.stageAlso(map[string]string{"b/1": "uno"})
	a.put(map[string]string{"a/20290102": "two", "a/20290103": "three"}) // the first goes
	a.promote()
	dry := func() (*Result, error) {
		t.Helper()
		before, objects := leafs(t, b.dir), store.Keys("")
		res, err := b.repo().Promote(ctx, PromoteOptions{DryRun: true})
		if diff := gocmp.Diff(before, leafs(t, b.dir)); diff != "" {
			t.Fatalf("a dry run changes (-before +after):\n%s", diff)
		}
		if diff := gocmp.Diff(objects, store.Keys("")); diff != "" {
			t.Fatal(diff)
		}
		return res, err
	}
	foreseen, err := dry()
	if err != nil || foreseen.Generation != 3 || foreseen.From != 2 || len(foreseen.Removed) != 1 {
		t.Fatalf("%+v, %v", foreseen, err)
	}
	was := b.promote()
	if diff := gocmp.Diff([][]string{was.Added, was.Removed, was.Changed},
		[][]string{foreseen.Added, foreseen.Removed, foreseen.Changed}); diff != "" || was.TreeID != foreseen.TreeID ||
		len(was.Pruned) != 1 || len(foreseen.Pruned) != 1 || was.Carried != foreseen.Carried {
		t.Fatalf("%s\n%+v\n%+v", diff, was, foreseen)
	}
	a.promote()
	a.stageAlso(map[string]string{"c/1": "hers"})
	b.stageAlso(map[string]string{"c/1": "his"})
	a.promote()
	_, refused := dry()
	wantKind(t, refused, Refused)
	_, err = b.repo().Promote(ctx, PromoteOptions{})
	if wantKind(t, err, Refused); err.Error() != refused.Error() {
		t.Fatalf("%v\n%v", err, refused)
	}
}

// leafs are the files of a repository with their bytes, without what a command that writes
// nothing may learn, or fetch.
func leafs(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		for _, copies := range []string{".publish/hashes", ".publish/facts", ".publish/bucket/", ".publish/manifests/",
			"generations/0", ".publish/prepare.lock", ".publish/lock", ".publish/staging.lock"} {
			if strings.HasPrefix(name, copies) {
				return nil
			}
		}
		data, err := os.ReadFile(p)
		out[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What an operator reverted stays out, on other machines too.
func TestSharedRevertElsewhere(t *testing.T) {
	store := newStore()
	a := newMachine(t, store, "ada")
	a.put(map[string]string{"a/1": "one"})
	a.promote()
	a.stageAlso(map[string]string{"a/2": "bad"})
	a.promote()
	b := newMachine(t, store, "bob") // has a/2
	c := newMachine(t, store, "cid")
	if _, err := c.repo().Revert(ctx, RevertOptions{Message: "does not boot"}); err != nil {
		t.Fatal(err)
	}
	b.stageAlso(map[string]string{"b/1": "uno"})
	_, err := b.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Refused)
	if _, err := b.repo().Remove(ctx, "a/2"); err != nil {
		t.Fatal(err)
	}
	b.promote()
	b.wantLive(map[string]string{"a/1": "one", "b/1": "uno"})
}

// Sixteen machines promote at once.
func TestSharedAtOnce(t *testing.T) {
	store := newStore()
	want := map[string]string{}
	var machines []*machine
	for i := range 16 {
		m := newMachine(t, store, fmt.Sprint("m", i))
		m.put(map[string]string{fmt.Sprintf("p%d/1", i): fmt.Sprint("content ", i)})
		want[fmt.Sprintf("p%d/1", i)] = fmt.Sprint("content ", i)
		machines = append(machines, m)
	}
	var g errgroup.Group
	for _, m := range machines {
		r := m.repo()
		g.Go(func() error {
			_, err := r.Promote(ctx, PromoteOptions{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	machines[0].wantLive(want)
}

// Rebase is catalog.Rebaser.
func (listed) Rebase(_ context.Context, base, ours, theirs catalog.Source) (*catalog.Rebased, error) {
	read := func(src catalog.Source) (map[string]listedItem, []byte, error) {
		out := map[string]listedItem{}
		data, err := src.Document("index.json")
		if catalog.Missing(err) {
			return out, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
		list, err := parseItems(data)
		for _, i := range list {
			out[i.Product+"/"+i.Version] = i
		}
		return out, data, err
	}
	was, _, err := read(base)
	mine, text, err2 := read(ours)
	now, _, err3 := read(theirs)
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, err
	}
	keys := map[string]bool{}
	for _, m := range []map[string]listedItem{was, mine, now} {
		for k := range m {
			keys[k] = true
		}
	}
	out, list := &catalog.Rebased{}, []listedItem{}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		w, inWas := was[k]
		m, inMine := mine[k]
		n, inNow := now[k]
		switch choice := catalog.Choose(inWas == inMine && w == m, inWas == inNow && w == n, inMine == inNow && m == n); {
		case choice == catalog.Neither:
			out.Conflicts = append(out.Conflicts, catalog.Clash{Ref: k, Here: catalog.DeedOf(inWas, inMine),
				There: catalog.DeedOf(inWas, inNow)})
		case choice == catalog.Ours && inMine:
			list = append(list, m)
		case choice == catalog.Theirs && inNow:
			list = append(list, n)
		}
	}
	data, err := json.Marshal(list)
	if err == nil && len(out.Conflicts) == 0 && string(data) != string(text) {
		out.Documents = []catalog.Document{{Path: "index.json", Data: data}}
	}
	return out, err
}

// Content that is revoked is gone from the store, and stays out on every machine.
func TestSharedRevoke(t *testing.T) {
	store := newStore()
	store.Versions = true
	a := newMachine(t, store, "ada")
	a.put(map[string]string{"a/1": "one", "a/2": "secret"})
	a.promote()
	b := newMachine(t, store, "bob")
	b.stageAlso(map[string]string{"b/1": "uno"})
	b.promote()
	res, err := newMachine(t, store, "cid").repo().Revoke(ctx, RevokeOptions{What: []string{"a/2"}, Why: "has a key"})
	if err != nil || !res.Switched || res.Generation != 3 || res.Files != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	b.wantLive(map[string]string{"a/1": "one", "b/1": "uno"})
	for _, key := range store.Keys("images/") {
		if string(store.Data(key)) == "secret" || store.Old(key) > 0 && strings.Contains(key, sumOf("secret")[:16]) {
			t.Errorf("%s is still there", key)
		}
	}
	// Nobody stages it again.
	a.promote()
	a.stageAlso(map[string]string{"a/2": "secret"})
	_, err = a.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Refused)
	a.put(map[string]string{"a/1": "one", "a/3": "three", "b/1": "uno"})
	a.promote()
	a.wantLive(map[string]string{"a/1": "one", "a/3": "three", "b/1": "uno"})
	st, err := b.repo().Status(ctx)
	if err != nil || st.RecoveryPending {
		t.Fatalf("%+v, %v", st, err)
	}
	// The generation that had it can be reverted to, without it.
	back, err := b.repo().Revert(ctx, RevertOptions{To: 2})
	if err != nil || back.Generation != 5 {
		t.Fatalf("%+v, %v", back, err)
	}
	b.wantLive(map[string]string{"a/1": "one", "b/1": "uno"})
}
