package publish

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/sign"
	"example.com/publish/stage/plain"
)

// A signer that hangs, or writes what is no signature, stops a promote. The way back goes on
// without it, and sign makes up for that.
func TestSignerFails(t *testing.T) {
	keys := newSigners(t)
	for script, fact := range map[string]string{
		"cat >/dev/null; exec sleep 1000": "did not end within 100ms",
		"cat":                             "is not signed",
		"cat /dev/zero":                   "more than",
		"echo no device >&2; exit 3":      "no device",
	} {
		w := newSigned(t, fastDir(t), "symlink", keys)
		old := map[string]string{"1": "one"}
		w.shelve(old)
		w.promote()
		w.shelve(map[string]string{"2": "two"})
		w.promote()
		var said []string
		broken := func() *Repo {
			r := w.repo()
			r.Config.Sign.OpenPGP = SignerConfig{Command: []string{"sh", "-c", script}}
			r.Config.Hooks.Timeout = Duration(100 * time.Millisecond)
			r.opt.Warn = func(s string) { said = append(said, s) }
			return r
		}
		w.shelve(map[string]string{"3": "three"})
		_, err := broken().Promote(ctx, PromoteOptions{})
		if wantKind(t, err, Failed); !strings.Contains(err.Error(), fact) || !strings.Contains(err.Error(), "unchanged") {
			t.Errorf("%s: %v", script, err)
		}
		if _, err := broken().Sign(ctx, SignOptions{}); err == nil || kindOf(err) != Failed {
			t.Errorf("%s: %v", script, err)
		}
		w.wantSigned(t, keys, map[string]string{"2": "two"})
		checkRecovered(t, w)
		// The documents of generation 1 are signed.
		if _, err := broken().Revert(ctx, RevertOptions{}); err != nil || len(said) > 0 {
			t.Errorf("%s: %v, %q", script, err, said)
		}
		w.wantSigned(t, keys, old)
		// Those of what a revoke makes are not.
		_, err = broken().Revoke(ctx, RevokeOptions{What: []string{shelved + "/1"}, Why: "leaked"})
		if err != nil || !strings.Contains(strings.Join(said, "\n"), "continues without this signature") {
			t.Errorf("%s: %v, %q", script, err, said)
		}
		for _, name := range []string{sign.ListingName, sign.ListingName + ".minisig", "streams/v1/index.sjson",
			"streams/v1/images.sjson"} {
			if !gone(filepath.Join(w.production(), name)) {
				t.Errorf("%s: %s is there", script, name)
			}
		}
		checkRecovered(t, w)
		if st, err := w.repo().Status(ctx); err != nil || !st.SignaturesDue {
			t.Errorf("%s: %+v, %v", script, st, err)
		}
		if res, err := w.repo().Sign(ctx, SignOptions{Due: true}); err != nil || res.Unchanged {
			t.Errorf("%s: %+v, %v", script, res, err)
		}
		w.wantSigned(t, keys, map[string]string{})
	}
}

// A signal ends a promote whose signer hangs, and a revert.
func TestSignerInterrupted(t *testing.T) {
	keys := newSigners(t)
	w := newSigned(t, fastDir(t), "symlink", keys)
	for _, images := range []map[string]string{{"1": "one"}, {"2": "two"}} {
		w.shelve(images)
		w.promote()
	}
	w.shelve(map[string]string{"3": "three"})
	for _, do := range []func(context.Context, *Repo) error{
		func(ctx context.Context, r *Repo) error { _, err := r.Promote(ctx, PromoteOptions{}); return err },
		func(ctx context.Context, r *Repo) error { _, err := r.Revert(ctx, RevertOptions{}); return err },
		func(ctx context.Context, r *Repo) error { _, err := r.Sign(ctx, SignOptions{}); return err },
	} {
		running := filepath.Join(t.TempDir(), "running")
		r := w.repo()
		r.Config.Sign.Minisign = SignerConfig{Command: []string{"sh", "-c", "echo >" + running + "; exec sleep 1000"}}
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			for gone(running) {
			}
			cancel()
		}()
		wantKind(t, do(ctx, r), Interrupted)
		w.wantSigned(t, keys, map[string]string{"2": "two"})
		checkRecovered(t, w)
	}
}

// A key that expires while a promote is prepared: what was signed before stays signed, and what
// is signed anew because production moved is refused. Here it becomes readable for others, which is
// refused in the same place.
func TestKeyExpiresMeanwhile(t *testing.T) {
	w, keys := newWorld(t, "symlink"), newSigners(t)
	w.format = plain.Format{}
	w.cfg = func(c *Config) { c.Sign.Minisign = keys.keys.Minisign }
	file := func(name string) {
		must(t, os.WriteFile(filepath.Join(w.dir, "staging", name), []byte(name), 0o644))
	}
	file("one")
	w.promote()
	file("two")
	r := w.repo()
	r.step = func(name string) error {
		if name == "prepared" {
			return os.Chmod(keys.keys.Minisign.Key[0], 0o644)
		}
		return nil
	}
	if res, err := r.Promote(ctx, PromoteOptions{}); err != nil || res.Generation != 2 {
		t.Fatal(res, err)
	}
	l, err := keys.listing(in(w.production()))
	if err != nil || l.Generation != 2 {
		t.Fatal(l, err)
	}
	must(t, os.Chmod(keys.keys.Minisign.Key[0], 0o600))
	file("three")
	r = w.repo()
	r.step = func(name string) error {
		if name != "prepared" {
			return nil
		}
		if _, err := w.repo().Sign(ctx, SignOptions{}); err != nil {
			return err
		}
		return os.Chmod(keys.keys.Minisign.Key[0], 0o644)
	}
	_, err = r.Promote(ctx, PromoteOptions{})
	wantKind(t, err, Usage)
	must(t, os.Chmod(keys.keys.Minisign.Key[0], 0o600))
	l, err = keys.listing(in(w.production()))
	if err != nil || l.Generation != 3 || len(l.Rows) != 2 {
		t.Fatal(l, err)
	}
	w.promote()
	if l, err = keys.listing(in(w.production())); err != nil || l.Generation != 4 {
		t.Fatal(l, err)
	}
}
