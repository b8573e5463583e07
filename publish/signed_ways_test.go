package publish

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"example.com/publish/stage/simplestreams"
)

// signedFiles are the files of a tree that publish makes when it signs.
func signedFiles(w *world, dir string) (out []string) {
	for p := range w.filesIn(dir) {
		if strings.HasSuffix(p, ".sjson") || isListing(p) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// A dry run looks at the keys, and leaves nothing.
func TestSignedDryRun(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		keys := newSigners(t)
		w := signedWorld(t, mode, keys)
		trees := filepath.Join(w.dir, "generations")
		before := leafs(t, trees)
		for verb, do := range map[string]func(*Repo) error{
			"promote": func(r *Repo) error { _, err := r.Promote(ctx, PromoteOptions{DryRun: true}); return err },
			"revert":  func(r *Repo) error { _, err := r.Revert(ctx, RevertOptions{DryRun: true}); return err },
			"sign":    func(r *Repo) error { _, err := r.Sign(ctx, SignOptions{DryRun: true}); return err },
			"revoke": func(r *Repo) error {
				_, err := r.Revoke(ctx, RevokeOptions{What: []string{shelved + "/2"}, Why: "leaked", DryRun: true})
				return err
			},
		} {
			if err := do(w.repo()); err != nil {
				t.Errorf("%s: %v", verb, err)
			}
			w.wantSigned(t, keys, signedOld)
			if diff := gocmp.Diff(before, leafs(t, trees)); diff != "" {
				t.Errorf("%s (-before +after):\n%s", verb, diff)
			}
		}
	})
}

// Staging, bundles, diffs and imports know nothing of the signatures of others.
func TestSignedGoesNowhere(t *testing.T) {
	keys := newSigners(t)
	w := newSigned(t, fastDir(t), "symlink", keys)
	images := map[string]string{"1": "one", "2": "two"}
	w.shelve(images)
	w.promote()
	bundle := w.bundle("production", "")
	if d, err := w.repo().Diff(ctx, "production", "staging"); err != nil || len(d.Files) > 0 {
		t.Errorf("%+v, %v", d, err)
	}
	w.shelve(map[string]string{"3": "three"})
	_, _, err := w.repo().Reset(ctx)
	must(t, err)
	if res := w.promote(); !res.Unchanged || len(signedFiles(w, filepath.Join(w.dir, "staging"))) > 0 {
		t.Fatalf("%+v", res)
	}
	other := newSigners(t)
	for name, bring := range map[string]func(*Repo) error{
		"bundle": func(r *Repo) error { _, err := r.ImportBundle(ctx, bytes.NewReader(bundle), false, false); return err },
		"merge":  func(r *Repo) error { _, err := r.ImportBundle(ctx, bytes.NewReader(bundle), true, false); return err },
		"import": func(r *Repo) error { _, err := r.Import(ctx, w.production(), false); return err },
	} {
		b := newSigned(t, fastDir(t), "rename", other)
		if err := bring(b.repo()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b.promote()
		b.wantSigned(t, other, images)
		if _, err := keys.wantSigned(in(b.production()), 1, b.now); err == nil {
			t.Errorf("%s: production is signed with the key of another repository", name)
		}
		b.shelve(images)
		b.promote()
		checkRecovered(t, b)
	}
}

// A manifest that is lost is made again, with what is a signature, also of a generation that is
// no longer production.
func TestSignedManifestLost(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		keys := newSigners(t)
		w := signedWorld(t, mode, keys)
		was := map[int]string{}
		r := w.repo()
		kept, err := r.store.Kept(3)
		must(t, err)
		for _, n := range kept {
			m, err := r.store.Manifest(n)
			must(t, err)
			was[n] = text(m.Own)
			must(t, os.Remove(r.store.ManifestPath(n)))
		}
		_, err = w.repo().Recover(ctx)
		must(t, err)
		for n, own := range was {
			m, err := w.repo().store.Manifest(n)
			must(t, err)
			if diff := gocmp.Diff(own, text(m.Own)); diff != "" {
				t.Errorf("generation %d (-want +got):\n%s", n, diff)
			}
		}
		w.wantSigned(t, keys, signedOld)
		checkRecovered(t, w)
		w.revert(2)
		w.wantSigned(t, keys, map[string]string{"1": "one", "2": "two"})
		checkRecovered(t, w)
	})
}

// Signing that is switched off leaves no list that is of another generation.
func TestSignedNoMore(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		keys := newSigners(t)
		w := signedWorld(t, mode, keys)
		w.cfg = func(c *Config) { c.Sign = SignConfig{} }
		w.promote()
		if list := signedFiles(w, w.production()); len(list) > 0 {
			t.Errorf("there is %q", list)
		}
		checkRecovered(t, w)
		w.revert(3)
		if list := signedFiles(w, w.production()); slices.ContainsFunc(list, isListing) {
			t.Errorf("after a revert there is %q", list)
		}
		if _, _, err := keys.documents(in(w.production()), w.now); err != nil {
			t.Error(err) // its documents are what they were
		}
		if st, err := w.repo().Status(ctx); err != nil || st.SignaturesDue || st.Production.Signatures != nil {
			t.Errorf("%+v, %v", st, err)
		}
		w.cfg = nil
		if _, err := w.repo().Sign(ctx, SignOptions{}); err != nil {
			t.Fatal(err)
		}
		w.wantSigned(t, keys, signedOld)
		checkRecovered(t, w)
	})
}

// A target has the signatures of its leader, and its numbers.
func TestSignedFollows(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		keys := newSigners(t)
		lead, target := newFollower(t, mode)
		lead.format, target.format = simplestreams.Format{}, simplestreams.Format{}
		lead.cfg = keys.sign
		// Its own keys are of no use to it: clients know the leader's.
		target.cfg = newSigners(t).sign
		check := func(when string, want map[string]string) {
			t.Helper()
			target.now = lead.now
			if err := syncWith(target.repo(), lead.repo()); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			target.wantSigned(t, keys, want)
			n, err := lead.repo().site.Live(ctx)
			must(t, err)
			if images, err := keys.wantSigned(in(target.production()), n, target.now); err != nil || !maps.Equal(images, want) {
				t.Fatalf("%s: %v, %v", when, images, err)
			}
			checkRecovered(t, target)
		}
		one, two := map[string]string{"1": "one"}, map[string]string{"2": "two", "3": "three"}
		lead.shelve(one)
		lead.promote()
		check("first", one)
		lead.shelve(two)
		lead.promote()
		check("second", two)
		lead.revert(0)
		check("revert", one)
		_, err := lead.repo().Sign(ctx, SignOptions{})
		must(t, err)
		check("sign", one)
		lead.revert(2)
		_, err = lead.repo().Revoke(ctx, RevokeOptions{What: []string{shelved + "/3"}, Why: "leaked"})
		must(t, err)
		check("revoke, and what was skipped", map[string]string{"2": "two"})
	})
}

// A tree with signatures that were not made here is adopted as it is. What signs it then replaces
// them, and does not list them as files of the tree.
func TestSignedAdopted(t *testing.T) {
	keys, other := newSigners(t), newSigners(t)
	from := newSigned(t, fastDir(t), "symlink", other)
	images := map[string]string{"1": "one"}
	from.shelve(images)
	from.promote()
	dir := filepath.Join(fastDir(t), "tree")
	must(t, os.CopyFS(dir, os.DirFS(from.production())))
	own, err := filepath.Glob(filepath.Join(dir, ".publish-*"))
	must(t, err)
	for _, name := range own {
		must(t, os.Remove(name))
	}
	w := newSigned(t, fastDir(t), "symlink", keys)
	res, _, err := w.repo().Adopt(ctx, dir, "as it is")
	if err != nil {
		t.Fatalf("%+v, %v", res, err)
	}
	checkRecovered(t, w)
	if _, err := w.repo().Sign(ctx, SignOptions{}); err != nil {
		t.Fatal(err)
	}
	w.wantSigned(t, keys, images)
	checkRecovered(t, w)
	if res := w.promote(); !res.Unchanged {
		t.Errorf("%+v", res)
	}
	w.shelve(map[string]string{"2": "two"})
	w.promote()
	w.wantSigned(t, keys, map[string]string{"2": "two"})
	w.revert(1)
	w.wantSigned(t, keys, images)
	checkRecovered(t, w)
}
