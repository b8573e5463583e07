//go:build !race

package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Archives that are made to take memory take at most 256 MiB, and are refused. With the
// race detector everything takes more.
func TestHostileMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes archives of 100 MiB")
	}
	repo := filepath.Join(t.TempDir(), "repo")
	run := func(in io.Reader, args ...string) (code int, peak int64, out string) {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Args[0] = "publish" // see TestMain
		var text bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &text, &text
		cmd.Env = append(os.Environ(), "PUBLISH_TEST_WHO=tester", "PUBLISH_REPO=")
		_ = cmd.Run() // the code says how it ended
		usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		return cmd.ProcessState.ExitCode(), usage.Maxrss << 10, text.String()
	}
	if code, _, out := run(nil, "init", "--format", "oci", repo); code != 0 {
		t.Fatal(out)
	}
	const document = 120 << 20
	for name, write := range map[string]func(w *tar.Writer) error{
		"an index of objects":  one("index.json", `{"schemaVersion":2,"manifests":[`, "{},", "{}]}", document),
		"an index of one text": one("index.json", `{"schemaVersion":2,"manifests":[],"x":"`, "abc", `"}`, document),
		"an index of lists":    one("index.json", `{"schemaVersion":2,"manifests":[],"x":[`, "[],", "[]]}", document),
		"an index of entries": one("index.json", `{"schemaVersion":2,"manifests":[`,
			`{"mediaType":"a/b","digest":"x"},`, "{}]}", document),
		"an index of addresses": one("index.json", `{"schemaVersion":2,"manifests":[{"urls":[`, `"a",`, `"a"]}]}`, document),
		"a list of images":      one("manifest.json", `[`, "{},", "{}]", 4<<20),
		"a list of layers":      one("manifest.json", `[{"Config":"c","Layers":[`, `"",`, `""]}]`, 4<<20),
		"a document of no size": one("index.json", "", " ", "", document),
		"links": func(w *tar.Writer) error {
			for i := range 450_000 {
				h := &tar.Header{Typeflag: tar.TypeSymlink, Name: fmt.Sprintf("a/long/name/of/a/link/%d", i), Linkname: "x"}
				if err := w.WriteHeader(h); err != nil {
					return err
				}
			}
			return w.Close()
		},
		"long links": func(w *tar.Writer) error {
			long := strings.Repeat("a", 3000)
			for i := range 60_000 {
				h := &tar.Header{Typeflag: tar.TypeSymlink, Name: fmt.Sprint(i, "/", long), Linkname: long}
				if err := w.WriteHeader(h); err != nil {
					return err
				}
			}
			return w.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := io.Pipe()
			go func() { _ = w.CloseWithError(write(tar.NewWriter(w))) }()
			code, peak, out := run(r, "--repo", repo, "stage", "add", "-", "--name", "a:1")
			_ = r.Close()
			if code != 3 && code != 2 {
				t.Errorf("exits with %d: %s", code, out)
			}
			if peak > 256<<20 {
				t.Errorf("took %d MiB: %s", peak>>20, out)
			}
			t.Logf("%d MiB: %s", peak>>20, strings.TrimSpace(out))
		})
	}
}

// one writes an archive of one document: a head, something again and again, and a
// tail.
func one(name, head, again, tail string, size int) func(*tar.Writer) error {
	return func(w *tar.Writer) error {
		size -= (size - len(head) - len(tail)) % len(again)
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(size)}); err != nil {
			return err
		}
		many := strings.Repeat(again, 1<<16)
		if _, err := io.WriteString(w, head); err != nil {
			return err
		}
		for left := size - len(head) - len(tail); left > 0; left -= len(many) {
			if _, err := io.WriteString(w, many[:min(left, len(many))]); err != nil {
				return err
			}
		}
		if _, err := io.WriteString(w, tail); err != nil {
			return err
		}
		return w.Close()
	}
}
