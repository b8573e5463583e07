package publish

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/stage/lock"
)

func (w *world) revoke(what ...string) *RevokeResult {
	w.t.Helper()
	res, err := w.repo().Revoke(ctx, RevokeOptions{What: what, Why: "leaked"})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// nowhere fails if any file of the repository has these bytes.
func nowhere(t failer, w *world, data string) {
	t.Helper()
	err := filepath.WalkDir(w.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if have, err := os.ReadFile(p); err == nil && string(have) == data {
			t.Errorf("%s is still at %s", data, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// revokeWorld has the content in production's own rows, in two kept generations, in
// staging under two names (no index names one of them), and in trash.
func revokeWorld(t *testing.T, mode string) *world {
	w := newWorldIn(t, fastDir(t), mode)
	w.put(map[string]string{"a/1": "one", "a/2": "poison"})
	w.promote()
	w.now = w.now.Add(time.Minute)
	w.put(map[string]string{"a/2": "poison", "a/3": "three"})
	w.promote()
	w.now = w.now.Add(time.Minute)
	w.put(map[string]string{"a/2": "poison", "a/4": "four"})
	w.promote()
	w.now = w.now.Add(time.Minute)
	w.put(map[string]string{"a/2": "poison", "a/4": "four", "a/5": "five"})
	for _, p := range []string{"staging/images/copy.bin", ".publish/trash/20300102T030405.000000000Z/images/x.bin"} {
		full := filepath.Join(w.dir, p)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte("poison"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func sumOf(data string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(data))) }

func checkVerify(t *testing.T, w *world) {
	t.Helper()
	list, err := w.repo().Generations()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range list {
		report, _, err := w.repo().Verify(ctx, fmt.Sprint(n), false)
		if err != nil || len(report.Findings) != 0 {
			t.Fatalf("verify %d: %+v, %v", n, report, err)
		}
	}
}

// checkRedacted checks that what was revoked from generations 1 to 3 is no error for
// validate, is listed, and takes no space.
func checkRedacted(t *testing.T, w *world) {
	t.Helper()
	m := w.measure()
	for _, k := range m.Generations {
		report, err := w.repo().Validate(ctx, fmt.Sprint(k.Generation), false)
		if err != nil || len(report.Findings) != 0 || len(report.Redacted) != 1 || report.Redacted[0] != "images/"+
			sumOf("poison")[:16]+".bin" {
			t.Fatalf("validate %d: %+v, %v", k.Generation, report, err)
		}
		if k.Bytes != report.Bytes {
			t.Errorf("generation %d has %d bytes, status says %d", k.Generation, report.Bytes, k.Bytes)
		}
	}
	if len(m.Generations) != 3 {
		t.Fatalf("%+v", m.Generations)
	}
}

func TestRevokeDeletesEverywhere(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := revokeWorld(t, mode)
		dry, err := w.repo().Revoke(ctx, RevokeOptions{What: []string{"a/2"}, Why: "leaked", DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		wantItems(t, w, map[string]string{"a/2": "poison", "a/4": "four"})
		res := w.revoke("a/2")
		if res.Generation != 4 || res.From != 3 || !res.Switched || len(res.Revoked) != 1 ||
			fmt.Sprint(res.Generations) != "[1 2 3]" {
			t.Fatalf("%+v", res)
		}
		if dry.Generation != 4 || fmt.Sprint(dry.Generations, dry.Revoked, dry.Files,
			dry.Bytes) != fmt.Sprint(res.Generations, res.Revoked, res.Files, res.Bytes) {
			t.Fatalf("dry run %+v, run %+v", dry, res)
		}
		nowhere(t, w, "poison")
		wantItems(t, w, map[string]string{"a/4": "four"})
		checkVerify(t, w)
		checkRedacted(t, w)
		// Other carried files still exist, and staging is valid.
		if now := w.served(); len(now) != 4 {
			t.Fatalf("serves %v", now)
		}
		w.now = w.now.Add(time.Minute)
		if res := w.promote(); fmt.Sprint(res.Added) != "[a/5]" {
			t.Fatalf("%+v", res)
		}
		events, err := w.repo().History(HistoryFilter{})
		if err != nil || events[1].Kind != journal.KindRedact || events[2].Kind != journal.KindRevoke ||
			len(events[1].Record().Redacted.Paths) != 3 || events[2].Message != "leaked" {
			t.Fatalf("%+v, %v", events, err)
		}
		if res := w.revoke("a/2"); len(res.Revoked) != 0 || res.Switched {
			t.Fatalf("again: %+v", res)
		}
		_, err = w.repo().Revoke(ctx, RevokeOptions{What: []string{"b"}, Why: "x"})
		wantKind(t, err, NotFound)
		_, err = w.repo().Revoke(ctx, RevokeOptions{What: []string{"a/4"}})
		wantKind(t, err, Usage)
	})
}

// The tombstone stays: staging the content again is refused, and with force it must
// also be promoted with force.
func TestRevokedStaysAway(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := revokeWorld(t, mode)
		w.revoke("a/2")
		bad := map[string]string{"a/4": "four", "b/1": "poison"}
		w.put(bad)
		_, err := w.repo().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Refused)
		if !strings.Contains(err.Error(), "b/1") {
			t.Fatalf("does not name it: %v", err)
		}
		if _, err := w.repo().Promote(ctx, PromoteOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
		wantItems(t, w, bad)
		checkVerify(t, w)
		// Another promote is not refused because of the content that was forced.
		bad["b/2"] = "more"
		w.put(bad)
		w.promote()
		// And it can be revoked again.
		if res := w.revoke("b/1"); len(res.Generations) != 2 {
			t.Fatalf("%+v", res)
		}
		nowhere(t, w, "poison")
		checkVerify(t, w)
	})
}

func TestRevertToRedacted(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := revokeWorld(t, mode)
		w.revoke("a/2")
		// The revert goes to the content before the redacted one, which is itself
		// redacted.
		if res := w.revert(0); res.Origin != 2 || res.Generation != 5 {
			t.Fatalf("%+v", res)
		}
		wantItems(t, w, map[string]string{"a/3": "three"})
		if res := w.revert(1); res.Origin != 1 {
			t.Fatalf("%+v", res)
		}
		wantItems(t, w, map[string]string{"a/1": "one"})
		// The revoke made production from generation 3, redacted.
		w.revert(4)
		if res := w.revert(3); !res.Unchanged {
			t.Fatalf("%+v", res)
		}
		nowhere(t, w, "poison")
		checkVerify(t, w)
	})
}

// If revoked content is back by force, production differs from the redacted
// generation, although that generation's manifest has the same rows.
func TestRevertFromWhatIsBackByForce(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one", "a/2": "poison"})
		w.promote()
		w.revoke("a/2")
		w.put(map[string]string{"a/1": "one", "a/2": "poison"})
		if _, err := w.repo().Promote(ctx, PromoteOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
		if res := w.revert(1); res.Unchanged {
			t.Error("unchanged")
		}
		wantItems(t, w, map[string]string{"a/1": "one"})
		if res := w.revert(1); !res.Unchanged {
			t.Error("the same again changed something")
		}
	})
}

// Revoke content that production only carries, or does not have.
func TestRevokeElsewhere(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := revokeWorld(t, mode)
		w.put(map[string]string{"a/4": "four"})
		w.promote()
		path := "images/" + sumOf("poison")[:16] + ".bin"
		if w.served()[path] != "poison" {
			t.Fatal("not carried")
		}
		if res := w.revoke(path); res.Generation != 5 || !res.Switched {
			t.Fatalf("%+v", res)
		}
		nowhere(t, w, "poison")
		wantItems(t, w, map[string]string{"a/4": "four"})
		checkVerify(t, w)
		// Revoke an orphan of staging by its path.
		if err := os.WriteFile(filepath.Join(w.dir, "staging", "images", "o.bin"), []byte("orphan"),
			0o644); err != nil {
			t.Fatal(err)
		}
		if res := w.revoke("images/o.bin"); res.Switched || res.Generation != 5 || res.Files != 1 {
			t.Fatalf("%+v", res)
		}
		nowhere(t, w, "orphan")
	})
}

// A file that another image needs stays. Revoking an image without a file of its own
// is refused. Revoking the path removes both images.
func TestRevokeShared(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "same", "b/1": "same", "b/2": "other"})
	w.promote()
	_, err := w.repo().Revoke(ctx, RevokeOptions{What: []string{"a"}, Why: "x"})
	wantKind(t, err, Refused)
	res := w.revoke(sumOf("same")[:12])
	if len(res.Revoked) != 1 {
		t.Fatalf("%+v", res)
	}
	wantItems(t, w, map[string]string{"b/2": "other"})
	nowhere(t, w, "same")
	_, err = w.repo().Revoke(ctx, RevokeOptions{What: []string{"index.json"}, Why: "x"})
	wantKind(t, err, Refused)
}

// A promote that is running when the content is revoked does not bring it back.
func TestRevokeDuringPromote(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := revokeWorld(t, mode)
		r := w.repo()
		r.step = func(name string) error {
			if name == "prepared" {
				w.revoke("a/2")
			}
			return nil
		}
		_, err := r.Promote(ctx, PromoteOptions{})
		wantKind(t, err, Refused)
		wantItems(t, w, map[string]string{"a/4": "four"})
		nowhere(t, w, "poison")
	})
}

// A promote that found nothing to do made no tree. If a revoke switches production
// before the promote has the lock, the promote must look again, and must not publish a
// tree that it did not make.
func TestRevokeDuringUnchangedPromote(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := revokeWorld(t, mode)
		w.promote()
		w.now = w.now.Add(time.Minute)
		r := w.repo()
		once := false
		r.step = func(name string) error {
			if name == "prepared" && !once {
				once = true
				w.revoke("a/2")
				w.put(map[string]string{"a/4": "four", "a/5": "five", "a/6": "six"})
			}
			return nil
		}
		res, err := r.Promote(ctx, PromoteOptions{})
		if err != nil || res.Unchanged {
			t.Fatalf("%+v, %v", res, err)
		}
		wantItems(t, w, map[string]string{"a/4": "four", "a/5": "five", "a/6": "six"})
		nowhere(t, w, "poison")
	})
}

func TestRevokeDamagedTombstones(t *testing.T) {
	w := revokeWorld(t, "symlink")
	w.revoke("a/2")
	path := filepath.Join(w.dir, ".publish", "tombstones")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[20] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	w.put(map[string]string{"a/9": "poison"})
	if _, err := w.repo().Promote(ctx, PromoteOptions{}); err == nil {
		t.Fatal("promoted past a damaged tombstone")
	}
	if _, err := w.repo().Recover(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = w.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Refused)
	checkVerify(t, w)
}

// A revoke is killed, or fails, at every step. Production is then the old tree or the
// one without the content. If it is the latter, recovery deletes the rest.
func TestRevokeCrash(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		for _, c := range []struct{ name, what string }{{"switched", "a/2"}, {"staged", "a/5"}} {
			verb := "revoke " + c.what
			t.Run(c.name, func(t *testing.T) {
				make := func() *world {
					w := revokeWorld(t, mode)
					w.cfg = crashConfig
					return w
				}
				bad := map[string]string{"a/2": "poison", "a/5": "five"}[c.what]
				w := make()
				var steps []string
				w.step = func(name string) error { steps = append(steps, name); return nil }
				if err := crashVerbs[verb](w.repo()); err != nil {
					t.Fatal(err)
				}
				for i, name := range steps {
					for _, how := range ways(i) {
						t.Run(fmt.Sprintf("%d-%s-%s", i+1, name, how), func(t *testing.T) {
							w := make()
							crash(t, w, verb, i+1, how)
							if _, err := w.repo().Recover(ctx); err != nil {
								t.Fatalf("recover: %v", err)
							}
							checkRecovered(t, w)
							without := map[string]string{"a/4": "four"}
							with := map[string]string{"a/2": "poison", "a/4": "four"}
							graves, err := w.repo().graveyard()
							if err != nil {
								t.Fatal(err)
							}
							switch got := fmt.Sprint(w.items()); {
							case graves.Len() > 0:
								nowhere(t, w, bad)
								if c.what == "a/2" && got != fmt.Sprint(without) {
									t.Fatalf("revoked, and production has %s", got)
								}
							case got != fmt.Sprint(with):
								t.Fatalf("not revoked, and production has %s", got)
							}
							if err := crashVerbs[verb](w.repo()); err != nil {
								t.Fatalf("again: %v", err)
							}
							nowhere(t, w, bad)
							checkRecovered(t, w)
							w.put(map[string]string{"z/1": "zed"})
							w.promote()
							checkRecovered(t, w)
							w.put(map[string]string{"z/1": bad})
							_, err = w.repo().Promote(ctx, PromoteOptions{})
							wantKind(t, err, Refused)
						})
					}
				}
			})
		}
	})
}

// Production is made safe before the staging lock is taken. Only the rest waits for
// it.
func TestRevokeWhileStagingIsHeld(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := revokeWorld(t, mode)
		unlock, err := w.repo().Stage.Exclusive(ctx, "stage import")
		if err != nil {
			t.Fatal(err)
		}
		waited := false
		r := w.repo()
		r.Stage.Waiting = func(lock.Holder) {
			waited = true
			wantItems(t, w, map[string]string{"a/4": "four"})
			if st, err := w.repo().Status(ctx); err != nil || !st.RecoveryPending {
				t.Errorf("status: %+v, %v", st, err)
			}
			unlock()
		}
		res, err := r.Revoke(ctx, RevokeOptions{What: []string{"a/2"}, Why: "leaked"})
		if err != nil || !waited || fmt.Sprint(res.Generations) != "[1 2 3]" {
			t.Fatalf("waited %v: %+v, %v", waited, res, err)
		}
		nowhere(t, w, "poison")
		checkRecovered(t, w)
	})
}

// Recover reports an error if the deletion is not finished.
func TestRecoverSaysThatARevokeIsNotDone(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := revokeWorld(t, mode)
		w.step = func(name string) error {
			if name == "before-erase" {
				return errors.New("the disk is gone")
			}
			return nil
		}
		_, err := w.repo().Revoke(ctx, RevokeOptions{What: []string{"a/2"}, Why: "leaked"})
		wantKind(t, err, Switched)
		w.step = nil
		unlock, err := w.repo().Stage.Exclusive(ctx, "stage import")
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.repo().Recover(ctx)
		wantKind(t, err, Switched)
		if err != nil && !strings.Contains(err.Error(), "not deleted everywhere") {
			t.Error(err)
		}
		unlock()
		if _, err := w.repo().Recover(ctx); err != nil {
			t.Fatal(err)
		}
		nowhere(t, w, "poison")
		checkRecovered(t, w)
	})
}

// The gc after the switch may leave a retired tree with revoked content.
func TestRevokeAfterAGCThatFailed(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := revokeWorld(t, mode)
		w.now = w.now.Add(24 * time.Hour)
		failed := false
		w.step = func(name string) error {
			if name != "after-trash" {
				return nil
			}
			failed = true
			return errors.New("the disk is gone")
		}
		w.revoke("a/2")
		if !failed {
			t.Fatal("no gc")
		}
		nowhere(t, w, "poison")
		w.step = nil
		checkRecovered(t, w)
	})
}
