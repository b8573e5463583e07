package interop_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"example.com/publish/scripts/interop/layout"
)

// The tools of others write layouts into staging, read production, and load what
// export writes: what comes out has the digest of what went in. Of these tools CI has
// skopeo and umoci; the others are for `make interop`.

const repository = "docker.io/acme/app"

// found skips a test for which a program is missing that CI does not have either.
func found(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is missing: `make interop` installs it on Debian", name)
		}
	}
}

// images is a repository of format oci.
func newImages(t *testing.T, mode string) *repo {
	t.Helper()
	program, err := shared.publish()
	if err != nil {
		t.Fatal(err)
	}
	r := &repo{t: t, dir: filepath.Join(openDir(t), "repo"), program: program, umask: "022"}
	r.runIn("", 0, "init", "--format", "oci", "--switch", mode, r.dir)
	return r
}

func (r *repo) staging(repository string) string { return filepath.Join(r.dir, "staging", repository) }

// tools runs a program and returns its standard output.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String()
}

// machine is the platform that this machine runs.
var machine = "linux/" + runtime.GOARCH

// source is a layout with v1, an index of two platforms, and one, which is for this
// machine alone and says its text.
type source struct {
	dir      string
	v1, one  string // digests
	config   string // of one
	platform string // the manifest of v1 for this machine
}

func newSource(t *testing.T, text string) source {
	t.Helper()
	d := &layout.Dir{Path: filepath.Join(openDir(t), "source")}
	busybox, _ := os.ReadFile("/bin/busybox")
	one := d.Image(text, machine, busybox, nil)
	mine := d.Image("v1 "+text, machine, nil, nil)
	v1 := d.List(mine, d.Image("other "+text, "linux/riscv64", nil, nil))
	d.Tag(v1, "v1")
	d.Tag(one, "one")
	if err := d.Write(); err != nil {
		t.Fatal(err)
	}
	return source{d.Path, v1.Digest, one.Digest, configOf(t, d.Path, one.Digest), mine.Digest}
}

func blobAt(dir, digest string) string {
	return filepath.Join(dir, "blobs", filepath.FromSlash(strings.Replace(digest, ":", "/", 1)))
}

func configOf(t *testing.T, dir, digest string) string {
	t.Helper()
	var m struct{ Config layout.Descriptor }
	data, err := os.ReadFile(blobAt(dir, digest))
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Config.Digest
}

func digestOf(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

// tagged is what a tag of a layout stands for.
func tagged(t *testing.T, dir, tag string) string {
	t.Helper()
	var index struct{ Manifests []layout.Descriptor }
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range index.Manifests {
		if name := d.Annotations["org.opencontainers.image.ref.name"]; name == tag || strings.HasSuffix(name, ":"+tag) {
			return d.Digest
		}
	}
	return ""
}

// writers put the image one, and v1 where they can, into a layout in staging.
var writers = map[string]struct {
	write func(t *testing.T, from, to string)
	read  func(t *testing.T, dir, tag string) string // the digest that the tool finds
	both  bool                                       // v1 also
	extra bool                                       // CI does not have it
}{
	"skopeo": {func(t *testing.T, from, to string) {
		for _, tag := range []string{"v1", "one"} {
			command(t, "skopeo", "copy", "-q", "--all", "--preserve-digests", "oci:"+from+":"+tag, "oci:"+to+":"+tag)
		}
	}, func(t *testing.T, dir, tag string) string {
		return digestOf(command(t, "skopeo", "inspect", "--raw", "oci:"+dir+":"+tag))
	}, true, false},
	"umoci": {func(t *testing.T, from, to string) {
		// It makes images only out of its own: so it moves a tag of one that came.
		command(t, "skopeo", "copy", "-q", "--preserve-digests", "oci:"+from+":one", "oci:"+to+":first")
		command(t, "umoci", "tag", "--image", to+":first", "one")
		command(t, "umoci", "rm", "--image", to+":first")
		command(t, "umoci", "gc", "--layout", to)
	}, func(t *testing.T, dir, tag string) string {
		out := filepath.Join(openDir(t), "bundle")
		command(t, "umoci", "unpack", "--rootless", "--image", dir+":"+tag, out)
		if _, err := os.Stat(filepath.Join(out, "rootfs", "text")); err != nil {
			t.Error(err)
		}
		return tagged(t, dir, tag)
	}, false, false},
	"oras": {func(t *testing.T, from, to string) {
		for _, tag := range []string{"v1", "one"} {
			command(t, "oras", "cp", "-r", "--from-oci-layout", "--to-oci-layout", from+":"+tag, to+":"+tag)
		}
	}, func(t *testing.T, dir, tag string) string {
		return digestOf(command(t, "oras", "manifest", "fetch", "--oci-layout", dir+":"+tag))
	}, true, true},
	"regctl": {func(t *testing.T, from, to string) {
		for _, tag := range []string{"v1", "one"} {
			command(t, "regctl", "image", "copy", "ocidir://"+from+":"+tag, "ocidir://"+to+":"+tag)
		}
	}, func(t *testing.T, dir, tag string) string {
		return strings.TrimSpace(command(t, "regctl", "manifest", "head", "ocidir://"+dir+":"+tag))
	}, true, true},
}

// What a tool writes into staging it finds again in production, with its digest; and
// when it writes again, production stays.
func TestImagesOfTools(t *testing.T) {
	for name, tool := range writers {
		for _, mode := range modes {
			t.Run(name+"/"+mode, func(t *testing.T) {
				need(t, "skopeo", "umoci")
				if tool.extra {
					found(t, name)
				}
				from, r := newSource(t, "first"), newImages(t, mode)
				if err := os.MkdirAll(filepath.Dir(r.staging(repository)), 0o755); err != nil {
					t.Fatal(err)
				}
				tool.write(t, from.dir, r.staging(repository))
				r.run("promote")
				want := map[string]string{"one": from.one}
				if tool.both {
					want["v1"] = from.v1
				}
				dir := filepath.Join(r.production(), repository)
				look := func(when string) {
					t.Helper()
					for tag, digest := range want {
						if got := tool.read(t, dir, tag); got != digest {
							t.Errorf("%s: %s is %s in production, was %s", when, tag, got, digest)
						}
					}
				}
				look("after the promote")
				readable(t, r.production())
				before := r.run("verify")
				second := newSource(t, "second")
				tool.write(t, second.dir, r.staging(repository))
				tool.write(t, from.dir, r.staging(repository)) // the same manifest again, in place
				tool.write(t, second.dir, r.staging(repository))
				if after := r.run("verify"); !strings.Contains(after, "0 errors") {
					t.Errorf("%s\n%s", before, after)
				}
				look("while staging is written")
				r.run("promote")
				if got := tool.read(t, dir, "one"); got != second.one {
					t.Errorf("one is %s, want %s", got, second.one)
				}
			})
		}
	}
}

// readable checks that others may read all of a tree.
func readable(t *testing.T, dir string) {
	t.Helper()
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if want := fs.FileMode(0o444); err == nil && fi.Mode().Perm()&want != want {
			t.Errorf("%s has the mode %v", path, fi.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// skopeo #1018, container-libs #263, oras #149: those that write to one layout at a
// time lose tags in it. What is promoted meanwhile is whole, or refused.
func TestImagesOfRacingTools(t *testing.T) {
	need(t, "skopeo")
	r := newImages(t, "symlink")
	to := r.staging(repository)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	from := newSource(t, "racing")
	done := make(chan error)
	for i := range 4 {
		go func() {
			done <- exec.Command("skopeo", "copy", "-q", "--preserve-digests", "oci:"+from.dir+":one",
				fmt.Sprint("oci:", to, ":t", i)).Run()
		}()
	}
	for left := 4; left > 0; {
		select {
		case <-done:
			left--
		default:
			cmd := exec.Command(r.program, "promote")
			cmd.Dir = r.dir
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != 0 && code != 3 {
				t.Fatalf("promote: %v\n%s", err, out)
			}
		}
	}
	command(t, "skopeo", "copy", "-q", "--preserve-digests", "oci:"+from.dir+":one", "oci:"+to+":last")
	r.run("promote")
	if out := r.run("verify"); !strings.Contains(out, "0 errors") {
		t.Error(out)
	}
	if got := tagged(t, filepath.Join(r.production(), repository), "last"); got != from.one {
		t.Errorf("last is %s", got)
	}
}

// Whoever uses stage add instead loses none.
func TestImagesAddedAtOnce(t *testing.T) {
	r := newImages(t, "symlink")
	from := newSource(t, "at once")
	const many = 8
	done := make(chan error)
	for i := range many {
		go func() {
			cmd := exec.Command(r.program, "stage", "add", "--only", "one", "--name", fmt.Sprint(repository, ":t", i), from.dir)
			cmd.Dir = r.dir
			out, err := cmd.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w\n%s", err, out)
			}
			done <- err
		}()
	}
	for range many {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	r.run("promote")
	for i := range many {
		if got := tagged(t, filepath.Join(r.production(), repository), fmt.Sprint("t", i)); got != from.one {
			t.Errorf("t%d is %q", i, got)
		}
	}
}

// exporting is a repository that serves the source, and a directory for archives.
func exporting(t *testing.T) (*repo, source, string) {
	t.Helper()
	r, from := newImages(t, "symlink"), newSource(t, "exported")
	if err := os.CopyFS(r.staging(repository), os.DirFS(from.dir)); err != nil {
		t.Fatal(err)
	}
	r.run("promote")
	return r, from, openDir(t)
}

func (r *repo) export(to string, args ...string) string {
	r.t.Helper()
	path := filepath.Join(to, "archive.tar")
	r.run(append([]string{"export", "-o", path}, args...)...)
	return path
}

func TestExportForSkopeo(t *testing.T) {
	need(t, "skopeo")
	r, from, dir := exporting(t)
	for tag, want := range map[string]string{"v1": from.v1, "one": from.one} {
		archive := r.export(dir, repository+":"+tag)
		if got := digestOf(command(t, "skopeo", "inspect", "--raw", "oci-archive:"+archive)); got != want {
			t.Errorf("%s is %s in the archive, was %s", tag, got, want)
		}
		to := filepath.Join(dir, tag)
		command(t, "skopeo", "copy", "-q", "--all", "--preserve-digests", "oci-archive:"+archive, "oci:"+to+":x")
		if got := tagged(t, to, "x"); got != want {
			t.Errorf("%s is %s in the copy, was %s", tag, got, want)
		}
		command(t, "skopeo", "inspect", "docker-archive:"+archive+":"+repository+":"+tag)
	}
}

func TestExportForUmoci(t *testing.T) {
	need(t, "umoci", "tar")
	r, _, dir := exporting(t)
	archive := r.export(dir, repository+":one")
	command(t, "tar", "-xf", archive, "-C", dir)
	names := strings.Fields(command(t, "umoci", "ls", "--layout", dir))
	if len(names) != 1 {
		t.Fatalf("umoci finds %v", names)
	}
	command(t, "umoci", "unpack", "--rootless", "--image", dir+":"+names[0], filepath.Join(dir, "bundle"))
	text, err := os.ReadFile(filepath.Join(dir, "bundle", "rootfs", "text"))
	if err != nil || string(text) != "exported\n" {
		t.Errorf("%q %v", text, err)
	}
}

func TestExportForOthers(t *testing.T) {
	r, from, dir := exporting(t)
	archive := r.export(dir, repository+":v1")
	t.Run("oras", func(t *testing.T) {
		found(t, "oras")
		got := digestOf(command(t, "oras", "manifest", "fetch", "--oci-layout", archive+":v1"))
		if got != from.v1 {
			t.Errorf("v1 is %s, was %s", got, from.v1)
		}
	})
	t.Run("regctl", func(t *testing.T) {
		found(t, "regctl")
		to := filepath.Join(openDir(t), "to")
		command(t, "regctl", "image", "import", "ocidir://"+to+":v1", archive)
		got := strings.TrimSpace(command(t, "regctl", "manifest", "head", "ocidir://"+to+":v1"))
		if got != from.v1 {
			t.Errorf("v1 is %s, was %s", got, from.v1)
		}
	})
}
