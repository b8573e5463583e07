package publish

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/publish/stage/durable"
)

func (w *world) layout() string {
	w.t.Helper()
	data, err := os.ReadFile(layoutPath(w.dir))
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// After an interrupted upgrade, both programs or only this one can use the repository.
// The layout is raised before any record is written.
func TestUpgrade(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		if err := os.WriteFile(layoutPath(w.dir), []byte("1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := w.repo().Recover(ctx); err != nil || w.layout() != "1" {
			t.Fatalf("a recovery that has nothing to do makes it layout %s: %v", w.layout(), err)
		}
		w.put(map[string]string{"a/2": "two"})
		w.step = func(name string) error {
			if name == "after-upgrade" {
				return errInjected
			}
			return nil
		}
		before, _ := os.ReadFile(w.repo().historyPath())
		if _, err := w.repo().Promote(ctx, PromoteOptions{}); !errors.Is(err, errInjected) || w.layout() != fmt.Sprint(layoutVersion) {
			t.Fatalf("layout %s: %v", w.layout(), err)
		}
		if after, _ := os.ReadFile(w.repo().historyPath()); string(before) != string(after) {
			t.Error("a line was written although the upgrade failed")
		}
		w.step = nil
		w.promote()
		wantItems(t, w, map[string]string{"a/2": "two"})
	})
}

// A newer program may upgrade a repository while this one has it open.
func TestUpgradedByANewerProgram(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	r := w.repo()
	if err := os.WriteFile(layoutPath(w.dir), fmt.Appendf(nil, "%d\n", layoutVersion+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.Hold(ctx, "later"); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("layout version %d,", layoutVersion+1)) {
		t.Errorf("it was not refused: %v", err)
	}
}

// all reads every file of the repository except the locks.
func (w *world) all() map[string]string {
	w.t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(w.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(p, "lock") {
			return err
		}
		data, err := os.ReadFile(p)
		out[p] = string(data)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// resealed returns a manifest with other text and a correct seal.
func resealed(data []byte, change func(body []byte) []byte) []byte {
	body := change(data[:bytes.LastIndex(data[:len(data)-1], []byte("\n"))+1])
	return fmt.Appendf(bytes.Clone(body), "end %x\n", sha256.Sum256(body))
}

// Every command that would write refuses records of a newer version, and names that
// version. They are never repaired: recover changes no file at all.
func TestNewerRecords(t *testing.T) {
	replace := func(old, new string) func([]byte) []byte {
		return func(data []byte) []byte { return bytes.Replace(data, []byte(old), []byte(new), 1) }
	}
	sealed := func(change func([]byte) []byte) func([]byte) []byte {
		return func(data []byte) []byte { return resealed(data, change) }
	}
	line := func(text string) func([]byte) []byte {
		return func(data []byte) []byte { return append(data, durable.Line([]byte(text))...) }
	}
	for _, c := range []struct {
		name, file string
		change     func([]byte) []byte
		verb       func(r *Repo) error
	}{
		{"a manifest's version", "manifests/000003", sealed(replace("publish-manifest 1", "publish-manifest 2")),
			crashVerbs["revert"]},
		{"a manifest's version and seal", "manifests/000003", replace("publish-manifest 1", "publish-manifest 17"),
			crashVerbs["promote"]},
		{"a manifest's kind", "manifests/000003", sealed(replace(`"kind":"promote"`, `"kind":"merge"`)),
			crashVerbs["gc"]},
		{"a manifest's rows", "manifests/000003", sealed(replace("\nown ", "\nchunked ")), crashVerbs["revert"]},
		{"a manifest's fields", "manifests/000003", sealed(replace(`"generation":3`, `"generation":{"n":3}`)),
			crashVerbs["revert"]},
		{"a kept manifest's version", "manifests/000002", sealed(replace("publish-manifest 1", "publish-manifest 2")),
			crashVerbs["recover"]},
		{"a kind of line", "history", line(`{"time":"2030-01-02T03:04:05Z","kind":"merge","generation":4,"from":3}`),
			crashVerbs["gc"]},
		{"a line's fields", "history", line(`{"time":"2030-01-02T03:04:05Z","kind":"hold","who":["a","b"]}`),
			crashVerbs["promote"]},
		{"a line", "history", line(`merge 3 4`), crashVerbs["revert"]},
		{"a tombstone", "tombstones", line(`{"time":"2030-01-02T03:04:05Z","revoked":{"sha256":["x"]}}`),
			crashVerbs["promote"]},
		{"an orphan", "orphans", line(`7 a 2`), crashVerbs["prune"]},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "symlink")
			for i := range 3 {
				w.put(map[string]string{"a/1": fmt.Sprint(i)})
				w.promote()
			}
			w.put(map[string]string{"a/2": "new"})
			path := filepath.Join(w.dir, ".publish", c.file)
			data, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			changed := c.change(bytes.Clone(data))
			if bytes.Equal(changed, data) {
				t.Fatal("nothing was changed")
			}
			if err := os.WriteFile(path, changed, 0o644); err != nil {
				t.Fatal(err)
			}
			before := w.all()
			verbs := map[string]func(*Repo) error{"the verb": c.verb}
			if c.file != "orphans" {
				verbs["recover"] = crashVerbs["recover"]
			}
			for name, verb := range verbs {
				err := verb(w.repo())
				var e *Error
				if !errors.Is(err, errNewer) || !errors.As(err, &e) ||
					!strings.Contains(e.Hint, "use a newer publish") || !strings.HasPrefix(e.Path, path) {
					t.Errorf("%s: %v", name, err)
				}
				after := w.all()
				for p := range before {
					if after[p] != before[p] && filepath.Base(p) != "hashes" {
						t.Errorf("%s: %s changed", name, p)
					}
				}
				for p := range after {
					if _, ok := before[p]; !ok && filepath.Base(p) != "id" {
						t.Errorf("%s: %s is new", name, p)
					}
				}
			}
			if _, err := w.repo().History(HistoryFilter{}); err != nil {
				t.Errorf("the history cannot be looked at: %v", err)
			}
		})
	}
}
