package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// TestMain lets the test binary be another process that adds: its directory,
// then the directories of the images.
func TestMain(m *testing.M) {
	if repo := os.Getenv("STAGE_TEST_ADD"); repo != "" {
		for _, dir := range os.Args[1:] {
			if _, err := openStage(repo).Add(context.Background(), AddRequest{Files: []string{dir}}); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestAddSplit(t *testing.T) {
	s := newStage(t)
	meta, root, disk := metadataFor(t, "alpha", ""), squashfs("root"), qcow2("disk")
	dir := files(t, map[string][]byte{"incus.tar.xz": meta, "rootfs.squashfs": root, "disk.qcow2": disk,
		"image.yaml": []byte("x")})
	got := add(t, s, dir)
	product := "alpha:one:default:amd64"
	want := &Added{Images: []catalog.Image{
		{Product: product, Version: version, Type: "container", Fingerprint: sum(meta, root)},
		{Product: product, Version: version, Type: "virtual-machine", Fingerprint: sum(meta, disk)},
	}}
	if diff := cmp.Diff(want, got,
		cmp.Transformer("empty", func(p []string) string { return strings.Join(p, ",") })); diff != "" {
		t.Error(diff)
	}
	images := valid(t, s)
	if len(images) != 2 || !cmp.Equal(images[0].Aliases, []string{"alpha/one/default"}) {
		t.Errorf("images %+v", images)
	}
	for name, data := range map[string][]byte{
		"images/" + sum(meta) + ".incus.tar.xz": meta,
		"images/" + sum(root) + ".squashfs":     root,
		"images/" + sum(disk) + ".qcow2":        disk,
	} {
		fi, err := os.Lstat(filepath.Join(s.Dir, name))
		must(t, err)
		if fi.Mode() != 0o444 || string(read(t, filepath.Join(s.Dir, name))) != string(data) {
			t.Errorf("%s: mode %v, or other bytes", name, fi.Mode())
		}
		if got, sealed, ok := tree.OpenCache(s.Hashes).Lookup(name, tree.StatOf(fi)); !ok || !sealed ||
			got != sum(data) {
			t.Errorf("%s: the cache does not know it as sealed", name)
		}
	}
	if both, ok := tree.OpenCache(s.Hashes).Pair(sum(meta), sum(root)); !ok || both != sum(meta, root) {
		t.Error("the cache does not know the fingerprint")
	}
	c, err := s.Validate(context.Background(), Checks{Now: time.Now()})
	must(t, err)
	if read := c.Report.HashedBytes; read > 4096 { // the indexes are too young
		t.Errorf("validate read %d bytes of what was added a moment ago", read)
	}
	clean(t, s)

	again := add(t, s, dir)
	if !again.Unchanged || len(again.Images) != 2 || again.Images[0].Fingerprint != sum(meta, root) {
		t.Errorf("again: %+v", again)
	}
	clean(t, s)
}

func TestAddForms(t *testing.T) {
	meta := metadataFor(t, "alpha", "")
	for ending, data := range packed(t, meta) {
		for name, forms := range map[string]map[string][]byte{
			"incus":    {"incus" + ending: data, "rootfs.squashfs": squashfs("r")},
			"lxd":      {"lxd" + ending: data, "disk.qcow2": qcow2("d")},
			"combined": {"incus_combined" + ending: data},
			"unified":  {"incus" + ending: data},
		} {
			s := newStage(t)
			got := add(t, s, files(t, forms))
			want := sum(data)
			for _, root := range [][]byte{forms["rootfs.squashfs"], forms["disk.qcow2"]} {
				if root != nil {
					want = sum(data, root)
				}
			}
			if len(got.Images) != 1 || got.Images[0].Fingerprint != want {
				t.Errorf("%s%s: %+v", name, ending, got)
			}
			valid(t, s)
		}
	}
}

func TestAddFlags(t *testing.T) {
	s := newStage(t)
	dir := built(t, "alpha", "")
	_, err := s.Add(context.Background(), AddRequest{
		Files: []string{filepath.Join(dir, "incus.tar.xz"), filepath.Join(dir, "rootfs.squashfs")},
		Addition: catalog.Addition{Aliases: []string{"a", "b/c"}, NoDefaultAlias: true, Name: "my:own:name:amd64",
			Requirements: map[string]string{"secureboot": "false"}},
	})
	must(t, err)
	images := valid(t, s)
	if len(images) != 1 || images[0].Product != "my:own:name:amd64" || !cmp.Equal(images[0].Aliases,
		[]string{"a", "b/c"}) {
		t.Errorf("%+v", images)
	}
	var doc struct {
		Products map[string]struct{ Requirements map[string]string }
	}
	must(t, json.Unmarshal(read(t, filepath.Join(s.Dir, "streams/v1/images.json")), &doc))
	if doc.Products["my:own:name:amd64"].Requirements["secureboot"] != "false" {
		t.Errorf("requirements %+v", doc)
	}
}

// The same version with other content replaces the entry; a root with other
// metadata stands beside the first, and every fingerprint is right.
func TestAddReplacesAndStandsBeside(t *testing.T) {
	s := newStage(t)
	first := built(t, "alpha", "1")
	add(t, s, first)
	root := "images/" + sum(squashfs("alpha1")) + ".squashfs"
	got := add(t, s, built(t, "alpha", "2"))
	if got.Unchanged || len(got.Replaced) == 0 || !exists(filepath.Join(s.Dir, root)) {
		t.Errorf("%+v", got)
	}
	if images := valid(t, s); len(images) != 1 || images[0].Fingerprint != got.Images[0].Fingerprint {
		t.Errorf("images %+v", images)
	}
	add(t, s, files(t, map[string][]byte{"incus.tar.xz": metadataFor(t, "alpha", "vm"), "disk.qcow2": qcow2("vm")}))
	if images := valid(t, s); len(images) != 2 {
		t.Errorf("images %+v", images)
	}
}

func TestAddHealsContent(t *testing.T) {
	s := newStage(t)
	dir := built(t, "alpha", "")
	add(t, s, dir)
	root := filepath.Join(s.Dir, "images", sum(squashfs("alpha"))+".squashfs")
	for name, damage := range map[string]func(){
		"gone":        func() { must(t, os.Remove(root)) },
		"other bytes": func() { must(t, os.Chmod(root, 0o644)); must(t, os.WriteFile(root, []byte("x"), 0o644)) },
		"a folder":    func() { must(t, os.Remove(root)); must(t, os.Mkdir(root, 0o755)) },
		"a link":      func() { must(t, os.Remove(root)); must(t, os.Symlink("/etc/passwd", root)) },
	} {
		damage()
		if got := add(t, s, dir); got.Unchanged {
			t.Errorf("%s: unchanged", name)
		}
		valid(t, s)
		if fi, err := os.Lstat(root); err != nil || fi.Mode() != 0o444 {
			t.Errorf("%s: %v %v", name, fi, err)
		}
	}
}

func TestAddMove(t *testing.T) {
	s := newStage(t)
	dir := built(t, "alpha", "")
	root := filepath.Join(dir, "rootfs.squashfs")
	before, err := os.Stat(root)
	must(t, err)
	got, err := s.Add(context.Background(), AddRequest{Files: []string{dir}, Move: true})
	must(t, err)
	if len(got.Kept) > 0 || exists(root) || exists(filepath.Join(dir, "incus.tar.xz")) {
		t.Errorf("the sources are still there: %+v", got)
	}
	valid(t, s)
	after, err := os.Stat(filepath.Join(s.Dir, "images", sum(squashfs("alpha"))+".squashfs"))
	must(t, err)
	if !os.SameFile(before, after) || after.Mode() != 0o444 {
		t.Errorf("it was copied, or is not sealed: %v", after.Mode())
	}
	clean(t, s)

	// Again, from a file with a second name, and through a link: those are
	// copied, and the link is left alone.
	dir = built(t, "beta", "")
	root = filepath.Join(dir, "rootfs.squashfs")
	must(t, os.Link(root, filepath.Join(dir, "second")))
	meta := filepath.Join(t.TempDir(), "link.tar")
	must(t, os.Symlink(filepath.Join(dir, "incus.tar.xz"), meta))
	got, err = s.Add(context.Background(), AddRequest{Files: []string{meta, root}, Move: true})
	must(t, err)
	if len(got.Kept) != 1 || !exists(meta) || exists(root) {
		t.Errorf("%+v", got)
	}
	if fi, err := os.Stat(filepath.Join(dir, "second")); err != nil || fi.Mode() != 0o644 {
		t.Errorf("the file's other name was sealed: %v", fi.Mode())
	}
	valid(t, s)
}

// A file of another user is copied: its owner could write to it again.
func TestAddMoveOfAnother(t *testing.T) {
	dir := built(t, "alpha", "")
	root := filepath.Join(dir, "rootfs.squashfs")
	if os.Chown(root, 65534, 65534) != nil {
		t.Skip("only root gives files away")
	}
	before := stat(t, root)
	s := newStage(t)
	_, err := s.Add(context.Background(), AddRequest{Files: []string{dir}, Move: true})
	must(t, err)
	valid(t, s)
	if os.SameFile(before, stat(t, s.Dir, "images", sum(squashfs("alpha"))+".squashfs")) || exists(root) {
		t.Error("it was moved, or is still there")
	}
}

func TestAddMoveAcrossFileSystems(t *testing.T) {
	other, err := os.MkdirTemp("/dev/shm", "publish-test-")
	if err != nil {
		t.Skip("no second file system")
	}
	defer os.RemoveAll(other)
	s := newStage(t)
	must(t, os.WriteFile(filepath.Join(other, "m"), metadataFor(t, "alpha", ""), 0o644))
	must(t, os.WriteFile(filepath.Join(other, "r"), squashfs("r"), 0o644))
	got, err := s.Add(context.Background(),
		AddRequest{Files: []string{filepath.Join(other, "m"), filepath.Join(other, "r")}, Move: true})
	must(t, err)
	if len(got.Kept) > 0 || exists(filepath.Join(other, "r")) {
		t.Errorf("%+v", got)
	}
	valid(t, s)
}

// A failed add leaves staging, and the files to be moved, as they were.
func TestAddFails(t *testing.T) {
	meta := metadataFor(t, "alpha", "")
	good := files(t, map[string][]byte{"m.tar": meta, "r.squashfs": squashfs("r"), "r2.squashfs": squashfs("r2"),
		"x": []byte("text"), "cut.tar.gz": packed(t, meta)[".tar.gz"][:40]})
	must(t, syscall.Mkfifo(filepath.Join(good, "fifo"), 0o644))
	must(t, os.Mkdir(filepath.Join(good, "d"), 0o755))
	two := files(t, map[string][]byte{"incus.tar.xz": meta, "incus.tar": meta, "rootfs.squashfs": squashfs("r")})
	for _, c := range []struct {
		name  string
		files []string
		usage bool
		names string // what the message has to name
	}{
		{"nothing", nil, true, "no file"},
		{"missing", []string{"gone"}, false, "gone"},
		{"root is no root", []string{"m.tar", "x"}, false, "x"},
		{"metadata is no tarball", []string{"x", "r.squashfs"}, false, "x"},
		{"cut", []string{"cut.tar.gz", "r.squashfs"}, false, "cut.tar.gz"},
		{"fifo as metadata", []string{"fifo", "r.squashfs"}, false, "fifo"},
		{"fifo as root", []string{"m.tar", "fifo"}, false, "fifo"},
		{"directory as root", []string{"m.tar", "d"}, false, "d"},
		{"two of a type", []string{"m.tar", "r.squashfs", "r2.squashfs"}, true, "r2.squashfs"},
		{"twice", []string{"m.tar", "r.squashfs", "r.squashfs"}, true, "r.squashfs"},
		{"empty directory", []string{"d"}, true, "d"},
		{"directory and more", []string{"d", "r.squashfs"}, true, "d"},
		{"two metadata files", []string{two}, true, "incus.tar"},
	} {
		for _, move := range []bool{false, true} {
			s := newStage(t)
			var paths []string
			for _, f := range c.files {
				if !filepath.IsAbs(f) {
					f = filepath.Join(good, f)
				}
				paths = append(paths, f)
			}
			_, err := s.Add(context.Background(), AddRequest{Files: paths, Move: move})
			if err == nil || !strings.Contains(err.Error(), c.names) || errors.As(err, new(*UsageError)) != c.usage {
				t.Errorf("%s: %T %v", c.name, err, err)
			}
			if got := contents(t, s.Dir); len(got) > 0 {
				t.Errorf("%s: left %v", c.name, got)
			}
			clean(t, s)
			if fi, err := os.Stat(filepath.Join(good, "m.tar")); err != nil || fi.Mode() != 0o644 {
				t.Errorf("%s: the source was changed: %v %v", c.name, fi, err)
			}
		}
	}
	for name, req := range map[string]AddRequest{
		"alias with a comma": {Addition: catalog.Addition{Aliases: []string{"a,b"}}},
		"empty alias":        {Addition: catalog.Addition{Aliases: []string{""}}},
	} {
		req.Files = []string{filepath.Join(good, "m.tar"), filepath.Join(good, "r.squashfs")}
		if _, err := newStage(t).Add(context.Background(), req); !errors.As(err, new(*UsageError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newPlain(t).Add(context.Background(), AddRequest{Files: []string{good}}); !errors.Is(err,
		catalog.ErrByHand) {
		t.Errorf("plain: %v", err)
	}
	s := newStage(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Add(ctx, AddRequest{Files: []string{built(t, "alpha", "")}}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	clean(t, s)
}

// A broken index is not written over.
func TestAddToBrokenIndex(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "alpha", ""))
	doc := filepath.Join(s.Dir, "streams/v1/images.json")
	must(t, os.WriteFile(doc, read(t, doc)[:50], 0o644))
	_, err := s.Add(context.Background(), AddRequest{Files: []string{built(t, "beta", "")}})
	if err == nil || !strings.HasPrefix(err.Error(), doc+": ") {
		t.Errorf("err %v", err)
	}
	if len(read(t, doc)) != 50 {
		t.Error("the index was written over")
	}
}

func TestAddSourceChanges(t *testing.T) {
	s := newStage(t)
	dir := built(t, "alpha", "")
	root := filepath.Join(dir, "rootfs.squashfs")
	changed := false
	s.Progress = func(string, int64) func(int64) {
		var once sync.Once
		return func(n int64) {
			once.Do(func() {
				changed = true
				f, err := os.OpenFile(root, os.O_WRONLY|os.O_APPEND, 0)
				must(t, err)
				defer f.Close()
				_, err = f.Write([]byte("more"))
				must(t, err)
				must(t, os.Chtimes(root, time.Time{}, time.Now().Add(time.Hour)))
			})
		}
	}
	// The first byte that is read is the metadata's, so the root changes
	// before: the whole of what it has become is staged. A root that changes
	// while it is read is refused.
	_, err := s.Add(context.Background(), AddRequest{Files: []string{dir}})
	must(t, err)
	if !changed {
		t.Fatal("nothing changed it")
	}
	valid(t, s)
	in := intake{dir: openDir(t, t.TempDir()), progress: func(int64) {
		must(t, os.Chtimes(root, time.Time{}, time.Now().Add(2*time.Hour)))
	}}
	if _, err := in.take(context.Background(), root, "x", false); !errors.Is(err, tree.ErrChanged) ||
		!strings.HasPrefix(err.Error(), root) {
		t.Errorf("err %v", err)
	}
}

func openDir(t *testing.T, dir string) *durable.Dir {
	t.Helper()
	d, err := durable.OpenBelow(dir, ".")
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func TestAddAtOnce(t *testing.T) {
	const processes, each = 8, 4
	s := newStage(t)
	repo := filepath.Dir(s.Dir)
	cmds := make([]*exec.Cmd, processes)
	self, err := os.Executable()
	must(t, err)
	for i := range cmds {
		var dirs []string
		for j := range each {
			dirs = append(dirs, built(t, fmt.Sprintf("os%d-%d", i, j), ""))
		}
		cmds[i] = exec.Command(self, dirs...)
		cmds[i].Env = append(os.Environ(), "STAGE_TEST_ADD="+repo)
		cmds[i].Stderr = os.Stderr
		must(t, cmds[i].Start())
	}
	var done sync.WaitGroup
	for i := range processes { // and as many goroutines
		dir := built(t, fmt.Sprintf("go%d", i), "")
		done.Go(func() {
			if _, err := openStage(repo).Add(context.Background(), AddRequest{Files: []string{dir}}); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	for _, c := range cmds {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	if got := len(valid(t, s)); got != processes*(each+1) {
		t.Errorf("%d images of %d", got, processes*(each+1))
	}
	clean(t, s)
}

// Killed at any moment, an add leaves a tree that is valid, in which the next
// add succeeds.
func TestAddKilled(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "first", ""))
	self, err := os.Executable()
	must(t, err)
	killed := 0
	for i := range 12 {
		dir := built(t, fmt.Sprintf("os%d", i), "")
		c := exec.Command(self, dir)
		c.Env = append(os.Environ(), "STAGE_TEST_ADD="+filepath.Dir(s.Dir))
		must(t, c.Start())
		timer := time.AfterFunc(time.Duration(i*3)*time.Millisecond, func() { _ = c.Process.Kill() })
		if c.Wait() != nil {
			killed++
		}
		timer.Stop()
		unlock, err := s.Exclusive(context.Background(), "test")
		must(t, err)
		unlock()
		clean(t, s)
		valid(t, s)
		add(t, s, dir)
		valid(t, s)
	}
	if len(valid(t, s)) != 13 {
		t.Errorf("%d images; %d adds were killed", len(valid(t, s)), killed)
	}
}

// A large file goes past the page cache, its tail through it.
func TestAddLarge(t *testing.T) {
	s := newStage(t)
	root := squashfs(strings.Repeat("0123456789abcdef", directAbove/16) + "tail")
	meta := metadataFor(t, "alpha", "")
	out := add(t, s, files(t, map[string][]byte{"incus.tar.xz": meta, "rootfs.squashfs": root}))
	if want := sum(meta, root); out.Images[0].Fingerprint != want {
		t.Errorf("fingerprint %s, want %s", out.Images[0].Fingerprint, want)
	}
	staged, err := os.ReadFile(filepath.Join(s.Dir, "images", sum(root)+".squashfs"))
	must(t, err)
	if sum(staged) != sum(root) {
		t.Errorf("%d other bytes were staged", len(staged))
	}
	if v, r := validate(t, snapshot(t, s, &Base{})); v == nil {
		t.Errorf("%+v", r.Findings)
	}
}

// A file that somebody has open for writing, by a descriptor or a mapping, does
// not become content itself: what is written later would reach production.
func TestAddMoveOpenForWriting(t *testing.T) {
	for name, hold := range map[string]func(t *testing.T, path string) (write func()){
		"descriptor": func(t *testing.T, path string) func() {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			must(t, err)
			t.Cleanup(func() { f.Close() })
			return func() { f.WriteAt([]byte("evil"), 0) }
		},
		"append": func(t *testing.T, path string) func() {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			must(t, err)
			t.Cleanup(func() { f.Close() })
			return func() { f.WriteString("evil") }
		},
		"mapping": func(t *testing.T, path string) func() {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			must(t, err)
			m, err := syscall.Mmap(int(f.Fd()), 0, 4, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
			must(t, errors.Join(err, f.Close()))
			t.Cleanup(func() { syscall.Munmap(m) })
			return func() { copy(m, "evil") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			meta, root := metadataFor(t, "alpha", ""), squashfs("root")
			dir := files(t, map[string][]byte{"incus.tar.xz": meta, "rootfs.squashfs": root})
			path := filepath.Join(dir, "rootfs.squashfs")
			write := hold(t, path)
			got, err := s.Add(context.Background(), AddRequest{Files: []string{dir}, Move: true})
			must(t, err)
			if len(got.Kept) != 1 || !strings.Contains(got.Kept[0].Error(), "open for writing") {
				t.Errorf("kept %v", got.Kept)
			}
			write()
			data, err := os.ReadFile(filepath.Join(s.Dir, "images/"+sum(root)+".squashfs"))
			if err != nil || string(data) != string(root) {
				t.Errorf("staging has %q, %v", data[:4], err)
			}
			if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o644 {
				t.Errorf("the source: %v, %v", fi, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "incus.tar.xz")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the other file was not moved: %v", err)
			}
		})
	}
}
