package tree

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"example.com/publish/stage/durable"
)

// trees makes two trees side by side: old and live, with files of these names.
// Those of both are one inode.
func trees(t *testing.T, base string, old, both, live []string) (oldDir string, like *Source) {
	t.Helper()
	oldDir, liveDir := filepath.Join(base, "old"), filepath.Join(base, "live")
	must(t, os.MkdirAll(oldDir, 0o755))
	must(t, os.MkdirAll(liveDir, 0o755))
	for dir, names := range map[string][]string{oldDir: old, liveDir: slices.Concat(both, live)} {
		for _, name := range names {
			write(t, filepath.Join(dir, name), name)
		}
	}
	for _, name := range both {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(oldDir, name)), 0o755))
		must(t, os.Link(filepath.Join(liveDir, name), filepath.Join(oldDir, name)))
	}
	like, err := OpenSource(liveDir)
	must(t, err)
	t.Cleanup(func() { _ = like.Close() })
	return oldDir, like
}

// names lists all that is below dir; directories end in a slash.
func names(t *testing.T, dir string) []string {
	t.Helper()
	out := []string{}
	must(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		rel := strings.TrimPrefix(strings.TrimPrefix(p, dir), "/")
		if err == nil && d.IsDir() {
			rel += "/"
		}
		if rel != "/" {
			out = append(out, rel)
		}
		return err
	}))
	slices.Sort(out)
	return out
}

// trimTree compares a tree with another, and trims it.
func trimTree(ctx context.Context, dst string, like *Source, c Common) (Trimmed, error) {
	cmp, err := Compare(ctx, dst, like)
	if err != nil {
		return Trimmed{}, err
	}
	return cmp.Trim(ctx, dst, c)
}

// trims is trimTree, by listed inodes or by a look at each name.
var trims = map[string]func(dst string, like *Source, c Common) (Trimmed, error){
	"by inodes": func(dst string, like *Source, c Common) (Trimmed, error) {
		return trimTree(context.Background(), dst, like, c)
	},
	"by stat": func(dst string, like *Source, c Common) (Trimmed, error) {
		cmp, err := compare(context.Background(), dst, like, false, 10)
		if err != nil {
			return Trimmed{}, err
		}
		return cmp.Trim(context.Background(), dst, c)
	},
	"by inodes, of many names": func(dst string, like *Source, c Common) (Trimmed, error) {
		cmp, err := compare(context.Background(), dst, like, true, 1)
		if err != nil {
			return Trimmed{}, err
		}
		return cmp.Trim(context.Background(), dst, c)
	},
}

func TestTrim(t *testing.T) {
	for how, trim := range trims {
		t.Run(how, func(t *testing.T) {
			old, like := trees(t, t.TempDir(),
				[]string{"gone", "d/other", "e/gone", "f/g/gone", ".publish-generation", "dir/was", "file", "empty/x"},
				[]string{"a", "d/both", "d/unwanted", "x/y/both"},
				[]string{"d/new", "d/other", "dir", "file/is", "f/g/new", ".publish-generation", "empty/y"})
			must(t, os.Symlink("a", filepath.Join(old, "link")))
			must(t, os.Symlink("a", filepath.Join(like.Dir, "link")))
			must(t, os.Symlink("a", filepath.Join(like.Dir, "shared")))
			must(t, os.Link(filepath.Join(like.Dir, "shared"), filepath.Join(old, "shared")))
			must(t, os.Mkdir(filepath.Join(old, ".publish-dir"), 0o755))
			must(t, os.Mkdir(filepath.Join(like.Dir, ".publish-dir"), 0o755))
			must(t, syscall.Mkfifo(filepath.Join(old, "d/pipe"), 0o644))
			must(t, os.Chmod(filepath.Join(old, "x"), 0o700))
			before := names(t, like.Dir)

			var told []string
			cmp, err := Compare(context.Background(), old, like)
			must(t, err)
			must(t, cmp.Beyond(old, Common{Keep: func(p string) bool { return p != "d/unwanted" }},
				func(st Stat) { told = append(told, fmt.Sprint(st.Size)) }))
			if len(told) != 11 {
				t.Errorf("beyond: %d files: %v", len(told), told)
			}
			done, err := trim(old, like, Common{Keep: func(p string) bool { return p != "d/unwanted" },
				KeepDir: func(p string) bool { return p != "empty" }})
			must(t, err)
			if got, want := fmt.Sprint(names(t, old)), "[a d/ d/both f/ f/g/ shared x/ x/y/ x/y/both]"; got != want {
				t.Errorf("left: %s, want %s", got, want)
			}
			if !slices.Equal(names(t, like.Dir), before) {
				t.Error("the other tree has changed")
			}
			var changed []string
			for _, p := range done.Changed {
				changed = append(changed, strings.TrimPrefix(p, old))
			}
			if got, want := fmt.Sprint(changed), "[ /d /f/g /x]"; got != want {
				t.Errorf("changed: %s, want %s", got, want)
			}
			if fi := lstat(t, filepath.Join(old, "x")); fi.Mode.Perm() != 0o755 {
				t.Errorf("mode %v", fi.Mode)
			}
			if done.Kept != 4 {
				t.Errorf("%+v", done)
			}
			again, err := trim(old, like, Common{})
			must(t, err)
			if again.Removed != 0 || len(again.Changed) != 0 || again.Kept != 4 {
				t.Errorf("again: %+v", again)
			}
		})
	}
}

// Whatever somebody puts into the old tree, or does to the live one, only files
// of the live tree stay.
func TestTrimHostile(t *testing.T) {
	both := []string{"a", "d/b", "d/e/c"}
	for name, c := range map[string]struct {
		change func(t *testing.T, old, live string)
		left   string
	}{
		"a file is replaced by another with its bytes and times": {func(t *testing.T, old, live string) {
			st, err := os.Stat(filepath.Join(live, "a"))
			must(t, err)
			must(t, os.Remove(filepath.Join(old, "a")))
			write(t, filepath.Join(old, "a"), "a")
			must(t, os.Chtimes(filepath.Join(old, "a"), st.ModTime(), st.ModTime()))
		}, "[d/ d/b d/e/ d/e/c]"},
		"a file has another file's inode": {func(t *testing.T, old, live string) {
			must(t, os.Rename(filepath.Join(old, "a"), filepath.Join(old, "d/b")))
		}, "[d/ d/e/ d/e/c]"}, // a rename over a link to the same inode would do nothing
		"a directory is replaced by a link to the live one": {func(t *testing.T, old, live string) {
			must(t, os.RemoveAll(filepath.Join(old, "d")))
			must(t, os.Symlink(filepath.Join(live, "d"), filepath.Join(old, "d")))
		}, "[a]"},
		"a live directory is replaced by a link to the old one": {func(t *testing.T, old, live string) {
			must(t, os.RemoveAll(filepath.Join(live, "d")))
			must(t, os.Symlink(filepath.Join(old, "d"), filepath.Join(live, "d")))
		}, "[a]"},
		"a live file is replaced": {func(t *testing.T, old, live string) {
			must(t, os.Remove(filepath.Join(live, "a")))
			write(t, filepath.Join(live, "a"), "b")
		}, "[d/ d/b d/e/ d/e/c]"},
		"a live directory is gone": {func(t *testing.T, old, live string) {
			must(t, os.RemoveAll(filepath.Join(live, "d/e")))
		}, "[a d/ d/b]"},
		"files where directories were": {func(t *testing.T, old, live string) {
			must(t, os.RemoveAll(filepath.Join(old, "d")))
			write(t, filepath.Join(old, "d"), "x")
		}, "[a]"},
		"another tree of any depth": {func(t *testing.T, old, live string) {
			must(t, os.MkdirAll(filepath.Join(old, strings.Repeat("x/", 200)), 0o755))
			must(t, os.Chmod(filepath.Join(old, "x/x"), 0))
		}, "[a d/ d/b d/e/ d/e/c]"},
		"nobody may look into a directory": {func(t *testing.T, old, live string) {
			must(t, os.Chmod(filepath.Join(old, "d/e"), 0))
		}, "[a d/ d/b d/e/ d/e/c]"},
		"another user's directory": {func(t *testing.T, old, live string) {
			if os.Getuid() != 0 {
				t.Skip("only root makes other users' directories")
			}
			must(t, os.Chown(filepath.Join(old, "d"), 12345, 12345))
		}, "[a]"},
		"very many names": {func(t *testing.T, old, live string) {
			for i := range 300 {
				write(t, filepath.Join(old, fmt.Sprint("d/", i)), "")
			}
		}, "[a d/ d/b d/e/ d/e/c]"},
	} {
		for how, trim := range trims {
			t.Run(name+" "+how, func(t *testing.T) {
				old, like := trees(t, t.TempDir(), nil, both, nil)
				c.change(t, old, like.Dir)
				_, err := trim(old, like, Common{})
				if name == "nobody may look into a directory" && os.Getuid() != 0 {
					c.left = "[a d/ d/b]"
				}
				must(t, err)
				if got := fmt.Sprint(names(t, old)); got != c.left {
					t.Errorf("left: %s, want %s", got, c.left)
				}
			})
		}
	}
}

// The names that two lists share are found in whatever order they come.
func TestCommon(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one := rapid.Custom(func(t *rapid.T) same {
			return same{rapid.Uint64Range(0, 5).Draw(t, "ino"), rapid.Uint64Range(0, 20).Draw(t, "name")}
		})
		unique := func(s same) uint64 { return s.name }
		ours := rapid.SliceOfDistinct(one, unique).Draw(t, "ours")
		theirs := rapid.SliceOfDistinct(one, unique).Draw(t, "theirs")
		if rapid.Bool().Draw(t, "alike") { // as directories mostly are
			theirs = append(theirs[:len(theirs)/4:len(theirs)/4], slices.DeleteFunc(slices.Clone(ours),
				func(s same) bool {
					return slices.ContainsFunc(theirs[:len(theirs)/4], func(o same) bool { return o.name == s.name })
				})...)
		}
		var want []uint64
		for _, s := range ours {
			if slices.Contains(theirs, s) {
				want = append(want, s.name)
			}
		}
		slices.Sort(want)
		if got := common(ours, theirs); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v of %v and %v", got, want, ours, theirs)
		}
	})
}

// Names that go while they are compared are no failure, and no reason to keep
// anything.
func TestTrimWhileNamesVanish(t *testing.T) {
	var all []string
	for i := range 400 {
		all = append(all, fmt.Sprintf("d%d/%d", i%7, i))
	}
	for how, trim := range trims {
		t.Run(how, func(t *testing.T) {
			old, like := trees(t, t.TempDir(), nil, all, nil)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i, p := range all {
					if i%3 == 0 {
						_ = os.Remove(filepath.Join(like.Dir, p))
					}
				}
				_ = os.RemoveAll(filepath.Join(like.Dir, "d3"))
			}()
			_, err := trim(old, like, Common{})
			<-done
			must(t, err)
			_, err = trim(old, like, Common{})
			must(t, err)
			live := names(t, like.Dir)
			for _, p := range names(t, old) {
				if !slices.Contains(live, p) {
					t.Fatalf("%s is left, and gone from the live tree", p)
				}
			}
		})
	}
}

func TestTrimRefuses(t *testing.T) {
	root := os.Getuid() == 0
	for name, c := range map[string]struct {
		change func(t *testing.T, old string)
		want   error
	}{
		"it is a link": {func(t *testing.T, old string) {
			must(t, os.Rename(old, old+"-2"))
			must(t, os.Symlink(old+"-2", old))
		}, syscall.ENOTDIR},
		"it is a file": {func(t *testing.T, old string) { must(t, os.RemoveAll(old)); write(t, old, "") },
			syscall.ENOTDIR},
		"it is missing": {func(t *testing.T, old string) { must(t, os.RemoveAll(old)) }, os.ErrNotExist},
		"another user's": {func(t *testing.T, old string) { asRoot(t); must(t, os.Chown(old, 12345, 12345)) },
			ErrForeign},
		"a file that nobody removes": {func(t *testing.T, old string) {
			write(t, filepath.Join(old, "d/x"), "")
			immutable(t, filepath.Join(old, "d/x"))
		}, os.ErrPermission},
		"a directory that nobody changes": {func(t *testing.T, old string) { immutable(t, filepath.Join(old, "d")) },
			ErrForeign},
		"a mount": {func(t *testing.T, old string) {
			asRoot(t)
			bind(t, t.TempDir(), filepath.Join(old, "d"))
		}, durable.ErrMountPoint},
		"a file with another mounted on it": {func(t *testing.T, old string) {
			asRoot(t)
			other := filepath.Join(t.TempDir(), "x")
			write(t, other, "")
			bind(t, other, filepath.Join(old, "a"))
		}, durable.ErrMountPoint},
	} {
		t.Run(name, func(t *testing.T) {
			old, like := trees(t, t.TempDir(), nil, []string{"a", "d/b"}, nil)
			c.change(t, old)
			if _, err := trimTree(context.Background(), old, like, Common{}); !errors.Is(err, c.want) {
				t.Errorf("root %v: %v, want %v", root, err, c.want)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		old, like := trees(t, t.TempDir(), nil, []string{"a"}, nil)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := trimTree(ctx, old, like, Common{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Cloner.Trim and Run make of any tree what the ops say.
func TestTrimAndRun(t *testing.T) {
	old, like := trees(t, t.TempDir(),
		[]string{"stale", "s/index", "was/x", "swapped"},
		[]string{"a", "d/keep", "d/drop", "e/f/keep", "copied"},
		[]string{"d/link", "s/index", "swapped"})
	from := t.TempDir()
	write(t, filepath.Join(from, "n/new"), "new")
	write(t, filepath.Join(from, "s/index"), "index")
	src, err := OpenSource(from)
	must(t, err)
	defer src.Close()
	batch, err := durable.NewBatch(old)
	must(t, err)
	defer batch.Close()
	ops := []Op{
		{Path: "a", From: like, How: Share, SHA256: one},
		{Path: "copied", From: like, How: Copy},
		{Path: "d/keep", From: like, How: Share, SHA256: one},
		{Path: "d/link", From: like, How: Share, SHA256: one},
		{Path: "e/f/keep", From: like, How: Share, SHA256: one},
		{Path: "missing", From: like, How: Share, SHA256: one},
		{Path: "n/new", From: src, How: Share, SHA256: one},
		{Path: "s/index", From: src, How: Copy},
		{Path: "swapped", From: like, How: Share, SHA256: one},
	}
	c := Cloner{Dst: old, Batch: batch}
	with, err := Compare(context.Background(), old, like)
	must(t, err)
	must(t, c.Trim(context.Background(), with, like, ops))
	held := map[string]bool{}
	for _, op := range ops {
		held[op.Path] = op.Held
	}
	maps.DeleteFunc(held, func(_ string, is bool) bool { return !is })
	if got := fmt.Sprint(slices.Sorted(maps.Keys(held))); got != "[a d/keep e/f/keep]" {
		t.Errorf("held: %s", got)
	}
	out, err := c.Run(context.Background(), ops)
	must(t, err)
	must(t, batch.Flush())
	for i, op := range ops {
		switch {
		case op.Path == "missing":
			if !errors.Is(out[i].Err, os.ErrNotExist) {
				t.Errorf("%+v", out[i])
			}
			continue
		case out[i].Err != nil || out[i].Shared != (op.How == Share):
			t.Errorf("%s: %+v", op.Path, out[i])
		}
		same := lstat(t, filepath.Join(old, op.Path)).Ino == lstat(t, filepath.Join(op.From.Dir, op.Path)).Ino
		if same != (op.How == Share) {
			t.Errorf("%s: one inode: %v", op.Path, same)
		}
	}
	want := []string{"a", "copied", "d/", "d/keep", "d/link", "e/", "e/f/", "e/f/keep", "n/", "n/new", "s/", "s/index",
		"swapped"}
	if got := names(t, old); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A file that has as many links as its file system allows is copied.
func TestLinkLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 65,000 links")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "a")
	var err error
	for i := 0; err == nil && i < 70000; i++ {
		err = os.Link(filepath.Join(dir, "a"), filepath.Join(dir, fmt.Sprint("link", i)))
	}
	if !errors.Is(err, syscall.EMLINK) {
		t.Skipf("no limit here: %v", err)
	}
	src, err := OpenSource(dir)
	must(t, err)
	defer src.Close()
	dst := t.TempDir()
	batch, err := durable.NewBatch(dst)
	must(t, err)
	defer batch.Close()
	c := Cloner{Dst: dst, Batch: batch}
	out, err := c.Run(context.Background(), []Op{{Path: "a", From: src, How: Share, SHA256: sum([]byte("a")),
		Stat: Stat{Size: 1}}})
	must(t, err)
	if out[0].Shared || out[0].Err != nil || out[0].SHA256 != sum([]byte("a")) {
		t.Errorf("%+v", out[0])
	}
}

// BenchmarkTrim compares two directories of 20,000 files that are the same.
func BenchmarkTrim(b *testing.B) {
	base := b.TempDir()
	old, live := filepath.Join(base, "old"), filepath.Join(base, "live")
	must(b, errors.Join(os.MkdirAll(old+"/images", 0o755), os.MkdirAll(live+"/images", 0o755)))
	for i := range 20000 {
		name := fmt.Sprintf("images/%064x.squashfs", i*7919)
		must(b, os.WriteFile(filepath.Join(live, name), nil, 0o444))
		must(b, os.Link(filepath.Join(live, name), filepath.Join(old, name)))
	}
	like, err := OpenSource(live)
	must(b, err)
	defer like.Close()
	for how, trim := range trims {
		b.Run(how, func(b *testing.B) {
			b.ReportAllocs()
			before := processor()
			for b.Loop() {
				if out, err := trim(old, like, Common{}); err != nil || out.Kept != 20000 {
					b.Fatal(out, err)
				}
			}
			b.ReportMetric((processor()-before).Seconds()*1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// processor is the time that this process has had.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func asRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root does this")
	}
}
