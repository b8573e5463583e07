package stage

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
)

// put writes files of staging.
func put(t testing.TB, s *Stage, contents ...string) {
	t.Helper()
	for i := 0; i < len(contents); i += 2 {
		p := filepath.Join(s.Dir, contents[i])
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, []byte(contents[i+1]), 0o644))
	}
}

func found(r *Report, code string) (list []catalog.Finding) {
	for _, f := range r.Findings {
		if f.Code == code {
			list = append(list, f)
		}
	}
	return list
}

// An unnamed file is written to, removed, replaced by a link or a folder while
// it is copied: none of that stops a promote.
func TestSnapshotOfWhatChanges(t *testing.T) {
	disturb := map[string]func(t *testing.T, p string){
		"grow": func(t *testing.T, p string) { appendTo(t, p, "more") },
		"remove": func(t *testing.T, p string) {
			must(t, os.Remove(p))
		},
		"replace": func(t *testing.T, p string) {
			must(t, os.WriteFile(p+".new", []byte("others"), 0o644))
			must(t, os.Rename(p+".new", p))
		},
		"link": func(t *testing.T, p string) {
			must(t, os.Remove(p))
			must(t, os.Symlink("/etc/hostname", p))
		},
		"folder": func(t *testing.T, p string) {
			must(t, os.Remove(p))
			must(t, os.Mkdir(p, 0o755))
		},
	}
	for name, do := range disturb {
		for kind, s := range map[string]*Stage{"plain": newPlain(t), "simplestreams": newStage(t)} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				if kind == "simplestreams" {
					add(t, s, built(t, "alpha", ""))
				}
				put(t, s, "a/notes.txt", "notes", "page.html", "page")
				_, base := promoted(t, s, &Base{})
				put(t, s, "a/log.txt", "a new file", "page.html", "other page")
				once := false
				documents := kind == "simplestreams" // they are copied first, before staging is walked
				s.Progress = func(step string, bytes int64) func(int64) {
					switch {
					case step != "copy" || bytes == 0:
					case documents:
						documents = false
					case !once:
						once = true
						do(t, filepath.Join(s.Dir, "a/log.txt"))
						do(t, filepath.Join(s.Dir, "page.html"))
					}
					return nil
				}
				v, base := promoted(t, s, base)
				if !once {
					t.Fatal("nothing was copied")
				}
				got := contents(t, v.Dir)
				if _, there := got["a/log.txt"]; there {
					t.Error("a file that changed is published")
				}
				if got["a/notes.txt"] != sum([]byte("notes")) {
					t.Error("notes.txt is not published")
				}
				if page, there := got["page.html"]; there && page != sum([]byte("page")) {
					t.Error("page.html is neither what it was nor gone")
				} else if there == (name == "remove") {
					t.Errorf("page.html is there: %v", there)
				}
				if n := len(found(v.Report, "changed")); n != 2 {
					t.Errorf("%d findings: %+v", n, v.Report.Findings)
				}
				s.Progress = nil
				if name == "grow" || name == "replace" {
					v, _ = promoted(t, s, base)
					if diff := cmp.Diff(contents(t, s.Dir), contents(t, v.Dir)); diff != "" {
						t.Error(diff)
					}
				}
			})
		}
	}
}

// A file that an index names does stop it.
func TestSnapshotOfNamedThatChanges(t *testing.T) {
	s := newStage(t)
	s.Share = false
	add(t, s, built(t, "alpha", ""))
	root := filepath.Join(s.Dir, "images", sum(squashfs("alpha"))+".squashfs")
	s.Progress = func(step string, bytes int64) func(int64) {
		if step == "copy" && bytes > 1000 {
			must(t, os.Chmod(root, 0o644))
			appendTo(t, root, "more")
		}
		return nil
	}
	must(t, os.WriteFile(filepath.Join(s.Dir, "page.html"), []byte(strings.Repeat("page", 1000)), 0o644))
	v, r := validate(t, snapshot(t, s, &Base{}))
	if v != nil || len(found(r, "changed")) != 1 {
		t.Errorf("findings %+v", r.Findings)
	}
}

// A file that grows as fast as it is read has no end.
func TestGrowsAsItIsRead(t *testing.T) {
	s := newPlain(t)
	put(t, s, "index.html", "page", "log", strings.Repeat("x", 100000))
	s.Progress = func(string, int64) func(int64) {
		return func(done int64) {
			if done > 0 {
				appendTo(t, filepath.Join(s.Dir, "log"), strings.Repeat("y", int(done)+1))
			}
		}
	}
	checked, err := s.Validate(context.Background(), Checks{Now: time.Now()})
	must(t, err)
	if len(checked.Report.Errors()) > 0 || len(found(checked.Report, "changed")) == 0 {
		t.Errorf("findings %+v", checked.Report.Findings)
	}
	if _, ok := checked.Row("log"); ok {
		t.Error("a file that grows has a row")
	}
	v, r := validate(t, snapshot(t, s, &Base{}))
	if v == nil {
		t.Fatalf("findings %+v", r.Findings)
	}
}

// While a download's control file lies beside a file, that is not whole.
func TestControlFile(t *testing.T) {
	for kind, s := range map[string]*Stage{"plain": newPlain(t), "simplestreams": newStage(t)} {
		t.Run(kind, func(t *testing.T) {
			if kind == "simplestreams" {
				add(t, s, built(t, "alpha", ""))
			}
			put(t, s, "page.html", "page")
			want := contents(t, s.Dir)
			put(t, s, "a/x.iso", "half", "a/x.iso.aria2", "state", "a/y.tar.xz", "half", "a/y.tar.xz.aria2", "state",
				".in.z.iso.", "half")
			v, _ := promoted(t, s, &Base{})
			if diff := cmp.Diff(want, contents(t, v.Dir)); diff != "" {
				t.Error(diff)
			}
			cat, err := s.Catalog(t.Context())
			must(t, err)
			if list, _, err := s.Orphans(context.Background(), cat); err != nil || len(list) > 0 {
				t.Errorf("orphans %v, %v", list, err)
			}
			must(t, os.Remove(filepath.Join(s.Dir, "a/x.iso.aria2")))
			v, _ = promoted(t, s, &Base{})
			if contents(t, v.Dir)["a/x.iso"] != sum([]byte("half")) {
				t.Error("x.iso is not published after its download")
			}
		})
	}
}

// An index may name what looks like an upload.
func TestNamedUpload(t *testing.T) {
	s := newStage(t)
	added := add(t, s, built(t, "alpha", ""))
	_ = added
	old, name := "images/"+sum(squashfs("alpha"))+".squashfs", "images/"+sum(squashfs("alpha"))+".part"
	must(t, os.Rename(filepath.Join(s.Dir, old), filepath.Join(s.Dir, name)))
	doc := filepath.Join(s.Dir, "streams/v1/images.json")
	must(t, os.WriteFile(doc, []byte(strings.ReplaceAll(string(read(t, doc)), old, name)), 0o644))
	put(t, s, name+".aria2", "state")
	v, _ := promoted(t, s, &Base{})
	if _, ok := contents(t, v.Dir)[name]; !ok {
		t.Error("what an index names is left out")
	}
}

func TestVersionControl(t *testing.T) {
	for kind, s := range map[string]*Stage{"plain": newPlain(t), "simplestreams": newStage(t)} {
		t.Run(kind, func(t *testing.T) {
			if kind == "simplestreams" {
				add(t, s, built(t, "alpha", ""))
			}
			put(t, s, "page.html", "page", ".git/config", "secret", ".git/objects/aa/bb", "x",
				".git/modules/y/.git/config", "x", "sub/.git", "gitdir: ..",
				"a/b/.svn/entries", "x", "c/.hg/store/00", "x", "d/CVS/Root", "x", "d/CVS/Entries", "x",
				"e/CVS/cv.html", "x",
				".gitignore", "x", "pool.git/HEAD", "x")
			checked, err := s.Validate(context.Background(), Checks{Now: time.Now()})
			must(t, err)
			v, _ := promoted(t, s, &Base{})
			for _, r := range []*Report{checked.Report, v.Report} {
				var at []string
				for _, f := range found(r, "vcs") {
					at = append(at, f.Path)
					if f.Severity != catalog.Warning {
						t.Errorf("%s: %s", f.Path, f.Severity)
					}
				}
				slices.Sort(at)
				if diff := cmp.Diff([]string{".git", "a/b/.svn", "c/.hg", "d/CVS", "sub/.git"}, at); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}
