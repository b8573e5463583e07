package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary also the program: testscript runs it as publish,
// with the clock and the user of the test.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"publish": func() {
			p := &program{stdout: os.Stdout, stderr: os.Stderr, who: os.Getenv("PUBLISH_TEST_WHO")}
			if at := os.Getenv("PUBLISH_TEST_NOW"); at != "" {
				t, err := time.Parse(time.RFC3339, at)
				if err != nil {
					panic(err)
				}
				p.now = func() time.Time { return t }
			}
			os.Exit(execute(p, os.Args[1:]))
		},
	})
}

// TestScript runs the transcripts: what people see, the exit status, and the
// tree that is left. UPDATE=1 writes what cmp finds into them.
func TestScript(t *testing.T) {
	commands := storeCommands(t)
	maps.Copy(commands, map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "image": makeImage,
		"damage": damage, "unpack": unpack, "layout": makeLayout,
		"learn": learn, "pull": pull, "tags": tags, "apart": apart, "once": once})
	testscript.Run(t, testscript.Params{
		Dir:                "../../testdata/script",
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("UPDATE") != "",
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("PUBLISH_TEST_NOW", "2026-01-10T12:00:00Z")
			e.Setenv("PUBLISH_TEST_WHO", "tester")
			e.Values[scriptStoreKey{}] = &scriptStore{}
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else each run ends with a second of sleep
			return os.Chmod(e.WorkDir, 0o755)       // other users look in
		},
		Cmds: commands,
	})
}

// exits N COMMAND... runs a command that has to exit with status N.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s exits with %d, not %d", strings.Join(args[1:], " "), got, want)
	}
}

// image DIR OS CREATED [RELEASE] makes an image as distrobuilder leaves it: see
// writeImage. The release is 1 where none is given.
func makeImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: image DIR OS CREATED [RELEASE]")
	}
	release := "1"
	if len(args) == 4 {
		release = args[3]
	}
	created, err := time.Parse(time.RFC3339, args[2])
	ts.Check(err)
	ts.Check(writeImage(ts.MkAbs(args[0]), args[1], release, created))
}

// writeImage makes in dir a container and a virtual machine of a release of an
// OS, with bytes that depend on the OS and the time.
func writeImage(dir, name, release string, created time.Time) error {
	yaml := fmt.Sprintf("architecture: x86_64\ncreation_date: %d\nproperties:\n  architecture: amd64\n  description: "+
		"%s\n  os: %s\n  release: %q\n  variant: default\n",
		created.Unix(), name, name, release)
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	arch := tar.NewWriter(zip)
	err := arch.WriteHeader(&tar.Header{Name: "metadata.yaml", Mode: 0o644, Size: int64(len(yaml))})
	_, werr := arch.Write([]byte(yaml))
	if err := errors.Join(err, werr, arch.Close(), zip.Close(), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	body := strings.Repeat(name+" "+created.Format(time.RFC3339)+"\n", 100)
	for file, data := range map[string]string{"incus.tar.gz": buf.String(), "rootfs.squashfs": "hsqs" + body,
		"disk.qcow2": "QFI\xfb" + body} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// damage PATTERN [DIR] writes other bytes, of the same number, into the one file
// that matches, and of which DIR has none of the same name.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: damage PATTERN [DIR]")
	}
	found, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	found = slices.DeleteFunc(found, func(path string) bool {
		if len(args) < 2 {
			return false
		}
		_, err := os.Lstat(filepath.Join(ts.MkAbs(args[1]), filepath.Base(path)))
		return err == nil
	})
	if len(found) != 1 {
		ts.Fatalf("%s matches %d files", args[0], len(found))
	}
	data, err := os.ReadFile(found[0])
	ts.Check(err)
	data[len(data)/2] ^= 1
	ts.Check(os.Chmod(found[0], 0o644))
	ts.Check(os.WriteFile(found[0], data, 0o644))
}

// unpack ARCHIVE unpacks a tar.gz of testdata, with its hard links, links and
// modes, where the script is.
func unpack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: unpack ARCHIVE")
	}
	f, err := os.Open(filepath.Join("..", "..", "testdata", args[0]))
	ts.Check(err)
	defer f.Close()
	zip, err := gzip.NewReader(f)
	ts.Check(err)
	for arch := tar.NewReader(zip); ; {
		h, err := arch.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		ts.Check(err)
		path := ts.MkAbs(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			ts.Check(os.MkdirAll(path, 0o755))
			ts.Check(os.Chmod(path, h.FileInfo().Mode()))
		case tar.TypeSymlink:
			ts.Check(os.Symlink(h.Linkname, path))
		case tar.TypeLink:
			ts.Check(os.Link(ts.MkAbs(h.Linkname), path))
		default:
			data, err := io.ReadAll(arch)
			ts.Check(err)
			ts.Check(os.WriteFile(path, data, 0o600))
			ts.Check(os.Chmod(path, h.FileInfo().Mode()))
			ts.Check(os.Chtimes(path, h.ModTime, h.ModTime))
		}
	}
}
