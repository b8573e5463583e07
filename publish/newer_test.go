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

// all reads every file of the repository but the locks.
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

// resealed is a manifest with other text, and a seal that is right.
func resealed(data []byte, change func(body []byte) []byte) []byte {
	body := change(data[:bytes.LastIndex(data[:len(data)-1], []byte("\n"))+1])
	return fmt.Appendf(bytes.Clone(body), "end %x\n", sha256.Sum256(body))
}

// What a newer version wrote is refused by whatever would write, names the
// newer version, and is never mended: recover changes no file at all.
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
		{"a manifest's version", "manifests/000003", sealed(replace("publish-manifest 1", "publish-manifest 2")), crashVerbs["revert"]},
		{"a manifest's version and seal", "manifests/000003", replace("publish-manifest 1", "publish-manifest 17"), crashVerbs["promote"]},
		{"a manifest's kind", "manifests/000003", sealed(replace(`"kind":"promote"`, `"kind":"merge"`)), crashVerbs["gc"]},
		{"a manifest's rows", "manifests/000003", sealed(replace("\nown ", "\nchunked ")), crashVerbs["revert"]},
		{"a manifest's fields", "manifests/000003", sealed(replace(`"generation":3`, `"generation":{"n":3}`)), crashVerbs["revert"]},
		{"a kept manifest's version", "manifests/000002", sealed(replace("publish-manifest 1", "publish-manifest 2")), crashVerbs["recover"]},
		{"a kind of line", "history", line(`{"time":"2030-01-02T03:04:05Z","kind":"merge","generation":4,"from":3}`), crashVerbs["gc"]},
		{"a line's fields", "history", line(`{"time":"2030-01-02T03:04:05Z","kind":"hold","who":["a","b"]}`), crashVerbs["promote"]},
		{"a line", "history", line(`merge 3 4`), crashVerbs["revert"]},
		{"a tombstone", "tombstones", line(`{"time":"2030-01-02T03:04:05Z","revoked":{"sha256":["x"]}}`), crashVerbs["promote"]},
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
				if !errors.Is(err, errNewer) || !errors.As(err, &e) || !strings.Contains(e.Hint, "use a newer publish") || !strings.HasPrefix(e.Path, path) {
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

// Lines that are written again keep what this version does not know of them.
func TestMendedLinesKeepTheirText(t *testing.T) {
	w := newWorld(t, "symlink")
	for i := range 3 {
		w.put(map[string]string{"a/1": fmt.Sprint(i)})
		w.promote()
	}
	lines := w.lines()
	text, _ := durable.Unline(bytes.TrimSuffix(lines[2], []byte("\n")))
	lines[2] = durable.Line(bytes.Replace(text, []byte(`"who"`), []byte(`"ticket":"A-1","who"`), 1))
	w.rewrite(lines[0], lines[2])
	if _, err := w.repo().Recover(ctx); err != nil {
		t.Fatal(err)
	}
	if got := w.lines(); len(got) != 3 || !bytes.Equal(got[2], lines[2]) {
		t.Errorf("the last line is %s", got[len(got)-1])
	}
}
